"""SIGINT, SIGTERM and SIGHUP save the run and end it; a second one ends it at once."""

from __future__ import annotations

import os
import pty
import random
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from charrnn.checkpoint.file import load
from tests.support.checkpoints import environment
from tests.support.processes import (
    ENDLESS,
    PATIENCE_S,
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

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROMISED_S = 5.0  # to save and leave
AT_ONCE_S = 1.0
APART_S = 0.3  # two signals closer than that are one request

STEPS = ("--steps", "12", "--test-frac", "0.1")  # every step is validated and saved

# where a signal comes: how the process says so, and what is there afterwards
BEFORE: dict[str, list[object]] = {  # nothing to save
    "hashing": ["hold", "charrnn.text.corpus.blocks"],
    "counting": ["hold", "charrnn.text.corpus._count"],
    "encoding": ["hold", "charrnn.text.corpus._write"],
    "building": ["hold", "charrnn.training.api.CharNetwork"],
}
DURING: dict[str, list[object]] = {
    "beginning": ["hold", "charrnn.training.api.Trainer"],
    "first step": ["hold", "charrnn.training.loop.optimizer.Stepper.step"],
    "a step": ["hold", "charrnn.training.loop.optimizer.Stepper.step", 7],
    "validation": ["hold", "charrnn.training.loop.validation.evaluate", 3],
    "inside a validation": ["hold", "charrnn.training.evaluation.loss.F.cross_entropy", 21],
    "first best": ["hold_halfway", 1],
    "first last": ["hold_halfway", 2],
    "a best": ["hold_halfway", 7],
    "a last": ["hold_halfway", 8],
    "rotation": ["hold", "charrnn.training.rundir.rotation._keep_previous", 3],
    "preview": ["hold", "charrnn.training.loop.trainer.preview", 4],
    "last save": ["hold", "charrnn.training.loop.trainer.Trainer._save_last", 12],
    "last validation": ["hold", "charrnn.training.loop.validation.evaluate", 12],
}
AFTER: dict[str, list[object]] = {  # the budget is spent
    "fitting": ["hold", "charrnn.training.loop.finalize.fit_temperature"],
    "test": ["hold", "charrnn.training.loop.finalize._score_test"],
    "last line": ["hold", "charrnn.training.rundir.directory.RunFolder.check_saved", 2],
}
SECOND: dict[str, list[object]] = {
    "encoding": ["stay", "charrnn.text.corpus._write"],
    "first step": ["stay", "charrnn.training.loop.optimizer.Stepper.step"],
    "a step": ["stay", "charrnn.training.loop.optimizer.Stepper.step", 7],
    "validation": ["stay", "charrnn.training.loop.validation.evaluate", 3],
    "a best": ["stay_halfway", 7],
    "a last": ["stay_halfway", 8],
    "rotation": ["stay", "charrnn.training.rundir.rotation.os.link", 2],
    "test": ["stay", "charrnn.training.loop.finalize._score_test"],
}


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_cache: Callable[[Path], str]
) -> None:
    """Every test encodes its own text."""
    monkeypatch.setenv("CHARRNN_CACHE", new_cache(tmp_path / "cache"))
    corpus_in(tmp_path)


def leaves(process: Process, signum: int, within: float = PROMISED_S) -> str:
    """Send a signal; the process must leave as promised. Its last line."""
    process.signal(signum)
    assert process.wait(within) == 128 + signum, process.stderr
    assert "Traceback" not in process.stderr
    lines = process.lines
    return lines[-1] if lines else ""


def goes_on(said: str, place: Path) -> Process:
    """Run the command that the last line names."""
    program, *words = shlex.split(said.rsplit(": ", 1)[1])
    assert program == "charrnn"
    process = fork(*words, "-q", place=place)
    assert process.wait() == 0, process.stderr
    return process


def signalled_in(
    patch: list[object], signum: int, place: Path, steps: tuple[str, ...] = STEPS
) -> str:
    args = ["train", "novel.txt", "--out", "run", *TINY, *steps]
    process = fork(*args, place=place, patches=[patch])
    process.until_phase()
    return leaves(process, signum)


def check_before(phase: str, signum: int, place: Path) -> None:
    said = signalled_in(BEFORE[phase], signum, place)
    assert said == f"charrnn: stopped by {signal.Signals(signum).name}"
    assert not list((place / "run").glob("[!.]*"))
    assert not list((place / "cache").glob(".*"))  # nothing half written


def check_during(phase: str, signum: int, place: Path) -> None:
    said = signalled_in(DURING[phase], signum, place)
    step = step_of(last_of(place / "run"))
    assert f"stopped and saved at step {step} in run; to continue: charrnn train " in said
    assert step == (1 if phase == "first step" else step)
    assert left_over(place / "run") == []


def check_after(phase: str, signum: int, place: Path) -> None:
    said = signalled_in(AFTER[phase], signum, place)
    wanted = "complete in run" if phase == "last line" else "to continue: charrnn train --resume --"
    assert said.startswith("charrnn: stopped after the last step")
    assert wanted in said
    assert step_of(last_of(place / "run")) == 12
    assert load(place / "run").about("losses")["val"]
    assert left_over(place / "run") == []


