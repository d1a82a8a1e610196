"""Two trainers never share a folder, whatever becomes of either, or of the folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import charrnn
from charrnn.errors import ConfigError, FolderBusyError
from charrnn.generation.scoring import Score
from charrnn.training.distributed import World
from charrnn.training.events import Silence
from charrnn.training.loop import validation
from charrnn.training.rundir import directory as folder
from charrnn.training.rundir.directory import occupied
from charrnn.training.rundir.lock import LOCK, Lock
from tests.support.processes import (
    ENDLESS,
    TINY,
    Process,
    corpus_in,
    dead_process,
    fork,
    has_trained,
    last_of,
    left_over,
    start,
    step_of,
)
from tests.support.runs import SMALL, Notes

PROMISED_S = 1.0  # to leave, from when the lock was reached
RUN = Path("run")
SETTINGS = SMALL | {"layers": 1, "steps": 40, "eval_every": 10}


def race(place: Path, launch: Callable[..., Process]) -> tuple[Process, Process]:
    """Two trainers come to the lock together: the one that trains, and the one that has left."""
    args = ["train", "novel.txt", "--out", "run", *TINY, *ENDLESS]
    meeting = {"patches": [["meet", "charrnn.training.rundir.directory.occupied", "go"]]}
    go = place / "go"
    go.unlink(missing_ok=True)
    pair = [launch(*args, place=place, **(meeting if launch is fork else {})) for _ in range(2)]
    go.touch()
    pair[0].until(lambda: any(process.ended(0.0) is not None for process in pair))
    loser, winner = sorted(pair, key=lambda process: process.ended(0.0) is None)
    assert winner.ended(0.0) is None, [process.stderr for process in pair]
    assert loser.code == 1
    assert loser.lines[-1] == (
        f"charrnn: process {winner.pid} on {socket.gethostname()} is training into run; "
        "wait for it, or choose another --out"
    )
    reached_at = place / f"reached-{loser.pid}"
    if reached_at.exists():  # else it was refused before: the winner had been fast
        reached = float(reached_at.read_text())
        said = (loser.streams / "stderr").stat().st_mtime  # the last thing that it did
        assert said - reached < PROMISED_S
    return winner, loser


def races(place: Path, times: int, launch: Callable[..., Process] = fork) -> None:
    """Each race is run in the folder that the last winner was killed in."""
    corpus_in(place)
    for number in range(times):
        winner, _ = race(place, launch)
        assert f"process {winner.pid} on" in (place / "run" / LOCK).read_text()
        if number % 10 == 9:
            winner.until(has_trained(place / "run"))
        winner.kill()
        assert winner.code == -signal.SIGKILL
        if number % 10 == 9:  # once in a while it ends as it should, and leaves no name
            ended = fork("train", "novel.txt", "--out", "run", *TINY, "--steps", "2", place=place)
            assert ended.wait() == 0, ended.stderr
            assert left_over(place / "run") == []
            assert (place / "run" / LOCK).read_text() == ""
            shutil.rmtree(place / "run")


def test_ten_races(tmp_path: Path) -> None:
    races(tmp_path, 10)


@pytest.mark.soak
def test_two_hundred_races(tmp_path: Path) -> None:
    races(tmp_path, 200)


@pytest.mark.soak
def test_twenty_races_of_programs_from_their_start(tmp_path: Path) -> None:
    races(tmp_path, 20, start)


def test_resuming_in_a_folder_that_is_being_trained_into_is_refused(tmp_path: Path) -> None:
    corpus_in(tmp_path)
    charrnn.train("novel.txt", out="run", **SETTINGS)
    with occupied(RUN, Silence()), pytest.raises(FolderBusyError, match=f"process {os.getpid()} "):
        charrnn.train(out="run", resume=True, steps=60)


def test_a_run_that_was_made_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus_in(tmp_path)
    before = {}

    def late(path: Path, listener: Silence, world: World, *, or_beside: bool) -> object:
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        charrnn.train("novel.txt", out=path, **SETTINGS)
        before.update({file: file.read_bytes() for file in path.iterdir()})
        return occupied(path, listener, world, or_beside=or_beside)

    monkeypatch.setattr(folder, "occupied", late)
    with pytest.raises(ConfigError, match="holds a run"):
        charrnn.train("novel.txt", out="run", **SETTINGS)
    assert len(before) >= 5
    assert all(file.read_bytes() == content for file, content in before.items())


# --- the lock by itself


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    stale = f"process {dead_process()} on {socket.gethostname()}\n"
    (tmp_path / LOCK).write_text(stale)
    with open(tmp_path / LOCK, "a+") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)  # somebody who has not written a name yet
        with pytest.raises(FolderBusyError, match=r"^process "):
            Lock(tmp_path)
    lock = Lock(tmp_path)
    name = f"process {os.getpid()} on {socket.gethostname()}\n"
    assert (tmp_path / LOCK).read_text().startswith(name)
    lock.release()
    assert (tmp_path / LOCK).read_text() == ""


def test_a_lock_whose_file_is_removed_is_not_held(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    assert lock.held()
    (tmp_path / LOCK).unlink()
    assert not lock.held()
    other = Lock(tmp_path)
    assert other.held()
    assert not lock.held()
    lock.release()
    with pytest.raises(FolderBusyError):
        Lock(tmp_path)
    other.release()


# --- a folder that is taken away in the middle of a run


def checkpoints(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}


def test_a_removed_folder_is_made_again_and_locked(tmp_path: Path) -> None:
    corpus_in(tmp_path)
    seen = []

    def look() -> None:
        with pytest.raises(FolderBusyError) as busy:
            Lock(RUN)
        seen.append(str(busy.value))

    class Removing(Notes):
        def on_step(self, progress: float, chars: int, loss: float | None) -> None:
            self.left -= 1
            if self.left == 15:
                shutil.rmtree(RUN)
            if self.left == 1:
                look()

    listener = Removing(40)
    result = charrnn.train("novel.txt", out="run", listener=listener, **SETTINGS)
    assert listener.said == ["run was removed, and is created again"]
    assert len(seen) == 1
    assert f"process {os.getpid()} on" in seen[0]
    assert result.folder == RUN
    assert step_of(last_of(RUN)) == 40
    charrnn.load(result.best)
    assert left_over(RUN) == []


@pytest.mark.parametrize(("step", "val_frac"), [(1, 0.1), (29, 0.0), (40, 0.1)])
def test_a_network_is_kept_whenever_its_folder_is_removed(
    tmp_path: Path, step: int, val_frac: float
) -> None:
    corpus_in(tmp_path)
    listener = Notes(step, lambda: shutil.rmtree(RUN))
    charrnn.train("novel.txt", out="run", val_frac=val_frac, listener=listener, **SETTINGS)
    assert step_of(last_of(RUN)) == 40
    charrnn.load(RUN / "best.safetensors")
    assert listener.said == ["run was removed, and is created again"]


def test_a_removed_best_checkpoint_is_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus_in(tmp_path)
    nats = iter(range(100, 200))  # only the first is better than all before it
    monkeypatch.setattr(validation, "evaluate", lambda *_, **__: Score(float(next(nats)), 100))
    best, there = RUN / "best.safetensors", []

    class Removing(Notes):
        def on_step(self, progress: float, chars: int, loss: float | None) -> None:
            self.left -= 1
            if self.left == 15:
                best.unlink()
            if self.left == 1:
                there.append(best.exists())

    charrnn.train("novel.txt", out="run", listener=Removing(40), **SETTINGS)
    assert there == [True]


def test_a_folder_removed_after_the_last_save_is_saved_again(tmp_path: Path) -> None:
    corpus_in(tmp_path)

    class Removing(Notes):
        def on_sample(self, text: str) -> None:
            if step_of(last_of(RUN)) == 40:
                shutil.rmtree(RUN)

    charrnn.train("novel.txt", out="run", listener=Removing(), **SETTINGS)
    assert step_of(last_of(RUN)) == 40
    charrnn.load(RUN / "best.safetensors")


def test_a_folder_that_is_moved_is_left_alone(tmp_path: Path) -> None:
    corpus_in(tmp_path)
    kept = {}

    def move() -> None:
        RUN.rename("moved")
        kept.update(checkpoints(Path("moved")))

    charrnn.train("novel.txt", out="run", listener=Notes(25, move), **SETTINGS)
    assert step_of(last_of(RUN)) == 40
    assert checkpoints(Path("moved")) == kept
    assert len(kept) == 3


@pytest.mark.parametrize("still_there", [True, False])
def test_another_run_that_took_the_folder_is_left_alone(tmp_path: Path, still_there: bool) -> None:
    corpus_in(tmp_path)
    charrnn.train("novel.txt", out="other", **(SETTINGS | {"seed": 8, "steps": 10}))
    theirs = checkpoints(Path("other"))
    locks = []

    def replace() -> None:
        shutil.rmtree(RUN)
        Path("other").rename(RUN)
        if still_there:
            locks.append(Lock(RUN))

    listener = Notes(25, replace)
    result = charrnn.train("novel.txt", out="run", listener=listener, **SETTINGS)
    assert result.folder == Path("run-2")
    assert checkpoints(RUN) == theirs
    assert step_of(last_of(Path("run-2"))) == 40
    reason = "process .* is training into run" if still_there else "run holds another run now"
    assert len(listener.said) == 1
    assert re.match(f"{reason}.*; this run continues in run-2$", listener.said[0])
    for lock in locks:
        lock.release()


def test_a_lock_that_is_removed_is_taken_again(tmp_path: Path) -> None:
    corpus_in(tmp_path)
    listener = Notes(25, (RUN / LOCK).unlink)
    charrnn.train("novel.txt", out="run", listener=listener, **SETTINGS)
    assert listener.said == ["the lock in run was removed, and is locked again"]
    assert step_of(last_of(RUN)) == 40
