"""Sources of text: files, standard input and pipes, unpacked, as blocks of bytes."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO

from charrnn import interrupts
from charrnn.atomic_io import temporary_beside
from charrnn.errors import CorpusError, DecodingError, os_reason, unreadable
from charrnn.text.files import STDIN, Found, find_files
from charrnn.text.packed import HEAD, first, may_be_packed, packing_of, unpacked

BLOCK = 1 << 20
SIGNAL_WAIT_S = 0.5
IF_BOMB = "set {max_bytes} to read so many bytes of it"


@dataclass(frozen=True)
class Source:
    """A file that can be read several times.

    Attributes:
        path: the file.
        name: its name for the user.
        limit: bytes of its text to use; None: all.
        packing: how the file is packed (``charrnn.text.packed``); empty: not at all.
        size: the bytes of its text that are used, if there is a limit.

    """

    path: Path
    name: str
    limit: int | None = None
    packing: str = ""
    size: int = 0

    @property
    def cut(self) -> bool:
        """Whether ``limit`` may have cut the text in the middle of a character."""
        return self.limit is not None and self.size >= self.limit

    def between(self, start: int, stop: int) -> Iterator[bytes]:
        """Its bytes from ``start`` to ``stop``, in blocks; fewer if it can no longer be read."""
        try:
            if not self.packing:
                with open(self.path, "rb") as file:
                    file.seek(start)
                    yield from _read(file, stop - start)
                return
            at = 0
            for block in blocks(self):
                if at + len(block) > start:
                    yield block[max(0, start - at) : stop - at]
                at += len(block)
                if at >= stop:
                    return
        except (OSError, CorpusError):
            return


class Sieve:
    """Takes sources into a corpus, or omits them and remembers why.

    Args:
        read: reads all of a source, and raises CorpusError if it is not a text.

    Attributes:
        omitted: a message for each source that was omitted.

    """

    def __init__(self, read: Callable[[Source], None] | None = None) -> None:
        self._read = read
        self.omitted: list[str] = []

    def take(self, found: Found, spool: Path, limit: int | None, stack: ExitStack) -> Source | None:
        """The source of ``found``, with a limit of ``limit`` bytes; None if it is omitted."""
        try:
            source = _open(found, spool, limit, stack)
            if limit is not None:
                source = replace(source, size=_size(source))
            if self._read is not None:
                self._read(source)
        except CorpusError as error:
            may_be_omitted = found.listed or isinstance(error, DecodingError)
            if self._read is None or not may_be_omitted:
                raise
            self.omitted.append(error.message)
            return None
        return source


@contextmanager
def open_sources(
    paths: Sequence[str | Path], spool: Path, max_bytes: int | None, sieve: Sieve
) -> Iterator[list[Source]]:
    """Sources for ``paths``, with copies in ``spool`` of those that can be read only once.

    The copies are removed after the block. ``max_bytes`` limits the bytes of all sources together.

    Raises:
        CorpusError: a path is missing, unreadable, a folder without files, or a device without
            ``max_bytes``; or the sieve omits all of them.

    """
    left = max_bytes
    with ExitStack() as stack:
        sources = []
        for found in chain.from_iterable(map(find_files, paths)):
            interrupts.check()
            source = sieve.take(found, spool, left, stack)
            if source is None:
                continue
            if left is not None:
                left -= source.size
            sources.append(source)
        if not sources:
            raise CorpusError(f"no file is a text: {sieve.omitted[0]}", "name a text file")
        yield sources


@contextmanager
def unpacked_copies(sources: Sequence[Source], spool: Path) -> Iterator[list[Source]]:
    """``sources``, with copies in ``spool`` in place of the packed ones, removed after the block.

    Reading a copy takes a hundredth of the time of unpacking.

    Raises:
        CorpusError, DecodingError: as for ``blocks``.
        OSError: a copy cannot be written.

    """
    with ExitStack() as stack:
        copies = []
        for source in sources:
            if source.packing:
                copy = _copy_of(blocks(source), spool / "unpacked", stack)
                source = replace(source, path=copy, packing="")
            copies.append(source)
        yield copies


def _size(source: Source) -> int:
    """The bytes of its text, up to its limit."""
    if source.packing:
        return sum(map(len, blocks(source)))
    size = source.path.stat().st_size
    return size if source.limit is None else min(size, source.limit)


def _open(found: Found, spool: Path, limit: int | None, stack: ExitStack) -> Source:
    path, name = found.path, found.name
    if str(path) == STDIN:
        name = "standard input"
        return Source(_copy(sys.stdin.buffer, name, spool, limit, stack), name, limit)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                return Source(path, name, limit, packing_of(file.read(HEAD)))
        if not stat.S_ISFIFO(mode) and limit is None:
            raise CorpusError(f"{path} is a device that may never end", "set {max_bytes}")
        pipe = stack.enter_context(open(path, "rb", opener=_open_at_once))  # noqa: SIM115
        os.set_blocking(pipe.fileno(), True)
    except OSError as error:
        raise unreadable(path, error) from None
    return Source(_copy(pipe, str(path), spool, limit, stack), name, limit)


def _open_at_once(path: str, flags: int) -> int:
    """Open a FIFO without waiting for its writer, because a signal could not end that wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _wait_for(pipe: IO[bytes]) -> None:
    """Wait until ``pipe`` has something to read or has ended, and check for signals meanwhile."""
    try:
        number = pipe.fileno()
        while not select.select([number], [], [], SIGNAL_WAIT_S)[0]:
            interrupts.check()
    except (OSError, ValueError):  # it has no file descriptor, or one that select cannot take
        return


