"""How the bytes of files become one text, and the hash that identifies them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.errors import DecodingError
from charrnn.text.decoding import begins_anew, code_blocks, find_codec
from charrnn.text.kinds import HEAD, kind_of
from charrnn.text.records import RecordEnds
from charrnn.text.sources import Source
from charrnn.text.symbols import SymbolRule


@dataclass(frozen=True)
class Reading:
    """How the bytes of files become one text.

    Attributes:
        encoding: the encoding of all files; ``bytes`` makes every byte a symbol.
        records: whether lines are records: all of them then end with one line feed.
        symbols: how it is cut into symbols; None: into characters.

    """

    encoding: str
    records: bool = False
    symbols: SymbolRule | None = None

    @property
    def label(self) -> str:
        """A name for file names."""
        name = re.sub("[^a-z0-9]+", "_", self.encoding.lower())
        name = f"{name}-records" if self.records else name
        return name if self.symbols is None else f"{name}-{self.symbols.label}"

    def settled(self, known: tuple[str, ...]) -> Reading:
        """The same with these ``known`` symbols, if there are any that are known."""
        if self.symbols is None or not self.symbols.known:
            return self
        return replace(self, symbols=replace(self.symbols, known=known))

    def code_blocks(self, sources: Sequence[Source]) -> Iterator[tuple[bytes, NDArray[Any]]]:
        """Each block's raw bytes and its code points; each source ends with an empty block.

        Raises: as ``charrnn.text.decoding.code_blocks``.

        """
        for source in sources:
            ends = RecordEnds() if self.records else None
            for raw, codes in code_blocks([source], self.encoding):
                if ends is None:
                    yield raw, codes
                elif raw or source.cut:  # a record that was cut short gets no line end
                    yield raw, ends.codes(codes)
                else:
                    yield raw, np.concatenate((ends.codes(codes), ends.end()))

    def check(self, source: Source) -> None:
        """Read all of a source as a text.

        Raises:
            CorpusError: it can no longer be read.
            DecodingError: it is not a text in this encoding, or has NUL characters at its beginning
                as other kinds of files do.

        """
        read = 0
        for raw, _ in code_blocks([source], self.encoding):
            interrupts.check()
            if self._nul_is_strange and (place := raw.find(b"\0", 0, max(0, HEAD - read))) >= 0:
                raise _looking_like_data(source, read + place)
            read += len(raw)

    @property
    def _nul_is_strange(self) -> bool:
        """Whether texts in this encoding have no NUL bytes."""
        if self.encoding == "bytes":
            return False
        return not find_codec(self.encoding).name.startswith(("utf-16", "utf-32"))


def _looking_like_data(source: Source, place: int) -> DecodingError:
    """What to raise about a source that has a NUL at the byte ``place``."""
    kind = kind_of(b"".join(source.between(0, HEAD)))
    looks = f", it looks like {kind.name}" if kind else ""
    return DecodingError(f"{source.name} has a NUL at byte {place}{looks}", place)


class Digest:
    """The sha256 of a corpus's bytes. Files that are decoded separately are hashed separately.

    Where the last record of a file lacks its line end, the hash has one before the next file.
    """

    def __init__(self, reading: Reading) -> None:
        self._apart, self._records = begins_anew(reading.encoding), reading.records
        self._whole = hashlib.sha256()
        self._files: list[bytes] = []
        self._last = self._between = b""  # the last byte; what the next block is preceded by
        self.size = self._before = 0

    def update(self, block: bytes) -> None:
        """Add a block of a file."""
        if block:
            self._whole.update(self._between)
            self._between, self._last = b"", block[-1:]
        self._whole.update(block)
        self.size += len(block)

    def end_file(self) -> None:
        """End a file; the next block belongs to another one. Empty files do not count."""
        if self._apart and self.size > self._before:
            self._files.append(self._whole.digest())
            self._whole, self._before = hashlib.sha256(), self.size
        elif self._records and not self._apart and self._last not in (b"", b"\n"):
            self._between = b"\n"

    def hexdigest(self) -> str:
        """The sha256 in hexadecimal; for one file that of its bytes."""
        if len(self._files) > 1:
            return hashlib.sha256(b"".join(self._files)).hexdigest()
        return self._files[0].hex() if self._files else self._whole.hexdigest()
