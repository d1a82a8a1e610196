"""A reader that goes away is no error; streams that are closed or full are one line.

The long form, a hundred readers of each kind: ``pytest -m soak tests/reliability/test_pipes.py``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from itertools import pairwise
from pathlib import Path

import pytest

from charrnn.checkpoint.file import load
from charrnn.cli.output import BLOCK, TextWriter
from charrnn.generation.relay import CHUNKS
from charrnn.training.api import train
from tests.support.checkpoints import environment, tiny
from tests.support.curves import report, run_in

PIPE = 141
TRAIN = "train few --steps 2000 --size 8 --layers 1 --seed 1 --threads 1 -q --out run"
QUICK = 4  # of each of the following are run in the suite; all of them in the long form
# command, what reads it, what that has read; more is on its way than a pipe holds
READERS = {
    "sample novel --seed 1 --length 0": ("head -c 10", 10),
    "sample novel --seed 1 --length 200000": ("head -c 10", 10),
    "sample novel --seed 1 --count 9000 --length 20 --json": ("head -n 1", None),
    "score text --model novel --per-line": ("head -n 1", None),
    "score text --model novel --color": ("head -n 1", None),
    "sample novel --seed 1 --count 9000 --length 20": ("head -n 1", None),
    "sample novel --seed 1 --count 9000 --length 20 --lines": ("head -n 1", None),
    "score text --model novel --per-line --json": ("head -n 1", None),
    f"{TRAIN} --json": ("head -n 1", None),
    "plot novel --out -": ("head -n 1", None),
}
# what is written at once, when nobody reads any more
SHORT = [
    "sample novel --seed 1 --length 5",
    "ls",
    "info novel --json",
    "score text --model novel",
    "fill a_b --model novel",
    "--help",
    "ls --json",
    "info novel",
    "score text --model novel --json",
    "--version",
]


@pytest.fixture(autouse=True)
def a_run(bare_environment: None) -> None:
    tiny().save(Path("checkpoints/novel/best.safetensors"))
    run_in("checkpoints/novel", *map(report, range(3000)))
    Path("text").write_text("the quick brown fox jumps over the lazy dog\n" * 3000)
    Path("few").write_text("the quick brown fox jumps over the lazy dog\n" * 20)


def shell(command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """``command`` in a shell in which ``charrnn`` is this program."""
    script = f'charrnn() {{ "{sys.executable}" -m charrnn "$@"; }}\n{command}'
    args = ["bash", "-c", script]
    return subprocess.run(args, env=environment(**env), capture_output=True, timeout=120)


def leave_early(command: str, reader: str, size: int | None, unbuffered: bool) -> None:
    """See to it that ``charrnn command | reader`` ends well."""
    env = {"PYTHONUNBUFFERED": "1"} if unbuffered else {}
    done = shell(f"charrnn {command} | {reader}; exit ${{PIPESTATUS[0]}}", **env)
    assert (done.returncode, done.stderr) == (PIPE, b""), command
    assert done.stdout.count(b"\n") == 1 if size is None else len(done.stdout) == size


def nobody_reads(command: str, unbuffered: bool) -> None:
    """See to it that ``charrnn command`` into a pipe without a reader ends well."""
    read, write = os.pipe()
    os.close(read)
    env = environment(**({"PYTHONUNBUFFERED": "1"} if unbuffered else {}))
    args = [sys.executable, "-m", "charrnn", *command.split()]
    try:
        done = subprocess.run(args, stdout=write, stderr=subprocess.PIPE, env=env, timeout=120)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (PIPE, b""), command


@pytest.mark.parametrize("number", range(QUICK))
def test_a_reader_that_goes_away_is_no_error(number: int) -> None:
    command = list(READERS)[number]
    leave_early(command, *READERS[command], unbuffered=number % 2 == 1)


@pytest.mark.parametrize("number", range(QUICK))
def test_a_reader_that_was_never_there_is_no_error(number: int) -> None:
    nobody_reads(SHORT[number], unbuffered=number % 2 == 1)


@pytest.mark.soak
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", READERS)
def test_a_hundred_readers_that_go_away(command: str, unbuffered: bool) -> None:
    for number in range(100):
        shutil.rmtree("run", ignore_errors=True)
        reader, size = READERS[command]
        if size is not None:  # at another place each time
            size = 1 + number * number * 7
            reader = f"head -c {size}"
        leave_early(command, reader, size, unbuffered)


@pytest.mark.soak
@pytest.mark.parametrize("command", SHORT)
def test_a_hundred_readers_that_were_never_there(command: str) -> None:
    for number in range(100):
        nobody_reads(command, unbuffered=number % 2 == 1)


def test_a_training_whose_reader_goes_away_is_saved_and_goes_on() -> None:
    """What ``train --json | head -n 1`` does: it saves, leaves with 141, and can be resumed."""
    leave_early(f"{TRAIN} --json", *READERS[f"{TRAIN} --json"], unbuffered=False)
    step = load(Path("run/last.safetensors"), extra=True).meta["progress"]["step"]
    assert 0 < step < 2000
    assert train(out="run", resume=True, steps=step + 1, threads=1).steps == step + 1
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == step + 1


def test_errors_whose_reader_goes_away() -> None:
    """The exit code is that of the error, wherever its text goes."""
    for where in ("2>/dev/full", "2>&1 | true", "2>&-"):
        done = shell(f"charrnn info nowhere {where}; exit ${{PIPESTATUS[0]}}")
        assert (done.returncode, done.stdout, done.stderr) == (2, b"", b""), where
    done = shell("charrnn sample novel --length 9 2>/dev/full")  # a note that nobody gets
    assert (done.returncode, len(done.stdout)) == (0, 9)


# --- full


FILLING = [
    "sample novel --seed 1",
    "sample novel --seed 1 --length 0",
    "sample novel --seed 1 --json",
    "score text --model novel --per-line",
    "info novel",
]


@pytest.mark.parametrize("number", range(QUICK))
def test_a_full_disk_is_reported_in_one_line(number: int) -> None:
    full_disk(FILLING[number], unbuffered=number % 2 == 1)


@pytest.mark.soak
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", [*READERS, *SHORT])
def test_a_full_disk_is_reported_in_one_line_by_every_command(
    command: str, unbuffered: bool
) -> None:
    full_disk(command, unbuffered)


def full_disk(command: str, unbuffered: bool) -> None:
    env = {"PYTHONUNBUFFERED": "1"} if unbuffered else {}
    done = shell(f"charrnn {command} >/dev/full", **env)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
    assert done.stderr.startswith(b"charrnn: cannot write to standard output: No space left")


# --- closed


SHORT_RUN = TRAIN.replace("2000", "2")
# exit code, and whether it writes to standard output
CLOSED = {
    "ls": (0, True),
    "sample novel --seed 1 --length 9": (0, True),
    f"{SHORT_RUN} --json": (0, True),
    SHORT_RUN: (0, False),
    "score text --model novel": (0, True),
    "info nowhere": (2, False),
    "": (2, False),
    "info novel": (0, True),
    "fill a_b --model novel": (0, True),
    "insight novel --seed 1 --text few": (0, True),
    "insight novel --seed 1 --text few --out -": (0, True),
    "--help": (0, True),
    "--version": (0, True),
    "train --help": (0, True),
    "--show-completion bash": (0, True),
    "bench sample --size 16": (0, True),  # it would take minutes: it is refused before
    "sample novel --seed 1 --length 9 --json": (0, True),
    "data get nonsense": (2, False),
    "train - --steps 1 --out run": (2, False),
    "export novel page.html": (0, True),
    "plot novel --out -": (0, True),
}
LOST = b"charrnn: cannot write to standard output: it is closed\n"
WHICH = ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"]


def close_some(command: str, closed: str) -> None:
    """See to it that ``charrnn command`` ends well although some of its streams are closed."""
    code, writes = CLOSED[command]
    if command.startswith("bench") and " >&-" not in f" {closed}":
        return
    lost = writes and " >&-" in f" {closed}"
    before = ": | " if "<&-" not in closed else ""
    done = shell(f"{before}charrnn {command} {closed}")
    assert done.returncode == (1 if lost else code), done.stderr
    assert not lost or done.stderr == (b"" if "2>&-" in closed else LOST)
    assert ">&-" not in closed.split() or done.stdout == b""
    assert "2>&-" not in closed or done.stderr == b""
    assert b"Traceback" not in done.stderr
    assert b"bug" not in done.stderr


@pytest.mark.parametrize("number", range(len(WHICH)))
def test_closed_streams_are_no_bug(number: int) -> None:
    """A few commands; all of them in the long form."""
    close_some(list(CLOSED)[number], WHICH[number])


@pytest.mark.parametrize("command", [c for c, (_, writes) in CLOSED.items() if writes][:QUICK])
def test_what_is_lost_in_a_closed_stream_is_an_error(command: str) -> None:
    close_some(command, ">&-")
    assert not Path("run").exists()  # before any work


@pytest.mark.soak
@pytest.mark.parametrize("closed", WHICH)
@pytest.mark.parametrize("command", CLOSED)
def test_each_closed_stream_is_no_bug(command: str, closed: str) -> None:
    close_some(command, closed)


@pytest.mark.parametrize(
    "command",
    [
        "sample novel --seed 1 --length 9 --prime -",
        "sample novel --seed 1 --length 9 --prime-file -",
        "score - --model novel",
        "insight novel --seed 1 --text -",
        "train - --steps 1 --out run",
    ],
)
def test_a_closed_stdin_is_not_an_empty_one(command: str) -> None:
    done = shell(f"charrnn {command} <&-")
    said = b"charrnn: cannot read standard input: it is closed\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", said)


def test_no_file_takes_the_number_of_a_closed_stream() -> None:
    """A checkpoint that got number 1 or 2 would be written into."""
    assert shell(f"charrnn {SHORT_RUN} <&- >&- 2>&-").returncode == 0
    assert load(Path("run/best.safetensors")).meta["progress"]["step"] in (1, 2)


# --- slow


@pytest.mark.parametrize(
    ("command", "waits"),
    [
        ("sample novel --seed 1 --length 150000", True),
        ("score text --model novel --per-line --json", True),
        ("score text --model novel --per-line --json", False),
    ],
)
def test_a_pipe_without_a_buffer_loses_nothing_when_it_is_stopped(
    command: str, waits: bool
) -> None:
    """A write that a stop cuts short takes a part only, and one that may not wait nothing."""
    wanted, got = whole_and_pieces(command, waits, PYTHONUNBUFFERED="1")
    assert got == wanted


def test_a_pipe_that_does_not_wait_gets_everything() -> None:
    """As when a program that shares the pipe has set it so."""
    wanted, got = whole_and_pieces("score text --model novel --per-line --json", waits=False)
    assert got == wanted


def whole_and_pieces(command: str, waits: bool, **env: str) -> tuple[bytes, bytes]:
    """What ``command`` prints, and what of it comes to a slow reader while it is stopped."""
    args = [sys.executable, "-m", "charrnn", *command.split()]
    wanted = subprocess.run(args, env=environment(), capture_output=True, check=True).stdout
    read, write = os.pipe()
    os.set_blocking(write, waits)
    with subprocess.Popen(args, stdout=write, env=environment(**env)) as slow:
        os.close(write)
        got = b""
        for _ in range(8):
            wait_until_full(read)
            slow.send_signal(signal.SIGSTOP)
            slow.send_signal(signal.SIGCONT)
            got += os.read(read, 5000)  # room for a part of what waits
        while piece := os.read(read, 1 << 16):
            got += piece
    os.close(read)
    assert slow.returncode == 0
    return wanted, got


def wait_until_full(pipe: int) -> None:
    """Wait until nothing more comes into ``pipe``."""
    before, now = -1, 0
    while now != before or not now:
        time.sleep(0.05)
        before, now = now, struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_drawn_text_is_written_when_a_signal_comes(signum: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "charrnn", "sample", "novel", "--seed", "1", "--length"]
    for _ in range(9):
        got = stopped_sample([*command, "0"], signum, tmp_path / "text")
        if b"".join(whole_blocks(got)) != got:  # at a block's end there is nothing to lose
            break
    else:
        pytest.fail("no signal came between two blocks")
    wanted = subprocess.run([*command, str(len(got))], env=environment(), capture_output=True)
    assert got == wanted.stdout


def stopped_sample(command: list[str], signum: int, path: Path) -> bytes:
    """What an endless sample has written into a file when a signal has ended it."""
    with (
        open(path, "wb") as text,
        subprocess.Popen(command, stdout=text, env=environment()) as endless,
    ):
        while os.path.getsize(path) < BLOCK:
            time.sleep(0.001)
        endless.send_signal(signum)
    assert endless.returncode == 128 + signum
    return path.read_bytes()


def whole_blocks(text: bytes) -> list[bytes]:
    """``text`` as a writer that is never stopped would give it to a pipe, without its rest."""

    blocks: list[bytes] = []

    class Out:
        def write(self, block: bytes) -> int:
            blocks.append(block)
            return len(block)

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return False

    out = Out()
    out.buffer = out  # type: ignore[attr-defined]
    writer, sizes = TextWriter(out, "never"), list(CHUNKS)  # type: ignore[arg-type]
    while text:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        writer.put(text[:size])
        text = text[size:]
    return blocks


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("more", [["--length", "0"], ["--json", "--length", "200000"]], ids=str)
def test_a_signal_ends_a_sample_that_nobody_reads(more: list[str], unbuffered: bool) -> None:
    env = environment(**({"PYTHONUNBUFFERED": "1"} if unbuffered else {}))
    args = [sys.executable, "-m", "charrnn", "sample", "novel", "--seed", "1", *more]
    with subprocess.Popen(args, stdout=subprocess.PIPE, env=env) as endless:
        assert endless.stdout
        wait_until_full(endless.stdout.fileno())
        endless.send_signal(signal.SIGTERM)
        assert endless.wait(10) == 128 + signal.SIGTERM


def test_a_signal_ends_a_sample_on_a_terminal_that_stands_still() -> None:
    terminal, inside = os.openpty()
    args = [sys.executable, "-m", "charrnn", "sample", "novel", "--seed", "1", "--length", "0"]
    try:
        with subprocess.Popen(args, stdout=inside, env=environment()) as endless:
            wait_until_full(terminal)
            endless.send_signal(signal.SIGTERM)
            assert endless.wait(10) == 128 + signal.SIGTERM
    finally:
        os.close(terminal)
        os.close(inside)


def test_short_writes_are_continued(tmp_path: Path) -> None:
    class Short:
        """A raw file that takes seven bytes at a time, or now and then none."""

        def __init__(self) -> None:
            self.taken = bytearray()
            self._calls = 0

        @property
        def buffer(self) -> Short:
            return self

        def isatty(self) -> bool:
            return False

        def flush(self) -> None: ...

        def write(self, data: bytes) -> int | None:
            self._calls += 1
            if self._calls % 5 == 0:
                return None
            self.taken += data[:7]
            return len(data[:7])

    short = Short()
    writer = TextWriter(short, "auto")  # type: ignore[arg-type]
    text = os.urandom(2 * BLOCK + 5)
    for start in range(0, len(text), 1000):
        writer.put(text[start : start + 1000])
    writer.end()
    assert bytes(short.taken) == text


def test_a_pipe_gets_the_first_piece_at_once_and_then_larger_blocks() -> None:
    blocks = [len(block) for block in whole_blocks(b"x" * 10 * BLOCK)]
    assert blocks[0] == CHUNKS[0]
    assert all(a <= b for a, b in pairwise(blocks))
    assert set(blocks[20:]) == {BLOCK}
