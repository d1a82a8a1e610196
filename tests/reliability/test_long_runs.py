"""A long run outlives a full disk, files that vanish, being stopped, and clocks that jump.

A disk that stays full or is read-only, and a loss that is not finite, end it in one line. All as
real processes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charrnn.checkpoint.file import load
from charrnn.training.loop.clock import Clock
from charrnn.training.rundir.directory import occupied
from charrnn.training.rundir.metrics import METRICS
from tests.support.checkpoints import python, tiny
from tests.support.phases import fill, remove_all
from tests.support.processes import (
    TINY,
    Process,
    corpus_in,
    fork,
    has_trained,
    last_of,
    left_over,
    start,
    step_of,
)
from tests.support.runs import Notes, run, same, tensors

MIB = 1 << 20
STEPS = ("--steps", "10")  # every step is validated and saved
VALIDATE = "charrnn.training.loop.trainer.Trainer._validate"
STEP = "charrnn.training.loop.optimizer.Stepper.step"
FULL = "No space left on device"


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_cache: Callable[[Path], str]) -> None:
    """A corpus, and a cache that is the test's own."""
    monkeypatch.setenv("CHARRNN_CACHE", new_cache(tmp_path / "cache"))
    corpus_in(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, new_cache: Callable[[Path], str]) -> Path:
    """The run that nothing disturbed; ``tested`` beside it is the one with a test part."""
    place = tmp_path_factory.mktemp("whole")
    corpus_in(place)
    cache = {"CHARRNN_CACHE": new_cache(place / "cache")}
    for out, more in (("run", []), ("tested", ["--test-frac", "0.1"])):
        args = ["train", "novel.txt", "--out", out, *TINY, *STEPS, *more]
        assert fork(*args, place=place, **cache).wait() == 0
    return place / "run"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "charrnn", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"needs a disk of its own: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def trained(place: Path, *args: str, patches: list[list[object]] | None = None) -> Process:
    """A run that has ended, into ``run`` if nothing else is said."""
    out = [] if {"--out", "--resume"} & set(args) else ["--out", "run"]
    process = fork("train", *out, *args, "-q", place=place, patches=patches or [])
    process.wait()
    assert "Traceback" not in process.stderr
    return process


def tiny_run(place: Path, *args: str, patches: list[list[object]] | None = None) -> Process:
    return trained(place, "novel.txt", *TINY, *STEPS, *args, patches=patches)