def _rotating(*phases: str) -> list[object]:
    """Each phase with one of the signals."""
    named = [(phase, SIGNALS[k % 3]) for k, phase in enumerate(phases)]
    return [pytest.param(*case, id=f"{case[0]}-{case[1].name}") for case in named]


def _every(*tables: dict[str, list[object]]) -> list[tuple[str, signal.Signals]]:
    return [(phase, signum) for table in tables for phase in table for signum in SIGNALS]


@pytest.mark.parametrize(("phase", "signum"), _rotating("hashing", "encoding", "building"))
def test_a_signal_before_training_ends_it(phase: str, signum: int, tmp_path: Path) -> None:
    check_before(phase, signum, tmp_path)


@pytest.mark.parametrize(
    ("phase", "signum"),
    _rotating(
        "first step", "a step", "inside a validation", "first best", "a best", "a last",
        "rotation", "last validation",
    ),
)  # fmt: skip
def test_a_signal_while_training_saves_and_ends_it(phase: str, signum: int, tmp_path: Path) -> None:
    check_during(phase, signum, tmp_path)


@pytest.mark.parametrize(("phase", "signum"), _rotating(*AFTER))
def test_a_signal_after_the_last_step_loses_nothing(
    phase: str, signum: int, tmp_path: Path
) -> None:
    check_after(phase, signum, tmp_path)


def test_resuming_finishes_what_was_cut_short_after_the_last_step(tmp_path: Path) -> None:
    said = signalled_in(DURING["last validation"], signal.SIGTERM, tmp_path, STEPS[:2])
    assert last_of(tmp_path / "run").meta["resume"]["tally"]["validated_step"] == 11
    goes_on(said, tmp_path)
    assert last_of(tmp_path / "run").meta["resume"]["tally"]["validated_step"] == 12
    (tmp_path / "run").rename(tmp_path / "validated")
    said = signalled_in(AFTER["test"], signal.SIGTERM, tmp_path)
    assert load(tmp_path / "run").about("losses")["test"] is None
    goes_on(said, tmp_path)
    assert load(tmp_path / "run").about("losses")["test"] is not None


def test_a_complete_run_that_is_resumed_stays_as_it_is(tmp_path: Path) -> None:
    assert fork("train", "novel.txt", "--out", "run", *TINY, *STEPS, place=tmp_path).wait() == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = fork("train", "--resume", "--out", "run", place=tmp_path)
    assert again.wait() == 2
    assert "the run in run is complete after 12 steps" in again.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.soak
@pytest.mark.parametrize(("phase", "signum"), _every(BEFORE, DURING, AFTER))
def test_every_signal_in_every_phase(phase: str, signum: int, tmp_path: Path) -> None:
    check = check_before if phase in BEFORE else check_during if phase in DURING else check_after
    for number in range(5):
        place = tmp_path / str(number)
        place.mkdir()
        corpus_in(place)
        check(phase, signum, place)


# --- a second signal


def check_second(phase: str, first: int, second: int, place: Path) -> None:
    process = fork(
        "train", "novel.txt", "--out", "run", *TINY, *STEPS, place=place,
        patches=[SECOND[phase]],
    )  # fmt: skip
    process.until_phase()
    process.signal(first)
    time.sleep(APART_S)
    assert process.ended(0.0) is None
    leaves(process, second, AT_ONCE_S)
    args = ["train", "novel.txt", "--out", "run", *TINY, *STEPS]
    if phase not in ("encoding", "first step"):
        last_of(place / "run")
        load(place / "run")
        args = ["train", "--resume", "--out", "run", "--steps", "1"]
    again = fork(*args, place=place)  # what was half written is swept by whoever comes next
    assert again.wait() in (0, 2), again.stderr
    assert left_over(place / "run") == []


