"""Writes to standard streams whose readers may be slow or stuck, without delaying a signal.

A write into a full pipe, or to a terminal stopped by Ctrl-S, may wait for its reader forever. So
a thread does such writes, while the main thread watches for signals. After a signal, the reader
gets a moment to read on; then the rest of the output is discarded, and the program ends.
"""

from __future__ import annotations

import io
import os
import select
import stat
import threading
from collections.abc import Callable
from typing import Any, TextIO

from charrnn import interrupts

LAST_WORDS_S = 1.0  # a reader has so long to take what is written after a signal
LOOK_S = 0.1  # between two looks for a signal, which usually wakes the thread at once

_stuck: set[int] = set()  # descriptors whose reader took nothing after a signal


def write(stream: TextIO, data: bytes) -> None:
    """Write ``data`` to a standard stream and flush it.

    Raises:
        OSError: it cannot be written, for instance because the reader went away.

    """
    number = _descriptor(stream)
    if number is None:
        _write_into(stream, data)
        return
    if not interrupts.stopping():
        _stuck.clear()
    elif number in _stuck:
        return
    stream.flush()  # what others have printed comes first
    rest = _without_waiting(number, data)
    if rest and not _finished(lambda: _write_all(number, rest)):
        _stuck.add(number)


def check(stream: TextIO) -> None:
    """Check that a standard stream can be written, without writing anything.

    Raises:
        OSError: it cannot, for instance because it is closed.

    """
    if (number := _descriptor(stream)) is not None:
        os.write(number, b"")


def whole(stream: TextIO) -> TextIO:
    """A stream that writes all it is given, in place of one of the system's; else ``stream``.

    Python's own loses what does not fit if it is unbuffered, or if somebody who shares the
    descriptor has set it not to wait.
    """
    if not isinstance(stream, io.TextIOWrapper) or (number := _descriptor(stream)) is None:
        return stream
    stream.flush()
    file = _WholeFile(number, "w", closefd=False)
    file.before = stream  # which closes the descriptor when nobody needs it
    return io.TextIOWrapper(
        file if isinstance(stream.buffer, io.FileIO) else io.BufferedWriter(file),
        encoding="utf-8",
        errors="backslashreplace",
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _WholeFile(io.FileIO):
    """A descriptor that takes whatever is written to it, however long its reader needs."""

    before: TextIO

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        view = memoryview(data).cast("B")
        _write_all(self.fileno(), view)
        return len(view)


class Outlet:
    """A standard stream as a text file for libraries that print by themselves, such as tqdm."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        """Write ``text``.

        Raises:
            OSError: as ``charrnn.outlet.write``.

        """
        write(self._stream, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing: everything is written at once."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._stream.fileno()


def _descriptor(stream: TextIO) -> int | None:
    """The descriptor below ``stream``; None if it leads elsewhere, as a notebook's does."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer
    return raw.fileno() if isinstance(raw, io.FileIO) else None


def _write_into(stream: TextIO, data: bytes) -> None:
    """Write ``data`` through ``stream`` itself."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(data.decode("utf-8", "replace"))
    while buffer is not None and data:
        data = data[buffer.write(data) or 0 :]  # which may take a part, or for once nothing
    stream.flush()


def _write_all(number: int, data: bytes | memoryview) -> None:
    """Write ``data`` to a descriptor, and wait for its reader as long as that takes."""
    while data:
        try:
            data = data[os.write(number, data) :]
        except BlockingIOError:  # somebody who shares it wants no waiting
            select.select([], [number], [])


def _without_waiting(number: int, data: bytes) -> bytes:
    """Write as much of ``data`` as surely waits for no reader; returns the rest."""
    mode = os.fstat(number).st_mode
    if stat.S_ISSOCK(mode) or os.isatty(number):
        return data
    if not stat.S_ISFIFO(mode):
        _write_all(number, data)
        return b""
    while data and select.select([], [number], [], 0)[1]:  # there is room for PIPE_BUF bytes
        data = data[os.write(number, data[: select.PIPE_BUF]) :]
    return data


def _finished(work: Callable[[], None]) -> bool:
    """Do ``work`` in a thread; False if a signal came and it was not done soon after."""
    done, failed = threading.Event(), []

    def run() -> None:
        try:
            work()
        except (OSError, ValueError) as error:  # ValueError: the stream has been closed
            failed.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="charrnn-write", daemon=True).start()
    while not done.wait(LOOK_S):
        if interrupts.stopping():
            done.wait(LAST_WORDS_S)
            break
    if failed:
        raise failed[0]
    return done.is_set()
