"""A reader that is stuck delays no signal: the first one saves and ends the program.

Three readers are stuck: a pipe that is full, a terminal held by Ctrl-S, and a terminal whose
window takes nothing any more.
"""

from __future__ import annotations

import os
import pty
import signal
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.checkpoints import tiny
from tests.support.curves import run_in
from tests.support.processes import (
    ENDLESS,
    TINY,
    Process,
    corpus_in,
    fork,
    has_trained,
    last_of,
    left_over,
    step_of,
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROMISED_S = 5.0  # to save and leave
SETTLED_S = 0.5  # nothing has happened for so long: it waits


class Stuck:
    """A reader that takes what is written until it is told to stop."""

    def __init__(self, path: str, reader: int, hold: int | None = None) -> None:
        self.path, self._reader, self._hold = path, reader, hold
        self.taken = b""

    def read(self) -> bytes:
        """Take what is there; everything so far."""
        with suppress(BlockingIOError):
            while piece := os.read(self._reader, 1 << 16):
                self.taken += piece
        return self.taken

    def stop(self) -> None:
        """Take nothing more, and be full."""
        if self._hold is not None:
            termios.tcflow(self._hold, termios.TCOOFF)  # Ctrl-S
            return
        writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            while sum(fill(writer, size) for size in (4096, 1)):
                time.sleep(0.05)  # a terminal moves what it has got to a second buffer
        finally:
            os.close(writer)


def fill(writer: int, size: int) -> int:
    """Write ``size`` bytes at a time until there is no room; returns how many were taken."""
    taken = 0
    with suppress(BlockingIOError):
        while True:
            taken += os.write(writer, b"x" * size)
    return taken


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def a_pipe(place: Path, closing: ExitStack) -> Stuck:
    path = place / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    closing.callback(os.close, reader)
    return Stuck(str(path), reader)


def a_terminal(closing: ExitStack, held: bool) -> Stuck:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    closing.callback(os.close, master)
    closing.callback(os.close, slave)
    os.set_blocking(master, False)
    return Stuck(os.ttyname(slave), master, slave if held else None)


def a_reader(kind: str, place: Path, closing: ExitStack) -> Stuck:
    if kind == "pipe":
        return a_pipe(place, closing)
    return a_terminal(closing, held=kind == "held terminal")


STUCK = ("pipe", "held terminal", "full terminal")
# which streams of train lead there, and with which options
STDOUT, STDERR = ("STDOUT", "--json", *ENDLESS), ("STDERR", "--steps", "4000")
BOTH = ("STDOUT", "STDERR", "--json", *ENDLESS)


def train(
    streams: tuple[str, ...], reader: Stuck, place: Path, *patches: list[str], **env: str
) -> Process:
    """A training whose ``streams`` go to ``reader``."""
    corpus_in(place)
    there = env | {f"TEST_{word}": reader.path for word in streams if word.isupper()}
    options = [word for word in streams if not word.isupper()]
    words = "train", "novel.txt", "--out", "run", *TINY, *options
    return fork(*words, place=place, patches=patches, **there)


def until_it_waits(process: Process, place: Path) -> None:
    """Wait until the run makes no progress any more, because somebody does not read."""
    metrics, before = place / "run" / "metrics.jsonl", -1
    while before != (now := metrics.stat().st_size if metrics.exists() else 0):
        before = now
        time.sleep(SETTLED_S)
    assert process.ended(0.0) is None


def leaves(process: Process, signum: int, *others: int) -> None:
    """Send one signal; the process must leave as promised."""
    process.signal(signum)
    code = process.ended(PROMISED_S)
    process.kill()
    assert code in (128 + signum, *others), process.stderr


def stop_reading(
    streams: tuple[str, ...], kind: str, signum: int, place: Path, closing: ExitStack
) -> None:
    """See to it that a run whose reader stops in the middle is saved at the first signal."""
    reader = a_reader(kind, place, closing)
    process = train(streams, reader, place)
    reached = has_trained(place / "run", 3)
    process.until(lambda: (reader.read(), reached())[1])
    reader.stop()
    until_it_waits(process, place)
    leaves(process, signum)
    lines = (place / "run" / "metrics.jsonl").read_text().splitlines()
    assert 3 <= len(lines) <= step_of(last_of(place / "run"))
    assert left_over(place / "run") == []


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
@pytest.mark.parametrize(
    ("streams", "kind"), [(STDOUT, "pipe"), (STDERR, "pipe"), (BOTH, "held terminal")], ids=str
)
def test_the_first_signal_saves_a_run_whose_reader_stops(
    streams: tuple[str, ...], kind: str, signum: int, tmp_path: Path, closing: ExitStack
) -> None:
    stop_reading(streams, kind, signum, tmp_path, closing)


@pytest.mark.soak
@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
@pytest.mark.parametrize("kind", STUCK)
@pytest.mark.parametrize("streams", [STDOUT, STDERR, BOTH], ids=str)
def test_the_first_signal_saves_a_run_whatever_reader_stops(
    streams: tuple[str, ...], kind: str, signum: int, tmp_path: Path, closing: ExitStack
) -> None:
    for number in range(5):
        place = tmp_path / str(number)
        place.mkdir()
        stop_reading(streams, kind, signum, place, closing)


@pytest.mark.parametrize(("kind", "signum"), list(zip(STUCK, SIGNALS, strict=True)))
def test_a_run_that_could_not_say_its_first_words_is_saved(
    kind: str, signum: int, tmp_path: Path, closing: ExitStack
) -> None:
    """Both streams are stuck from the beginning."""
    reader = a_reader(kind, tmp_path, closing)
    reader.stop()
    process = train(BOTH, reader, tmp_path)
    process.until((tmp_path / "run" / ".lock").exists)
    time.sleep(SETTLED_S)
    leaves(process, signum)
    assert step_of(last_of(tmp_path / "run")) == 0


@pytest.mark.parametrize(("kind", "signum"), list(zip(STUCK, SIGNALS, strict=True)))
def test_a_run_that_could_not_say_that_it_compiles_ends(
    kind: str, signum: int, tmp_path: Path, closing: ExitStack
) -> None:
    """There is nothing to save yet."""
    reader = a_reader(kind, tmp_path, closing)
    reader.stop()
    process = train(BOTH, reader, tmp_path, ["cold"], CHARRNN_CACHE=str(tmp_path / "cache"))
    time.sleep(2 * SETTLED_S)
    assert process.ended(0.0) is None
    leaves(process, signum)
    assert not (tmp_path / "run").exists()


def test_a_reader_that_goes_on_reading_gets_the_last_words(
    tmp_path: Path, closing: ExitStack
) -> None:
    """Ctrl-C on a terminal releases what Ctrl-S has held; both come before the last line."""
    reader = a_reader("pipe", tmp_path, closing)
    process = train(STDERR, reader, tmp_path)
    reached = has_trained(tmp_path / "run", 3)
    process.until(lambda: (reader.read(), reached())[1])
    reader.stop()
    until_it_waits(process, tmp_path)
    process.signal(signal.SIGINT)
    process.until(lambda: (reader.read(), process.ended(0.0))[1])
    assert process.code == 130
    step = step_of(last_of(tmp_path / "run"))
    assert f"stopped and saved at step {step:,} in run; to continue: ".encode() in reader.read()


# --- the other commands, of which INT ends some in Python and TERM and HUP by the system's default


OTHERS = {
    "sample novel --length 0": ("STDOUT", "STDERR"),
    "sample novel --length 9": ("STDOUT", "STDERR"),
    "sample novel --length 90000 --json": ("STDOUT",),
    "score text --model novel": ("STDOUT",),
    "score text": ("STDERR",),
    "score text --per-line": ("STDOUT",),
    "insight novel": ("STDERR",),
    "insight novel --seed 1": ("STDOUT",),
    "insight novel --out -": ("STDOUT",),
    "bench sample": ("STDOUT",),
    "info novel": ("STDOUT",),
    "info nowhere": ("STDERR",),
    "ls --json": ("STDOUT",),
    "data get tinyshakespeare": ("STDERR",),  # which cannot be had
    "--help": ("STDOUT",),
    "": ("STDERR",),
    "export novel page.html": ("STDOUT", "STDERR"),
    "plot novel --out -": ("STDOUT",),
    "plot nowhere": ("STDERR",),
}
CASES = [(command, stream) for command, streams in OTHERS.items() for stream in streams]


def end(command: str, stream: str, kind: str, signum: int, place: Path, stack: ExitStack) -> None:
    """See to it that the first signal ends a command whose reader is stuck."""
    reader = a_reader(kind, place, stack)
    reader.stop()
    tiny().save(place / "checkpoints/novel/best.safetensors")
    run_in(place / "checkpoints/novel")
    (place / "text").write_text("the quick brown fox jumps over the lazy dog\n")
    patches = [["measured", "charrnn.bench.sampling.measure"], ["no_network"]]
    there = {f"TEST_{stream}": reader.path}
    process = fork(*command.split(), place=place, patches=patches, **there)
    time.sleep(SETTLED_S)
    assert process.ended(SETTLED_S) is None, process.stderr
    leaves(process, signum, -signum)
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: " ".join(CASES[number]))
def test_the_first_signal_ends_any_command_whose_reader_is_stuck(
    number: int, tmp_path: Path, closing: ExitStack
) -> None:
    kind, signum = STUCK[number // 3 % 3], SIGNALS[number % 3]
    end(*CASES[number], kind, signum, tmp_path, closing)


@pytest.mark.soak
@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
@pytest.mark.parametrize("kind", STUCK)
@pytest.mark.parametrize(("command", "stream"), CASES)
def test_every_signal_ends_every_command_whatever_reader_is_stuck(
    command: str, stream: str, kind: str, signum: int, tmp_path: Path, closing: ExitStack
) -> None:
    end(command, stream, kind, signum, tmp_path, closing)
