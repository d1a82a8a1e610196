"""However a save of the last checkpoint ends, a whole one is left to resume from.

``last`` becomes ``previous`` and the new one ``last``; every call to the file system on that way
is made to fail once, and once to be the last thing that the process does.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.file import Checkpoint, load
from charrnn.errors import CheckpointError
from charrnn.training.events import Silence
from charrnn.training.rundir.directory import RunFolder, occupied
from tests.support.checkpoints import python, tiny
from tests.support.half_files import HalfFile
from tests.support.processes import TINY, corpus_in, fork, last_of, left_over, step_of

RUN = Path("run")
LAST, PREVIOUS, BEST = (f"{name}.safetensors" for name in ("last", "previous", "best"))
# what saving calls; a write is a call of its own, and leaves half of its bytes where it fails
CALLS = ("open", "close", "fsync", "replace", "link", "unlink", "mkdir")
LEAST = {LAST: 18, BEST: 15}  # calls of a save


def numbered(number: int) -> Checkpoint:
    return replace(tiny(), meta={"number": number})


def number_in(path: Path) -> int | None:
    """Which checkpoint lies at ``path``; None where there is none. A damaged one is an error."""
    return load(path).meta["number"] if path.exists() else None


class Disk:
    """The file system, whose ``nth`` call does ``then``, which raises or ends the process."""

    def __init__(self, nth: int, then: Callable[[], None]) -> None:
        self.left, self.then = nth, then

    def call(self, real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.then()
        return real(*args, **more)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within this block everybody uses it."""
        patch = pytest.MonkeyPatch()
        for name in CALLS:
            real = getattr(os, name)
            patch.setattr(os, name, lambda *a, real=real, **m: self.call(real, *a, **m))
        opened = builtins.open
        patch.setattr(
            builtins, "open", lambda path, mode="r", **m: self.open(opened, path, mode, m)
        )
        try:
            yield
        finally:
            patch.undo()

    def open(self, real: Callable[..., Any], path: Any, mode: str, more: dict[str, Any]) -> Any:
        if "x" not in mode:
            return self.call(real, path, mode, **more)
        return HalfFile(self.call, self.call(io.FileIO, path, mode))


def refuse(*_: object) -> None:
    """``os.link`` on a file system that has no second names."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def saved(folder: RunFolder, *numbers: int, file: str = LAST) -> None:
    for number in numbers:
        assert folder.save(file, numbered(number))


def check_kept(newest: int, saving: int) -> None:
    """After a save of ``saving`` was cut short where ``newest`` was the last checkpoint."""
    last, previous = number_in(RUN / LAST), number_in(RUN / PREVIOUS)
    assert last in (newest, saving) or previous == newest, (last, previous)
    if last == saving:
        assert previous == newest


# --- a call that fails


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("file", [LAST, BEST])
def test_any_failing_call_leaves_a_whole_checkpoint(file: str, code: int) -> None:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    with occupied(RUN, Silence()) as folder:
        for nth in range(1, 99):
            saved(folder, 1, 2, file=file)
            disk = Disk(nth, fail)
            with disk.used():
                done = folder.save(file, numbered(3))
            if file == LAST:
                check_kept(2, 3)
            assert number_in(RUN / file) in ((3,) if done else (2, 3, None))
            assert left_over(RUN) == []
            saved(folder, 4, file=file)
            assert number_in(RUN / file) == 4
            if disk.left > 0:
                break
    assert nth > LEAST[file]


def test_a_file_system_without_links_keeps_the_previous_one_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "link", refuse)
    with occupied(RUN, Silence()) as folder:
        saved(folder, 1, 2, 3)
    assert (number_in(RUN / LAST), number_in(RUN / PREVIOUS)) == (3, 2)
    assert left_over(RUN) == []


@pytest.mark.parametrize("file", [LAST, BEST])
def test_a_save_that_cannot_be_read_back_replaces_nothing(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Checkpoint.save

    def damaging(self: Checkpoint, path: Path) -> None:
        save(self, path)
        blob = path.read_bytes()
        path.write_bytes(blob[:-9] + bytes([blob[-9] ^ 1]) + blob[-8:])

    with occupied(RUN, Silence()) as folder:
        saved(folder, 1, 2, file=file)
        before = {path.name: path.read_bytes() for path in RUN.glob("*.safetensors")}
        with monkeypatch.context() as patched:
            patched.setattr(Checkpoint, "save", damaging)
            assert not folder.save(file, numbered(3))
        assert {path.name: path.read_bytes() for path in RUN.glob("*.safetensors")} == before
        assert left_over(RUN) == []


def test_an_unreadable_last_checkpoint_stays_until_a_good_one_replaces_it() -> None:
    with occupied(RUN, Silence()) as folder:
        saved(folder, 1, 2)
    damaged = (RUN / LAST).read_bytes()[:-9]
    (RUN / LAST).write_bytes(damaged)
    with occupied(RUN, Silence()) as folder:
        assert folder.read_last().meta["number"] == 1
        assert (RUN / LAST).read_bytes() == damaged
        saved(folder, 3)
        assert (number_in(RUN / LAST), number_in(RUN / PREVIOUS)) == (3, 1)
        saved(folder, 4)
    assert (number_in(RUN / LAST), number_in(RUN / PREVIOUS)) == (4, 3)
    assert left_over(RUN) == []


# --- a call that is the last


_KILLED = """
import os, signal, sys
from tests.reliability import test_rotation as rotation

