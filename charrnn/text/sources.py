"""Sources of text: files, standard input and pipes, as blocks of bytes and of code points."""

from __future__ import annotations

import codecs
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.atomic_io import temporary_beside
from charrnn.errors import CorpusError, DecodingError, os_reason
from charrnn.text.undecodable import explaining

BLOCK = 1 << 20
STDIN = "-"
SIGNAL_WAIT_S = 0.5
MOST_NAMES = 5000  # characters of file names in the name of a corpus
# codecs for single host names, which take forever over a text
_NO_TEXTS = {"idna", "punycode"}
# codecs that decode a character's bytes the same way whatever came before them
_STATELESS = {"utf-8", "ascii", "iso8859-1"}
BYTE_ORDER_MARK = "\ufeff"
# encodings that keep a byte order mark as a character, and those that omit it
_MARKLESS = {"utf-8": "utf-8-sig"} | {
    f"utf-{bits}-{order}": f"utf-{bits}" for bits in (16, 32) for order in ("le", "be")
}


@dataclass(frozen=True)
class Source:
    """A file that can be read several times.

    Attributes:
        path: the file.
        name: its name for the user.
        limit: bytes of it to use; None: all.

    """

    path: Path
    name: str
    limit: int | None = None

    @property
    def cut(self) -> bool:
        """Whether ``limit`` may have cut the text in the middle of a character."""
        return self.limit is not None and self.path.stat().st_size >= self.limit

    def read(self, start: int, size: int) -> bytes:
        """``size`` bytes from ``start``; fewer at the end, and none if it can no longer be read."""
        with suppress(OSError), open(self.path, "rb") as file:
            file.seek(start)
            return file.read(size)
        return b""


@contextmanager
def open_sources(
    paths: Sequence[str | Path], spool: Path, max_bytes: int | None
) -> Iterator[list[Source]]:
    """Sources for ``paths``, with copies in ``spool`` of those that can be read only once.

    The copies are removed after the block. ``max_bytes`` limits the bytes of all sources together.

    Raises:
        CorpusError: a path is missing, a folder, unreadable, or a device without ``max_bytes``.

    """
    left = max_bytes
    with ExitStack() as stack:
        sources = []
        for path in paths:
            source = _open(path, spool, left, stack)
            if left is not None:
                left -= min(left, source.path.stat().st_size)
            sources.append(source)
        yield sources


def names(paths: Sequence[str | Path]) -> str:
    """The name of a corpus after its files."""
    return name_of([_name(path) for path in paths])


def name_of(parts: Sequence[str]) -> str:
    """One name made of the names of a corpus's files; if there are very many, of the first."""
    shown, room = list(parts[:1]), MOST_NAMES
    for part in parts[1:]:
        room -= len(part)
        if room < 0:
            return " + ".join([*shown, f"{len(parts) - len(shown)} more"])
        shown.append(part)
    return " + ".join(shown)


def begins_anew(encoding: str) -> bool:
    """Whether texts decoded separately may differ from their concatenated bytes decoded as one.

    A new decoder drops a byte order mark and starts unshifted.
    """
    return encoding != "bytes" and find_codec(encoding).name not in _STATELESS


def markless(encoding: str) -> str | None:
    """The encoding that is like ``encoding`` but omits a byte order mark; None if there is none."""
    return None if encoding == "bytes" else _MARKLESS.get(find_codec(encoding).name)


def find_codec(encoding: str) -> codecs.CodecInfo:
    """The codec of a text encoding.

    Raises:
        CorpusError: there is no text encoding of this name.

    """
    try:
        codec = codecs.lookup(encoding)
        with suppress(UnicodeError):
            b"ab".decode(codec.name)  # LookupError for codecs that do not make text, such as hex
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.name in _NO_TEXTS:
        hint = "set {encoding} to utf-8, utf-16, latin-1 or cp1252, for instance"
        raise CorpusError(f"unknown encoding {encoding!r}", hint)
    return codec


def _name(path: str | Path) -> str:
    return "standard input" if str(path) == STDIN else Path(path).name


def _open(path: str | Path, spool: Path, limit: int | None, stack: ExitStack) -> Source:
    if str(path) == STDIN:
        name = _name(path)
        return Source(_copy(sys.stdin.buffer, name, spool, limit, stack), name, limit)
    if not str(path):
        raise CorpusError("the path of the text is empty: name a file, or - for standard input")
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CorpusError(f"{path} is a folder: name the text files in it")
        if stat.S_ISREG(mode):
            with open(path, "rb"):
                return Source(path, _name(path), limit)
        if not stat.S_ISFIFO(mode) and limit is None:
            raise CorpusError(f"{path} is a device that may never end", "set {max_bytes}")
        pipe = stack.enter_context(open(path, "rb", opener=_open_at_once))  # noqa: SIM115
        os.set_blocking(pipe.fileno(), True)
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {os_reason(error)}") from None
    return Source(_copy(pipe, str(path), spool, limit, stack), _name(path), limit)


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
    """Copy a pipe, which cannot be read twice, into a file that is removed with ``stack``."""
    copy = stack.enter_context(temporary_beside(spool / "pipe"))
    with open(copy, "xb") as file:
        for block in _blaming(name, _read(pipe, limit, wait=True)):
            interrupts.check()
            file.write(block)
    return copy


