"""A real pseudo-terminal with charrnn on it, in this process or in one of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from charrnn.cli.app import main
from tests.support.checkpoints import environment

CONTROLS = [*range(9), *range(11, 32), *range(0x7F, 0xA0)]
BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
LINES = [0x2028, 0x2029]
UNWANTED = frozenset({*CONTROLS, *BIDI, *LINES})

# colours and boxes of rich are ours; anything else that begins with ESC is not
_OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]")


class Seen(NamedTuple):
    """How charrnn left, and what came to the terminal: stdout and stderr together."""

    code: int
    text: str


def raw_controls(seen: str, *, bar: bool = False) -> set[str]:
    """Characters that a terminal would obey, but for newlines, tabs and our own colours.

    With ``bar``, the carriage returns and line moves of a progress bar too are ours.
    """
    seen = _OURS.sub("", seen.replace("\r\n", "\n"))
    if bar:
        seen = seen.replace("\x1b[A", "").replace("\r", "")
    return {f"U+{ord(character):04X}" for character in seen if ord(character) in UNWANTED}


class _Terminal:
    def __init__(self, columns: int) -> None:
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._pieces: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self._master, 1 << 16):
                self._pieces.append(piece)
        except OSError:  # Linux says so when the last writer has left
            pass

    def close(self) -> str:
        os.close(self.slave)
        self._reader.join()
        os.close(self._master)
        return b"".join(self._pieces).decode()


def on_a_terminal(*args: str, columns: int = 80, **env: str) -> Seen:
    """``charrnn args`` on a terminal, in this process: a hundred times as quick."""
    return _run(args, None, columns, env)


def into_a_file(*args: str, out: Path, columns: int = 80, env: Mapping[str, str] = {}) -> Seen:
    """The same with standard output in the file ``out``: what came to the terminal is stderr."""
    return _run(args, out, columns, env)


def _run(args: Sequence[str], out: Path | None, columns: int, env: Mapping[str, str]) -> Seen:
    terminal = _Terminal(columns)
    code = -1
    try:
        with pytest.MonkeyPatch.context() as patch, _standing_in(terminal.slave, out, patch):
            for name, value in env.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as left:
                main(list(args))
            code = int(left.value.code or 0)
    finally:
        text = terminal.close()
    return Seen(code, text)


@contextmanager
def _standing_in(slave: int, out: Path | None, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The standard streams, and their numbers, are the terminal ``slave``, or the file ``out``."""
    before = [os.dup(number) for number in range(3)]
    for number in range(3):
        os.dup2(slave, number)
    if out is not None:
        with out.open("wb") as file:
            os.dup2(file.fileno(), 1)
    streams = [open(n, mode, closefd=False) for n, mode in enumerate(("r", "w", "w"))]  # noqa: SIM115
    for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
        patch.setattr(sys, name, stream)
    try:
        yield
    finally:
        for stream in streams:
            stream.close()
        for number, old in enumerate(before):
            os.dup2(old, number)
            os.close(old)


def process_on_a_terminal(*args: str, columns: int = 80, **env: str) -> Seen:
    """``charrnn args`` on a terminal, as a process of its own."""
    terminal = _Terminal(columns)
    command = [sys.executable, "-m", "charrnn", *args]
    try:
        code = subprocess.call(
            command,
            stdin=terminal.slave,
            stdout=terminal.slave,
            stderr=terminal.slave,
            env=environment(**env),
            timeout=120,
        )
    finally:
        text = terminal.close()
    return Seen(code, text)
