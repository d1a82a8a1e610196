"""Character ⇄ id.

Ids number the symbols in ascending order of code points (or byte values), so the same vocabulary
always gives the same ids, in whatever order its symbols occur in a text. Symbols of several
characters (``charrnn.text.symbols``) follow the characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from charrnn.arguments import checked
from charrnn.config import Unknown
from charrnn.errors import ConfigError, DecodingError, UnknownCharacterError
from charrnn.model_config import MAX_VOCABULARY
from charrnn.settings import check, check_choice
from charrnn.text.expressions import compiled
from charrnn.text.ids import check_ids
from charrnn.text.places import place_in
from charrnn.text.symbols import SymbolRule, SymbolTable, check_long, codes_of
from charrnn.text.unknown import FirstUnknown, Places, brief, omission

Ids = NDArray[np.integer[Any]]

CODE_POINTS = 0x110000
REPLACEMENT = 0xFFFD
MAX_COUNT = 2**63
CHUNK = 1 << 20  # characters encoded at a time; each takes a dozen bytes meanwhile


def _chunks(whole: str | bytes) -> Iterator[NDArray[Any]]:
    """The codes of ``whole`` in parts."""
    for start in range(0, len(whole), CHUNK):
        part = whole[start : start + CHUNK]
        yield codes_of(part) if isinstance(part, str) else np.frombuffer(part, np.uint8)


def id_dtype(size: int) -> np.dtype[Any]:
    """The smallest unsigned integer type for ``size`` different ids."""
    return np.dtype(np.uint8 if size <= 256 else np.uint16)


@checked
@dataclass(frozen=True)
class Vocab:
    """The symbols that a model knows.

    Attributes:
        codes: their code points (byte values if ``is_bytes``), ascending.
        counts: how often each symbol occurs in the whole corpus.
        is_bytes: whether symbols are bytes instead of characters.
        long: the symbols of several characters, ascending; their ids follow those of ``codes``.
        expression: the regular expression that finds them in a text; empty without them.

    Raises:
        ConfigError: a value is invalid.

    """

    codes: tuple[int, ...]
    counts: tuple[int, ...]
    is_bytes: bool = False
    long: tuple[str, ...] = ()
    expression: str = ""

    def __post_init__(self) -> None:
        top = 256 if self.is_bytes else CODE_POINTS
        check(
            1 <= len(self) <= MAX_VOCABULARY,
            "vocabulary",
            len(self),
            f"1 to {MAX_VOCABULARY} symbols",
        )
        good = all(type(code) is int and 0 <= code < top for code in self.codes)
        rising = good and all(a < b for a, b in zip(self.codes, self.codes[1:], strict=False))
        check(rising, "vocabulary", "…", f"different code points below {top}, ascending")
        if not self.is_bytes and any(0xD800 <= code < 0xE000 for code in self.codes):
            raise ConfigError("the vocabulary has surrogates, which are not characters")
        if self.expression:
            compiled(self.expression)
            check_long(self.long)
        if self.is_bytes if self.expression else self.long:
            raise ConfigError("the vocabulary has symbols of several characters for no reason")
        counted = len(self.counts) == len(self) and all(
            type(n) is int and 0 <= n < MAX_COUNT for n in self.counts
        )
        check(counted, "vocabulary counts", "…", "one whole number for each symbol")

    def __len__(self) -> int:
        return len(self.codes) + len(self.long)

    @property
    def alphabet(self) -> tuple[Any, ...]:
        """What decides which ids a text has: all but how often symbols occur."""
        return self.is_bytes, self.codes, self.long, self.expression

    @property
    def rule(self) -> SymbolRule | None:
        """How a corpus with this vocabulary is cut into symbols; None: into characters."""
        return SymbolRule(self.expression, self.long) if self.expression else None

    @classmethod
    def from_counts(cls, histogram: NDArray[np.int64], is_bytes: bool) -> Vocab:
        """The vocabulary of a text with ``histogram[c]`` occurrences of code point (or byte) c."""
        codes = np.flatnonzero(histogram)
        return cls(tuple(codes.tolist()), tuple(histogram[codes].tolist()), is_bytes)

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """The id of each code point up to the highest known one; −1 for unknown ones."""
        table = np.full(max(self.codes, default=0) + 1, -1, np.int32)
        table[list(self.codes)] = np.arange(len(self.codes), dtype=np.int32)
        return table

    def lookup(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """The ids of an array of code points; −1 for unknown ones."""
        known = codes < len(self.table)
        ids: NDArray[np.int32] = self.table[np.where(known, codes, 0)]
        return ids if known.all() else np.where(known, ids, np.int32(-1))

    @cached_property
    def table_of_long(self) -> SymbolTable:
        """Finds the symbols of several characters in a text."""
        return SymbolTable(self.expression, self.long, len(self.codes))

    @cached_property
    def widths(self) -> NDArray[np.int64]:
        """The number of characters (or bytes) of each symbol ``(V,)``."""
        return np.array([1] * len(self.codes) + [len(symbol) for symbol in self.long], np.int64)

    def rows_of(self, other: Vocab) -> NDArray[np.int32]:
        """The id of each symbol of ``other`` in this vocabulary ``(V,)``; −1 where it has none."""
        long = [self.table_of_long.id_of(symbol) for symbol in other.long] if self.long else []
        found = [-1 if index is None else index for index in long] or [-1] * len(other.long)
        codes = np.array(other.codes, np.int64)
        return np.concatenate((self.lookup(codes), np.array(found, np.int32)))

    def encode(self, text: str | bytes, unknown: Unknown = "error") -> Ids:
        """The ids ``(N,)`` of a text.

        Args:
            text: a byte vocabulary takes a ``str`` as UTF-8; other ones take bytes as UTF-8.
            unknown: what to do about characters that are not in the vocabulary: ``error`` raises,
                ``skip`` omits them, and ``replace`` substitutes the space (or U+FFFD if there is
                no space, or else the most frequent symbol).

        Raises:
            ConfigError: ``unknown`` is invalid.
            UnknownCharacterError: names the character, its U+XXXX and its place.
            DecodingError: ``text`` is bytes but not UTF-8, and the vocabulary has characters.

        """
        check_choice("unknown", unknown, get_args(Unknown))
        parts, whole = [np.empty(0, id_dtype(len(self)))], self.whole(text)
        for ids, places in self._read(whole):
            if first := FirstUnknown.among(whole, places, ids):
                if unknown == "error":
                    raise first.error(self._named)
                if unknown == "skip":
                    ids = ids[ids >= 0]
                else:
                    ids = np.where(ids < 0, np.int32(self.substitute), ids)
            parts.append(ids.astype(parts[0].dtype))
        return np.concatenate(parts)

    def _read(self, whole: str | bytes) -> Iterator[tuple[NDArray[np.int32], Places]]:
        """The ids of a text part by part, −1 for unknown characters, and where each begins."""
        if self.expression:
            yield from self.table_of_long.read(_chunks(whole), self.lookup)
            return
        start = 0
        for codes in _chunks(whole):
            yield self.lookup(codes), range(start, start + len(codes))
            start += len(codes)

    def whole(self, text: str | bytes) -> str | bytes:
        """``text`` as bytes if symbols are bytes, or else as characters; raises as ``encode``."""
        if self.is_bytes:
            try:
                return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
            except UnicodeEncodeError as error:
                raise UnknownCharacterError(f"the text is not UTF-8: {error.reason}") from None
        if isinstance(text, str):
            return text
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            where = place_in(text, error.start)
            message = f"the text is not UTF-8 at byte {error.start}{where and f' ({where})'}"
            raise DecodingError(message, error.start) from None

    def missing(self, text: str | bytes) -> str:
        """Describe the first unknown character of ``text`` and its place; "" if all are known.

        Raises:
            DecodingError: as for ``encode``.

        """
        whole = self.whole(text)
        for ids, places in self._read(whole):
            if first := FirstUnknown.among(whole, places, ids):
                return first.message(self._named)
        return ""

    def omissions(self, text: str | bytes, unknown: Unknown) -> str:
        """What ``encode`` omits or replaces in ``text``, in one line; empty if nothing.

        Raises: as ``encode``.

        """
        count, named = 0, ""
        whole = self.whole(text)
        for ids, places in self._read(whole):
            if first := FirstUnknown.among(whole, places, ids):
                if unknown == "error":
                    raise first.error(self._named)
                named = named or first.brief
            count += int((ids < 0).sum())
        if count == 0:
            return ""
        by, single = self.substitute, len(self.codes)
        new = brief(self.codes[by], self.is_bytes) if by < single else repr(self.long[by - single])
        done = "skipped" if unknown == "skip" else f"replaced by {new}"
        return omission(count, whole, done, named)

    @property
    def unit(self) -> str:
        """What a symbol is called: ``character``, ``byte``, or ``symbol`` if some are longer."""
        return "symbol" if self.expression else "byte" if self.is_bytes else "character"

    @property
    def _named(self) -> str:
        return f"vocabulary of {len(self)} {self.unit}s"

    @cached_property
    def substitute(self) -> int:
        """The id that replaces unknown characters."""
        for code in (0x20, REPLACEMENT):
            if code in self.codes:
                return self.codes.index(code)
        return int(np.argmax(self.counts))

    def id_of(self, character: str) -> int | None:
        """The id of a symbol (in a byte vocabulary, of an ASCII byte); None if unknown."""
        if self.long and len(character) > 1:
            return self.table_of_long.id_of(character)
        check(len(character) == 1, "character", character, "one character")
        code = ord(character)
        return self.codes.index(code) if code in self.codes else None

    def split(self, text: str) -> list[str]:
        """The symbols of a text, whether they are known or not; of a byte vocabulary, characters.

        Which are those that occur in a corpus, apart from rare ones.
        """
        return self.table_of_long.split(text) if self.expression else list(text)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text of ``ids``, with U+FFFD for bytes that are not UTF-8."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int] | Ids) -> bytes:
        """The text of ``ids`` as UTF-8; in a byte vocabulary, the bytes themselves.

        Raises:
            ConfigError: an id is not one of the vocabulary.

        """
        ids = np.asarray(ids, np.intp)
        check_ids(ids, len(self))
        if self.long:
            return self.as_text(ids.tolist())
        whole = self._units[ids].tobytes()
        return whole if self.is_bytes else whole.decode("utf-32-le").encode("utf-8")

    @cached_property
    def _units(self) -> NDArray[Any]:
        return np.array(self.codes, np.uint8 if self.is_bytes else "<u4")

    def as_text(self, ids: Iterable[int]) -> bytes:
        """``decode_bytes`` of ids that are valid, as fast as for a few of them it can be."""
        return b"".join(map(self.pieces.__getitem__, ids))

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The bytes that each id stands for: a symbol in UTF-8, or a byte."""
        return tuple(bytes([c]) if self.is_bytes else chr(c).encode() for c in self.codes) + tuple(
            symbol.encode() for symbol in self.long
        )

    def chars_in(self, ids: Ids, ranges: Iterable[tuple[int, int]]) -> int:
        """How many characters the symbols in ``ranges`` of ``ids (N,)`` have."""
        if not self.long:
            return sum(stop - start for start, stop in ranges)
        counts = np.zeros(len(self), np.int64)
        for start, stop in ranges:
            for begin in range(start, stop, CHUNK):
                part = ids[begin : min(begin + CHUNK, stop)]
                counts += np.bincount(part, minlength=len(self))
        return int(np.dot(counts, self.widths))

    def symbols(self) -> Iterator[str]:
        r"""Each symbol for display: its characters, or ``\xNN`` for a byte above 0x7F."""
        return iter(self._shown)

    @cached_property
    def _shown(self) -> tuple[str, ...]:
        singles = (
            f"\\x{code:02x}" if self.is_bytes and code > 0x7F else chr(code) for code in self.codes
        )
        return *singles, *self.long

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {"codes": list(self.codes), "counts": list(self.counts), "bytes": self.is_bytes}
        if not self.expression:
            return values
        return values | {"long": list(self.long), "expression": self.expression}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Vocab:
        """The vocabulary in the plain ``values`` that ``to_dict`` makes.

        Raises:
            ConfigError: they are not a vocabulary.

        """
        codes, counts, is_bytes = (values.get(name) for name in ("codes", "counts", "bytes"))
        if not isinstance(codes, list) or not isinstance(counts, list):
            raise ConfigError("no vocabulary: codes and counts must be lists")
        long, expression = values.get("long", []), values.get("expression", "")
        if not isinstance(long, list) or not isinstance(expression, str):
            raise ConfigError("no vocabulary: long must be a list, and expression a text")
        return cls(tuple(codes), tuple(counts), is_bytes is True, tuple(long), expression)