def _read(file: IO[bytes], limit: int | None, wait: bool = False) -> Iterator[bytes]:
    # a pipe delivers pieces: filling a whole block would wait for the rest of it
    read = getattr(file, "read1", file.read) if wait else file.read
    left = limit
    while left is None or left > 0:
        if wait:
            _wait_for(file)
        block = read(BLOCK if left is None else min(BLOCK, left))
        if not block:
            return
        if left is not None:
            left -= len(block)
        yield block


def blocks(source: Source) -> Iterator[bytes]:
    """The bytes of a source, at most ``BLOCK`` at a time.

    Raises:
        CorpusError: it can no longer be read.

    """

    def read() -> Iterator[bytes]:
        with open(source.path, "rb") as file:
            yield from _read(file, source.limit)

    return _blaming(source.name, read())


def arriving(file: IO[bytes], name: str) -> Iterator[bytes]:
    """The bytes of an open file or pipe as they arrive, at most ``BLOCK`` at a time.

    Raises:
        CorpusError: it can no longer be read.
        Interrupted: a signal arrived.

    """
    return _blaming(name, _read(file, None, wait=True))


def _blaming(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """``pieces``, whose errors name the text that is read."""
    try:
        yield from pieces
    except OSError as error:
        raise CorpusError(f"cannot read {name}: {os_reason(error)}") from None


def code_blocks(
    sources: Sequence[Source], encoding: str
) -> Iterator[tuple[bytes, NDArray[np.unsignedinteger[Any]]]]:
    """Each block's raw bytes and its code points (for encoding ``bytes``, the bytes themselves).

    Each source ends with an empty block of bytes.

    Raises:
        CorpusError: a source can no longer be read.
        DecodingError: a source is not in ``encoding``; the offset counts from its first byte.

    """
    for source in sources:
        reader = BlockDecoder(encoding, source.name, truncated=source.cut)
        for raw in blocks(source):
            with explaining(source.read, encoding, any_bytes=True):
                codes = reader.codes(raw)
            yield raw, codes
        with explaining(source.read, encoding, any_bytes=True):
            codes = reader.end()
        yield b"", codes


def decode_text(raw: bytes, encoding: str) -> str:
    """A whole text as characters.

    Raises:
        CorpusError: there is no encoding called ``encoding``.
        DecodingError: the text is not in ``encoding``; names the byte offset.

    """
    with explaining(lambda start, size: raw[start : start + size], encoding):
        return BlockDecoder(encoding, "the text").text(raw, final=True)


class BlockDecoder:
    """A strict decoder of blocks of bytes, which may end in the middle of a character.

    Args:
        encoding: the encoding; ``bytes`` makes every byte a code point.
        name: the name of the text, for errors.
        truncated: whether to ignore an incomplete character at the very end.

    """

    def __init__(self, encoding: str, name: str, truncated: bool = False) -> None:
        self._raw = encoding == "bytes"
        codec = find_codec("ascii" if self._raw else encoding)
        self._decoder = codecs.getincrementaldecoder(codec.name)("strict")
        self._ascii_inside = codec.name in _STATELESS
        self._encoding, self._name, self._truncated = encoding, name, truncated
        self._done = 0  # bytes decoded
        self._pending = 0  # bytes that wait for the rest of their character

    def codes(self, raw: bytes) -> NDArray[np.unsignedinteger[Any]]:
        """The code points of one more block."""
        # the bytes of ASCII are its code points already: no decoding, and a quarter of the memory
        if self._raw or (self._ascii_inside and not self._pending and raw.isascii()):
            self._done += len(raw)
            return np.frombuffer(raw, np.uint8)
        return self._decode(raw, final=False)

    def end(self) -> NDArray[np.unsignedinteger[Any]]:
        """The code points that are left at the end of the source."""
        if self._raw or (self._truncated and self._pending):
            return np.empty(0, np.uint8)
        return self._decode(b"", final=True)

    def _decode(self, raw: bytes, final: bool) -> NDArray[np.unsignedinteger[Any]]:
        text = self.text(raw, final)
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)

    def text(self, raw: bytes, final: bool) -> str:
        """The characters of one more block; the ``final`` one must not end within a character.

        Raises:
            DecodingError: the bytes are not in this encoding.

        """
        try:
            text = self._decoder.decode(raw, final)
        except UnicodeDecodeError as error:
            # the decoder sees the pending bytes and this block, perhaps without its mark
            mark = self._pending + len(raw) - len(error.object)
            offset = self._done + mark + error.start
            message = f"{self._name} is not {self._encoding} at byte {offset}"
            raise DecodingError(message, offset) from None
        except UnicodeError as error:
            raise DecodingError(
                f"{self._name} is not {self._encoding} near byte {self._done}: {error}", self._done
            ) from None
        waiting = self._decoder.getstate()[0]
        self._done += self._pending + len(raw) - len(waiting)
        self._pending = len(waiting)
        return text