@pytest.mark.parametrize("phase", ["encoding", "a step", "a last", "rotation"])
def test_a_second_signal_quits_at_once(phase: str, tmp_path: Path) -> None:
    k = list(SECOND).index(phase)
    check_second(phase, SIGNALS[k % 3], SIGNALS[(k + 1) % 3], tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize(("phase", "first"), _every(SECOND))
def test_any_second_signal_in_any_phase(
    phase: str, first: int, second: int, tmp_path: Path
) -> None:
    check_second(phase, first, second, tmp_path)


# a signal that is sent twice in a row, as timeout(1) and closing terminals do, is one request
def test_one_request_that_is_sent_twice_saves(tmp_path: Path) -> None:
    patches = [["repeat", "charrnn.training.loop.trainer.Trainer._keep", int(signal.SIGTERM)]]
    process = fork(
        "train", "novel.txt", "--out", "run", *TINY, *ENDLESS, place=tmp_path, patches=patches
    )
    process.until(has_trained(tmp_path / "run"))
    said = leaves(process, signal.SIGTERM)
    assert f"saved at step {step_of(last_of(tmp_path / 'run'))} in run" in said


def test_a_signal_that_was_ignored_stays_ignored(tmp_path: Path) -> None:
    patches = [["ignore", int(signal.SIGHUP)]]  # nohup charrnn train
    process = fork(
        "train", "novel.txt", "--out", "run", *TINY, *ENDLESS, place=tmp_path, patches=patches
    )
    process.until(has_trained(tmp_path / "run"))
    process.signal(signal.SIGHUP)
    process.until(has_trained(tmp_path / "run", 3))
    leaves(process, signal.SIGTERM)


# --- the program itself


def test_a_signal_saves_a_run_that_goes_on_from_there(tmp_path: Path) -> None:
    process = start("train", "novel.txt", "--out", "a run", *TINY, *ENDLESS, place=tmp_path)
    process.until(has_trained(tmp_path / "a run"))
    said = leaves(process, signal.SIGTERM)
    step = step_of(last_of(tmp_path / "a run"))
    assert said == (
        f"charrnn: stopped and saved at step {step:,} in a run; "
        "to continue: charrnn train --resume --out 'a run'"
    )
    goes_on(said + f" --steps {step + 3}", tmp_path)
    assert step_of(last_of(tmp_path / "a run")) == step + 3


# makes the terminal that it is given its own, as a login does, and becomes charrnn
_LOGIN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "charrnn", *sys.argv[1:]])
"""


class Terminal:
    """``python -m charrnn args`` with a terminal of its own."""

    def __init__(self, *args: str, place: Path) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LOGIN, *args],
            cwd=place,
            env=environment(),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = b""

    def read_until(self, wanted: bytes) -> None:
        end = time.monotonic() + PATIENCE_S
        while wanted not in self.shown:
            assert time.monotonic() < end, self.shown.decode()
            self.shown += os.read(self.master, 1 << 16)

    def read_to_the_end(self) -> None:
        try:
            while piece := os.read(self.master, 1 << 16):
                self.shown += piece
        except OSError:  # whoever held the other end has left
            pass


def test_control_c_on_a_terminal_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    terminal = Terminal("train", "novel.txt", "--out", "run", *TINY, *ENDLESS, place=tmp_path)
    terminal.read_until(b"loss ")
    os.write(terminal.master, b"\x03")
    began = time.monotonic()
    terminal.read_to_the_end()
    assert terminal.process.wait(PROMISED_S) == 130
    assert time.monotonic() - began < PROMISED_S
    os.close(terminal.master)
    said = terminal.shown.decode().replace("\r\n  ", " ").rstrip().splitlines()[-1]  # unfolded
    step = step_of(last_of(tmp_path / "run"))
    assert f"charrnn: stopped and saved at step {step:,} in run; to continue: " in said
    goes_on(said + f" --steps {step + 3}", tmp_path)
    assert b"Traceback" not in terminal.shown


def test_a_terminal_that_is_closed_saves_the_run(tmp_path: Path) -> None:
    terminal = Terminal("train", "novel.txt", "--out", "run", *TINY, *ENDLESS, place=tmp_path)
    terminal.read_until(b"loss ")
    os.close(terminal.master)
    assert terminal.process.wait(PROMISED_S) == 129
    assert step_of(last_of(tmp_path / "run")) >= 1
    assert left_over(tmp_path / "run") == []


def test_a_signal_while_a_pipe_is_silent_ends_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = fork("train", "pipe", "--out", "run", *TINY, place=tmp_path)
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(writer, b"the beginning of a text")
    process.until(lambda: any((tmp_path / "cache").glob(".pipe*")))
    leaves(process, signal.SIGTERM)
    os.close(writer)
    assert not list((tmp_path / "cache").glob(".*"))


def test_a_signal_in_the_middle_of_a_large_text_ends_it(tmp_path: Path) -> None:
    corpus_in(tmp_path, 1 << 13)  # 70 MB
    process = fork("train", "novel.txt", "--out", "run", *TINY, place=tmp_path)
    process.until(lambda: any((tmp_path / "cache").glob(".*.ids.tmp*")))
    leaves(process, signal.SIGHUP)
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {"training", "rates.json"}


def has_loaded(maps: Path, library: str) -> bool:
    """Whether a process has begun to load ``library``."""
    return library in maps.read_text()


def stop_programs(times: int, folder: Path) -> None:
    """Signal ``python -m charrnn`` at any moment from when it loads torch."""
    rng = random.Random(9)
    for number in range(times):
        place = folder / str(number)
        place.mkdir()
        corpus_in(place)
        process = start("train", "novel.txt", "--out", "run", *TINY, *ENDLESS, place=place)
        maps = Path(f"/proc/{process.pid}/maps")
        process.until(partial(has_loaded, maps, "libtorch"))
        time.sleep(rng.random() * 4)
        leaves(process, rng.choice(SIGNALS))
        if has_trained(place / "run")():
            assert "stopped and saved" in process.stderr
            last_of(place / "run")


@pytest.mark.soak
def test_two_hundred_programs_that_are_signalled_at_any_moment(tmp_path: Path) -> None:
    stop_programs(200, tmp_path)