def same_network(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same tensors."""
    return same(tensors(one), tensors(other))


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


# --- a disk that is full


def test_a_run_that_has_no_room_does_not_begin(disk: Path, tmp_path: Path) -> None:
    process = trained(tmp_path, "novel.txt", "--size", "128", "--threads", "1", "--out", "disk/run")
    assert process.code == 1
    assert process.lines[-1].startswith("charrnn: disk/run has room for 1 MiB, but ")
    assert "choose an --out on another disk" in process.lines[-1]
    fill(str(disk / "filler"))
    process = tiny_run(tmp_path, "--out", "disk/other")
    assert process.code == 1
    assert len(process.lines) == 1
    assert not list(disk.glob("*/*.safetensors"))


def test_room_that_the_run_itself_uses_counts_as_free(disk: Path, tmp_path: Path) -> None:
    assert tiny_run(tmp_path, "--out", "disk/run").code == 0
    system = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(system.f_bavail * system.f_frsize - MIB - (32 << 10)))
    args = ["--resume", "--out", "disk/run", "--steps", "12"]
    assert trained(tmp_path, *args).code == 0
    assert step_of(last_of(disk / "run")) == 12


def test_a_run_goes_on_through_a_full_disk_loudly(disk: Path, tmp_path: Path) -> None:
    full = ["during", VALIDATE, 5, 7, "fill", "free", "disk/filler"]
    process = tiny_run(tmp_path, "--out", "disk/run", patches=[full])
    assert process.code == 0, process.stderr
    saves = [line for line in process.lines if "could not save disk/run/last" in line]
    assert len(saves) == 2
    assert all(f"{FULL}; training continues: free some space" in line for line in saves)
    assert step_of(last_of(disk / "run")) == 10
    assert left_over(disk / "run") == []
    assert metrics(disk / "run")[-1]["final"]


def test_a_disk_that_stays_full_ends_the_run(disk: Path, tmp_path: Path, whole: Path) -> None:
    full = ["during", VALIDATE, 5, 99, "fill", "free", "disk/filler"]
    process = tiny_run(tmp_path, "--out", "disk/run", patches=[full])
    assert process.code == 1
    assert process.lines[-1].endswith(f"{FULL}; 3 in a row, so training stops")
    assert step_of(last_of(disk / "run")) == 4
    load(disk / "run")
    (disk / "filler").unlink()
    assert trained(tmp_path, "--resume", "--out", "disk/run").code == 0
    assert same_network(disk / "run", whole)


def test_a_limit_on_file_sizes_ends_the_run(tmp_path: Path) -> None:
    limited = ["during", VALIDATE, 5, 99, "small_files", "nothing", 1000]
    process = tiny_run(tmp_path, patches=[limited])
    assert process.code == 1
    assert process.lines[-1].endswith("File too large; 3 in a row, so training stops")
    assert step_of(last_of(tmp_path / "run")) == 4
    assert left_over(tmp_path / "run") == []


def test_a_run_whose_last_save_fails_exits_with_1(tmp_path: Path) -> None:
    limited = ["during", VALIDATE, 10, 99, "small_files", "nothing", 1000]
    process = tiny_run(tmp_path, patches=[limited])
    assert process.code == 1
    assert "the run is over, but run/" in process.lines[-1]
    assert step_of(last_of(tmp_path / "run")) == 9


def test_a_signal_on_a_full_disk_says_what_was_not_saved(tmp_path: Path) -> None:
    limited = ["during", VALIDATE, 5, 99, "small_files", "nothing", 1000]
    place, nth = STEP, 7  # the fifth and the sixth could not be saved
    process = fork(
        "train", "novel.txt", "--out", "run", *TINY, *STEPS, "-q", place=tmp_path,
        patches=[limited, ["hold", place, nth]],
    )  # fmt: skip
    process.until_phase()
    process.signal(signal.SIGTERM)
    assert process.wait() == 143
    assert "stopped at step 7, which could not be saved" in process.lines[-1]
    assert step_of(last_of(tmp_path / "run")) == 4


def test_metrics_are_written_whole_or_not_at_all(disk: Path) -> None:
    notes = Notes()
    with occupied(disk / "run", notes) as folder:
        folder.append_metrics({"step": 1})
        fill(str(disk / "filler"))
        (disk / "run" / METRICS).write_bytes(b'{"step": 1}\n' * 341)  # four bytes short of a page
        for step in range(2, 9):
            folder.append_metrics({"step": step})
        (disk / "filler").unlink()
        folder.append_metrics({"step": 9})
    assert len(notes.said) == 1
    assert FULL in notes.said[0]
    assert [line["step"] for line in metrics(disk / "run")] == [1] * 341 + [9]


def test_a_folder_that_cannot_be_written_is_refused(disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    process = tiny_run(tmp_path, "--out", "disk/run")
    assert process.code == 1
    assert process.lines == [
        "charrnn: cannot write to disk/run: Read-only file system; choose another --out"
    ]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write to any folder")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o500)
    process = tiny_run(tmp_path, "--out", "mine/run")
    assert process.code == 1
    assert len(process.lines) == 1
    assert "Permission denied; choose another --out" in process.lines[0]


@pytest.mark.parametrize(
    "args",
    [
        ["sample", "--length", "10"],
        ["sample", "--length", "100000"],
        ["sample", "--json"],
        ["train", "novel.txt", "--json", "-q", "--out", "run", *TINY, *STEPS],
    ],
    ids=["short", "long", "json", "metrics"],
)
def test_a_full_output_is_one_line_and_exit_code_1(args: list[str], tmp_path: Path) -> None:
    tiny().save(tmp_path / "checkpoints/novel/best.safetensors")
    more = [] if args[0] == "train" else ["novel"]
    process = fork(args[0], *more, *args[1:], place=tmp_path, TEST_STDOUT="/dev/full")
    assert process.wait() == 1
    lines = [line for line in process.lines if "seed" not in line]
    assert len(lines) == 1
    assert FULL in lines[0]
    assert not (tmp_path / "run").exists()  # found before any work


# --- a loss that is not finite


@pytest.mark.parametrize(("bad", "kept"), [(1, None), (7, 6)])
def test_a_loss_that_is_not_finite_ends_the_program(
    bad: int, kept: int | None, tmp_path: Path
) -> None:
    process = tiny_run(tmp_path, patches=[["poison", bad]])
    assert process.code == 1
    assert len(process.lines) == 1
    again = "charrnn train --resume --out run" if kept else "again with"
    assert process.lines[0] == (
        f"charrnn: the loss is nan near step {bad}: nothing after the last good step is saved; "
        f"try {again} --lr 0.001, or with --precision float32"
    )
    if kept is None:
        assert not list((tmp_path / "run").glob("*.safetensors"))
        return
    assert step_of(last_of(tmp_path / "run")) == kept
    assert max(line["step"] for line in metrics(tmp_path / "run")) == kept
    assert trained(tmp_path, "--resume", "--out", "run", "--lr", "0.001").code == 0


# --- files that change under a run


def test_changing_the_text_does_not_affect_a_run(tmp_path: Path, whole: Path) -> None:
    changed = ["during", STEP, 3, 6, "cut", "lose", "novel.txt"]
    process = tiny_run(tmp_path, "--test-frac", "0.1", patches=[changed])
    assert (process.code, process.stderr) == (0, "")
    assert not (tmp_path / "novel.txt").exists()
    assert same_network(tmp_path / "run", whole.parent / "tested")


def test_removing_the_encoded_text_does_not_affect_a_run(tmp_path: Path, whole: Path) -> None:
    changed = ["during", STEP, 5, 0, "remove_all", "nothing", "cache/*.ids"]
    assert tiny_run(tmp_path, patches=[["small_memory"], changed]).code == 0
    assert same_network(tmp_path / "run", whole)


def test_cutting_an_encoded_text_that_was_read_does_not_affect_a_run(
    tmp_path: Path, whole: Path
) -> None:
    process = tiny_run(tmp_path, patches=[["during", STEP, 5, 0, "cut", "nothing", "cache/*.ids"]])
    assert (process.code, process.stderr) == (0, "")
    assert same_network(tmp_path / "run", whole)


@pytest.mark.parametrize(
    ("place", "saved"),
    [
        (STEP, 5),
        ("charrnn.training.loop.validation.evaluate", 5),
        ("charrnn.training.loop.finalize._score_test", 10),
    ],
    ids=["training", "validation", "test"],
)
def test_an_encoded_text_that_is_cut_under_the_run_saves_and_ends_it(
    place: str, saved: int, tmp_path: Path, whole: Path
) -> None:
    nth = 1 if saved == 10 else 5
    changed: list[object] = ["during", place, nth, 0, "cut", "nothing", "cache/*.ids"]
    process = tiny_run(tmp_path, "--test-frac", "0.1", patches=[["small_memory"], changed])
    assert process.code == 1, process.stderr
    assert len(process.lines) == 1
    assert "was cut short; name its file to encode it again" in process.lines[0]
    assert step_of(last_of(tmp_path / "run")) == saved
    assert trained(tmp_path, "--resume", "--out", "run").code == 2  # it is not there any more
    assert trained(tmp_path, "novel.txt", "--resume", "--out", "run").code == 0
    assert same_network(tmp_path / "run", whole.parent / "tested")
    assert load(tmp_path / "run").about("losses")["test"]


@pytest.mark.soak
def test_a_minute_in_which_everything_happens(disk: Path, tmp_path: Path) -> None:
    """Saved every three seconds; every two seconds something is done to the run."""
    run, filler, rng = disk / "run", disk / "filler", random.Random(3)
    process = start(
        "train", "novel.txt", "--out", "disk/run", *TINY, "--time", "60s", place=tmp_path
    )
    process.until(has_trained(run))
    happenings: dict[str, Callable[[], object]] = {
        "stop": lambda: process.signal(signal.SIGSTOP),
        "fill": lambda: fill(str(filler)),
        "remove": lambda: shutil.rmtree(run),
        "move": lambda: run.rename(disk / f"moved-{time.monotonic_ns()}"),
        "unlock": lambda: (run / ".lock").unlink(missing_ok=True),
        "lose": lambda: (tmp_path / "novel.txt").unlink(missing_ok=True),
        "uncache": lambda: remove_all("cache/*.ids"),
    }
    for _ in range(20):
        what = rng.choice(list(happenings))
        if what in ("remove", "move"):
            process.until(run.exists)
        happenings[what]()
        time.sleep(2)
        process.signal(signal.SIGCONT)
        filler.unlink(missing_ok=True)
    assert process.wait(120) == 0, process.stderr
    assert metrics(run)[-1]["final"]
    assert metrics(run)[-1]["elapsed_s"] < 65
    last_of(run)
    load(run)
    assert left_over(run) == []


# --- time


def test_time_in_which_a_run_is_stopped_does_not_count(tmp_path: Path) -> None:
    process = fork(
        "train", "novel.txt", "--out", "run", *TINY, "--time", "1s", "-q", place=tmp_path
    )
    process.until(has_trained(tmp_path / "run"))
    before = metrics(tmp_path / "run")[-1]
    began = time.monotonic()
    process.signal(signal.SIGSTOP)
    time.sleep(1.5)  # more than the whole budget
    assert process.ended(0.0) is None
    process.signal(signal.SIGCONT)
    assert process.wait() == 0
    *lines, final = metrics(tmp_path / "run")
    assert time.monotonic() - began > 1.5
    assert 0.5 < final["elapsed_s"] < 1.5
    assert final["step"] > before["step"]
    assert lines[-1]["lr"] < 0.001  # the schedule went to its end
    assert max(line["elapsed_s"] for line in lines) < 1.5


_STOPPED = """
import os, signal, subprocess, sys, time
from charrnn import interrupts
from charrnn.training.loop.clock import Clock

with interrupts.graceful():
    clock = Clock(100.0)
    subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -STOP {os.getpid()}; sleep 0.6;"
                                  f"kill -CONT {os.getpid()}"])
    began = time.monotonic()
    while time.monotonic() - began < 0.8:
        pass
    print(clock.now(), time.monotonic() - began)
"""


def test_a_clock_does_not_count_while_the_process_is_stopped() -> None:
    seconds, passed = map(float, python(_STOPPED).split())
    assert passed > 0.6
    assert 100 <= seconds < 100.5


def test_setting_the_system_clock_back_does_not_affect_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [2e9]

    def backwards() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr(time, "time_ns", lambda: int(backwards() * 1e9))
    result = run(Path("novel.txt"), Path("run"), steps=None, seconds=1.0)
    elapsed = [line["elapsed_s"] for line in metrics(Path("run"))]
    assert elapsed == sorted(elapsed)
    assert 0.5 < result.elapsed_s < 3
    assert Clock().now() < 1
