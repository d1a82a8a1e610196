"""Texts packed with gzip or zstd: recognized by their first bytes, unpacked a block at a time.

Memory stays constant whatever a file claims to hold. What unpacks to far more than texts do is
refused, unless the reader wants only so many bytes of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol

from charrnn.errors import CorpusError, DecodingError

BLOCK = 1 << 20  # bytes of text that are given out at a time
FEED = 1 << 16  # packed bytes that are read at a time
HEAD = 4  # bytes that tell how a file is packed
# A file is a bomb if it unpacks to over FREE bytes and over MOST times its size. Texts pack to a
# third or a tenth, and logs to a fiftieth; a bomb, to a thousandth or less.
FREE, MOST = 64 << 20, 200
WINDOW = 1 << 27  # the largest window of zstd in bytes, as in the zstd program

_GZIP = (b"\x1f\x8b\x08",)
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes((n, 0x2A, 0x4D, 0x18)) for n in range(0x50, 0x60)))


class Damaged(Exception):
    """What is wrong with a packed file, in words that follow its name."""


class _Part(Protocol):
    """Unpacks one part of a file: a member of gzip, a frame of zstd."""

    eof: bool  # whether the part is complete
    rest: bytes  # what follows it

    def unpack(self, raw: bytes) -> Iterator[bytes]:
        """What the next bytes hold, in pieces of limited size. Raises Damaged."""


class _Member:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.eof, self.rest = False, b""

    def unpack(self, raw: bytes) -> Iterator[bytes]:
        try:
            while True:
                piece = self._inner.decompress(raw, BLOCK)
                yield piece
                raw, self.eof = self._inner.unconsumed_tail, self._inner.eof
                if self.eof or (not raw and len(piece) < BLOCK):
                    break
        except zlib.error as error:
            raise Damaged(str(error).partition(": ")[2] or str(error)) from None
        self.rest = self._inner.unused_data


class _Frame:
    """By the package zstandard. It does not limit what comes out, so little goes in at a time."""

    STEP = 256  # bytes; they hold 8 MiB at most, because 4 bytes hold at most 128 KiB

    def __init__(self, zstandard: Any) -> None:
        self._error = zstandard.ZstdError
        self._inner = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
        self.eof, self.rest = False, b""

    def unpack(self, raw: bytes) -> Iterator[bytes]:
        for start in range(0, len(raw), self.STEP):
            try:
                piece = self._inner.decompress(raw[start : start + self.STEP])
            except self._error as error:
                raise Damaged(str(error).rpartition(": ")[2]) from None
            self.eof = self._inner.eof
            yield piece
            if self.eof:
                self.rest = self._inner.unused_data + raw[start + self.STEP :]
                return


class _StandardFrame:
    """By the standard library, from Python 3.14 on."""

    def __init__(self, zstd: Any) -> None:
        self._error = zstd.ZstdError
        most = {zstd.DecompressionParameter.window_log_max: WINDOW.bit_length() - 1}
        self._inner = zstd.ZstdDecompressor(options=most)
        self.eof, self.rest = False, b""

    def unpack(self, raw: bytes) -> Iterator[bytes]:
        try:
            while True:
                yield self._inner.decompress(raw, BLOCK)
                raw, self.eof = b"", self._inner.eof
                if self.eof or self._inner.needs_input:
                    break
        except self._error as error:
            raise Damaged(str(error).rpartition(": ")[2]) from None
        self.rest = self._inner.unused_data


def packing_of(raw: bytes) -> str:
    """How a file that begins with ``raw`` is packed: ``gzip``, ``zstd``, or not at all (empty)."""
    return "gzip" if raw.startswith(_GZIP) else "zstd" if raw.startswith(_ZSTD) else ""


def may_be_packed(raw: bytes) -> bool:
    """Whether a file that begins with ``raw`` may turn out to be packed when more of it is read."""
    return len(raw) < HEAD and any(mark.startswith(raw) for mark in (*_GZIP, *_ZSTD))


def unpacked(
    raw: Iterable[bytes], packing: str, name: str, limit: int | None = None, hint: str = ""
) -> Iterator[bytes]:
    """The text in the ``raw`` blocks of a packed file, at most ``BLOCK`` bytes at a time.

    Args:
        raw: the file.
        packing: what ``packing_of`` said of its beginning.
        name: its name, for errors.
        limit: how many bytes of text to read; None: all, if the file is not a bomb.
        hint: what to do about a bomb.

    Raises:
        DecodingError: the file is damaged, was cut short or is a bomb. The offset counts packed
            bytes: so many were read until that was seen.
        CorpusError: nothing here reads zstd.

    """
    reader = _Reader(packing, name, limit is not None, hint)
    pieces = reader.pieces(raw)
    yield from _in_blocks(pieces if limit is None else first(pieces, limit))


def first(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The first ``limit`` bytes of ``pieces``; what follows is not looked at."""
    for piece in pieces:
        yield piece[:limit]
        limit -= len(piece)
        if limit <= 0:
            return