def _copy(pipe: IO[bytes], name: str, spool: Path, limit: int | None, stack: ExitStack) -> Path:
    """Copy a pipe, which cannot be read twice, into a file that is removed with ``stack``.

    A packed one is unpacked, so that ``limit`` bytes of text can be told.
    """
    pieces = _blaming(name, _from_pipe(pipe, name, limit, IF_BOMB))
    return _copy_of(pieces, spool / "pipe", stack)


def _copy_of(pieces: Iterator[bytes], beside: Path, stack: ExitStack) -> Path:
    """A file that holds ``pieces``, and is removed with ``stack``."""
    copy = stack.enter_context(temporary_beside(beside))
    with open(copy, "xb") as file:
        for block in pieces:
            interrupts.check()
            file.write(block)
    return copy


def _from_pipe(
    pipe: IO[bytes], name: str, limit: int | None = None, if_bomb: str = "", most: int = BLOCK
) -> Iterator[bytes]:
    """The text in a pipe, unpacked, as it arrives; at most ``most`` bytes are read at a time."""
    pieces, head = _read(pipe, None, wait=True, most=most), b""
    for piece in pieces:
        head += piece
        if not may_be_packed(head):
            break
    raw = chain([head], pieces)
    if packing := packing_of(head):
        yield from unpacked(raw, packing, name, limit, if_bomb)
    else:
        yield from raw if limit is None else first(raw, limit)


def _read(
    file: IO[bytes], limit: int | None, wait: bool = False, most: int = BLOCK
) -> Iterator[bytes]:
    # a pipe delivers pieces: filling a whole block would wait for the rest of it
    read = getattr(file, "read1", file.read) if wait else file.read
    left = limit
    while left is None or left > 0:
        if wait:
            _wait_for(file)
        block = read(most if left is None else min(most, left))
        if not block:
            return
        if left is not None:
            left -= len(block)
        yield block


def blocks(source: Source) -> Iterator[bytes]:
    """The bytes of a source's text, at most ``BLOCK`` at a time.

    Raises:
        CorpusError: it can no longer be read.
        DecodingError: it is packed, and damaged.

    """

    def read() -> Iterator[bytes]:
        with open(source.path, "rb") as file:
            if source.packing:
                raw = _read(file, None)
                yield from unpacked(raw, source.packing, source.name, source.limit, IF_BOMB)
            else:
                yield from _read(file, source.limit)

    return _blaming(source.name, read())


def stored(source: Source) -> Iterator[bytes]:
    """The bytes of a source's file as they are stored, at most ``BLOCK`` at a time.

    Raises:
        CorpusError: it can no longer be read.

    """

    def read() -> Iterator[bytes]:
        with open(source.path, "rb") as file:
            yield from _read(file, None)

    return _blaming(source.name, read())


def arriving(file: IO[bytes], name: str, most: int = BLOCK) -> Iterator[bytes]:
    """The bytes of an open file or pipe as they arrive, unpacked, at most ``BLOCK`` at a time.

    At most ``most`` bytes are read at a time.

    Raises:
        CorpusError: it can no longer be read.
        DecodingError: it is packed, and damaged.
        Interrupted: a signal arrived.

    """
    return _blaming(name, _from_pipe(file, "the text", most=most))


def _blaming(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """``pieces``, whose errors name the text that is read."""
    try:
        yield from pieces
    except OSError as error:
        raise CorpusError(f"cannot read {name}: {os_reason(error)}") from None