def end():
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "no links":
    os.link = rotation.refuse

with rotation.occupied(rotation.RUN, rotation.Silence()) as folder:
    rotation.saved(folder, 1, 2)
for nth in range(1, 99):
    child = os.fork()
    if child == 0:
        with rotation.occupied(rotation.RUN, rotation.Silence()) as folder:
            newest = folder.read_last().meta["number"]
            disk = rotation.Disk(nth, end)
            with disk.used():
                folder.save(rotation.LAST, rotation.numbered(newest + 1))
        os._exit(0 if disk.left > 0 else 1)
    before = rotation.number_in(rotation.RUN / rotation.LAST)
    before = before or rotation.number_in(rotation.RUN / rotation.PREVIOUS)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        break
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, status
    rotation.check_kept(before, before + 1)
    with rotation.occupied(rotation.RUN, rotation.Silence()) as folder:
        assert folder.read_last().meta["number"] in (before, before + 1)
    assert rotation.left_over(rotation.RUN) == []
print(nth)
"""


@pytest.mark.parametrize("links", ["links", "no links"])
def test_a_process_that_is_killed_at_any_call_leaves_a_whole_checkpoint(links: str) -> None:
    assert int(python(_KILLED, links)) > LEAST[LAST] - 2 * (links == "no links")


# --- runs that are killed


def kill_runs(times: int, place: Path) -> None:
    """Kill a run that saves at every step, at any moment, and resume it: it never loses a save."""
    rng, seen, committed = random.Random(5), 0, [0]
    corpus_in(place)

    def steps() -> list[int]:
        return [int(line) for line in (place / "saved").read_text().split()]

    def more_than(before: int) -> bool:
        return len(steps()) > before

    (place / "saved").touch()
    args = ["train", "novel.txt", "--out", "run", *TINY, "--steps", "10000000"]
    often = [["every_step"]]
    for _ in range(times):
        process = fork(*args, place=place, patches=often)
        args = ["train", "--resume", "--out", "run"]
        process.until(partial(more_than, len(committed)))
        time.sleep(rng.random() * 0.1)
        process.kill()
        assert process.code == -signal.SIGKILL
        committed = steps()
        try:
            found = step_of(last_of(place / "run"))
        except CheckpointError:
            found = step_of(load(place / "run" / PREVIOUS))
        assert found >= committed[-1] >= seen
        seen = found
    assert fork(*args, "--steps", str(seen + 1), place=place).wait() in (0, 2)
    assert left_over(place / "run") == []


def test_five_killed_runs_lose_no_save(tmp_path: Path) -> None:
    kill_runs(5, tmp_path)


@pytest.mark.soak
def test_five_hundred_killed_runs_lose_no_save(tmp_path: Path) -> None:
    kill_runs(500, tmp_path)