def _in_blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """``pieces`` joined or cut to blocks of ``BLOCK`` bytes; the last one may be shorter."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= BLOCK:
            joined = waiting[0] if len(waiting) == 1 else b"".join(waiting)
            whole = size - size % BLOCK
            for start in range(0, whole, BLOCK):
                yield joined[start : start + BLOCK]
            waiting, size = [joined[whole:]], size - whole
    if size:
        yield b"".join(waiting)


class _Reader:
    """Unpacks a file part by part, and counts the bytes that go in and come out."""

    def __init__(self, packing: str, name: str, limited: bool, hint: str) -> None:
        self._packing, self._name, self._limited, self._hint = packing, name, limited, hint
        self._read = self._made = 0

    def pieces(self, raw: Iterable[bytes]) -> Iterator[bytes]:
        part: _Part | None = None
        rest = b""
        for block in _cut(raw):
            self._read += len(block)
            rest += block
            while rest:
                if part is None:
                    if len(rest := self._after_padding(rest)) < HEAD:
                        break
                    part = self._begin(rest)
                yield from self._counted(part, rest)
                rest = part.rest
                if not part.eof:
                    break
                part = None
        if part is not None or rest:
            raise self._error(
                f"is cut short: it ends at byte {self._read}, within its {self._packing} data"
            )

    def _after_padding(self, rest: bytes) -> bytes:
        """``rest`` without the zeros that may follow a member of gzip, on tapes for instance."""
        return rest.lstrip(b"\0") if self._packing == "gzip" and self._made else rest

    def _begin(self, raw: bytes) -> _Part:
        """The next part, which begins with ``raw``."""
        if packing_of(raw) != self._packing:
            after = f"has bytes after the end of its {self._packing} data"
            raise self._error(f"{after}, at byte {self._read - len(raw)}")
        return _Member() if self._packing == "gzip" else _new_frame(self._name)

    def _counted(self, part: _Part, raw: bytes) -> Iterator[bytes]:
        try:
            for piece in part.unpack(raw):
                self._made += len(piece)
                if not self._limited and self._made > max(FREE, MOST * self._read):
                    much = f"unpacks to more than {MOST} times its size, as no text does"
                    raise self._error(f"{much} (seen at byte {self._read})", self._hint)
                yield piece
        except Damaged as error:
            where = f"at byte {self._read} or before"
            raise self._error(f"is damaged {where}, as {self._packing} data: {error}") from None

    def _error(self, message: str, hint: str = "") -> DecodingError:
        return DecodingError(f"{self._name} {message}", self._read, hint)


def _cut(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), FEED):
            yield block[start : start + FEED]


def _new_frame(name: str) -> _Part:
    """What unpacks a frame of zstd: the standard library, or else the package zstandard.

    Raises:
        CorpusError: there is neither.

    """
    try:
        return _StandardFrame(import_module("compression.zstd"))
    except ImportError:
        pass
    try:
        return _Frame(import_module("zstandard"))
    except ImportError:
        message = f"{name} is a zstd file, which Python reads from 3.14 on or with zstandard"
        raise CorpusError(
            message, "install the package zstandard, or unpack the file first"
        ) from None
