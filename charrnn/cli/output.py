"""Writing generated text: raw into a pipe, with control characters escaped on a terminal."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from charrnn import outlet
from charrnn.atomic_io import check_folder, write_atomic
from charrnn.console import harmless, one_line
from charrnn.errors import CharRNNError, ConfigError, os_reason

Escape = Literal["auto", "always", "never"]

BLOCK = 1 << 13  # bytes: the largest block written to a pipe


def is_escaped(stream: TextIO, escape: Escape) -> bool:
    """Whether control characters are escaped on ``stream``."""
    return escape == "always" or (escape == "auto" and stream.isatty())


class TextWriter:
    """Writes samples to ``stream``: each piece at once to a terminal, in blocks to a pipe.

    The first piece goes to a pipe at once too, for readers that want no more; then blocks double
    in size. A pipe gets the bytes as they are. Where control characters are escaped (``escape``;
    ``auto`` does so on a terminal), the bytes are decoded as UTF-8 first. After a signal, whatever
    a stuck reader does not take is discarded (``charrnn.outlet``).
    """

    def __init__(self, stream: TextIO, escape: Escape) -> None:
        self._terminal = stream.isatty()
        self._stream = stream
        self._harmless = is_escaped(stream, escape)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # a carriage return, harmless if a newline follows
        self._waiting = bytearray()
        self._block = 1
        self._line_start = True

    def put(self, piece: bytes) -> None:
        """Write the next bytes of a sample."""
        self._write(self._shown(piece) if self._harmless else piece)

    def end_sample(self, between: bytes) -> None:
        """End a sample and write ``between`` after it."""
        if self._harmless:
            self._write(self._shown(b"", final=True))
        self._write(between)

    def flush(self) -> None:
        """Write what is buffered."""
        if self._waiting:
            self._flush()

    def end(self) -> None:
        """Write what is buffered, and end the line on a terminal."""
        if self._terminal and not self._line_start:
            self._waiting += b"\n"
        self._flush()

    def _shown(self, piece: bytes, final: bool = False) -> bytes:
        text = self._held + self._decoder.decode(piece, final)
        self._held = "\r" if text.endswith("\r") and not final else ""
        return harmless(text.removesuffix("\r") if self._held else text).encode()

    def _write(self, piece: bytes) -> None:
        if piece:
            self._line_start = piece.endswith(b"\n")
            self._waiting += piece
        if self._waiting and (self._terminal or len(self._waiting) >= self._block):
            self._block = min(2 * self._block, BLOCK)
            self._flush()

    def _flush(self) -> None:
        block = bytes(self._waiting)
        self._waiting.clear()
        outlet.write(self._stream, block)


def print_line(text: str) -> None:
    """Print a line on stdout at once.

    Raises:
        OSError: it cannot be written.

    """
    outlet.write(sys.stdout, f"{text}\n".encode("utf-8", "backslashreplace"))


def check_stdout() -> None:
    """Check before any work that standard output can be written.

    Raises:
        OSError: it cannot, for instance because it is closed.

    """
    outlet.check(sys.stdout)


def print_path(path: Path) -> None:
    """Print a path on a line. A pipe gets its exact bytes, which need not be UTF-8."""
    shown = one_line(str(path)).encode("utf-8", "backslashreplace")
    sys.stdout.buffer.write((shown if sys.stdout.isatty() else os.fsencode(path)) + b"\n")


def check_writable(
    path: Path, size: int, setting: str = "out", *, made: Path | None = None
) -> None:
    """Check before any work that ``size`` bytes can be written to ``path``; ``-`` is stdout.

    ``setting`` named the path. Its folder must exist, lest a misspelled one be made, unless it is
    ``made`` by the work itself.

    Raises:
        ConfigError: there is no such folder.
        CharRNNError: the bytes cannot be written.

    """
    if str(path) == "-":
        return
    with _at(path, setting):
        if not path.exists() or path.is_file():
            folder = path.resolve().parent
            nearest = next(place for place in (folder, *folder.parents) if place.exists())
            expected = nearest == folder or (made is not None and folder == made.resolve())
            if not expected and nearest.is_dir():
                message = f"is {path}: there is no folder {path.parent}"
                raise ConfigError(message, "create it first", setting=setting)
            check_folder(folder, size)
        elif not os.access(path, os.W_OK):  # a device or a pipe
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically and print the path; ``-`` is standard output.

    Raises:
        CharRNNError: it cannot be written.
        OSError: standard output cannot be written.

    """
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        return
    save_file(path, data)
    print_path(path)


def save_file(path: Path, data: bytes, setting: str = "out") -> None:
    """Write ``data`` atomically to ``path``, which ``setting`` named.

    Raises:
        CharRNNError: it cannot be written.

    """
    with _at(path, setting):
        if path.exists() and not path.is_file():  # a device or a pipe: it must not be replaced
            path.write_bytes(data)  # by this name: what /dev/stdout resolves to may have none
        else:
            write_atomic(path.resolve() if path.is_symlink() else path, [data])


@contextmanager
def _at(path: Path, setting: str) -> Iterator[None]:
    """Name ``path``, not a temporary file, in the errors of this block."""
    try:
        yield
    except OSError as error:
        message = f"cannot write to {path}: {os_reason(error)}"
        raise CharRNNError(message, f"choose another {{{setting}}}") from error
