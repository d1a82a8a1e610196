"""Character ⇄ id.

Ids number the symbols in ascending order of code points (or byte values), so the same vocabulary
always gives the same ids, in whatever order its symbols occur in a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from charrnn.text.places import place_in

Ids = NDArray[np.integer[Any]]

CODE_POINTS = 0x110000
REPLACEMENT = 0xFFFD
MAX_COUNT = 2**63
CHUNK = 1 << 20  # characters encoded at a time; each takes a dozen bytes meanwhile


def _quoted(code: int) -> str:
    return repr(chr(code)) if chr(code).isprintable() else ascii(chr(code))


def _chunks(whole: str | bytes) -> Iterator[tuple[int, NDArray[Any]]]:
    """The codes of ``whole`` in parts, each with the position of its first character."""
    for start in range(0, len(whole), CHUNK):
        part = whole[start : start + CHUNK]
        if isinstance(part, str):
            yield start, np.frombuffer(part.encode("utf-32-le", "surrogatepass"), np.uint32)
        else:
            yield start, np.frombuffer(part, np.uint8)


def id_dtype(size: int) -> np.dtype[Any]:
    """The smallest unsigned integer type for ``size`` different ids."""
    return np.dtype(np.uint8 if size <= 256 else np.uint16)


def check_ids(ids: Ids, size: int) -> None:
    """Check that ``ids (N,)`` are those of a vocabulary of ``size`` symbols.

    Raises:
        ConfigError: one is not, or there is another dimension.

    """
    if ids.ndim != 1:
        raise ConfigError(f"have the shape {ids.shape}: they must be (N,)", setting="ids")
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        least, most = int(part.min()), int(part.max())
        if least < 0 or most >= size:
            wrong = least if least < 0 else most
            reason = f"have {wrong}: they must be at least 0 and below {size}"
            raise ConfigError(reason, setting="ids")


@checked
@dataclass(frozen=True)
class Vocab:
    """The symbols that a model knows.

    Attributes:
        codes: their code points (byte values if ``is_bytes``), ascending.
        counts: how often each symbol occurs in the whole corpus.
        is_bytes: whether symbols are bytes instead of characters.

    Raises:
        ConfigError: a value is invalid.

    """

    codes: tuple[int, ...]
    counts: tuple[int, ...]
    is_bytes: bool = False

    def __post_init__(self) -> None:
        top = 256 if self.is_bytes else CODE_POINTS
        check(
            1 <= len(self.codes) <= MAX_VOCABULARY,
            "vocabulary",
            len(self.codes),
            f"1 to {MAX_VOCABULARY} symbols",
        )
        good = all(type(code) is int and 0 <= code < top for code in self.codes)
        rising = good and all(a < b for a, b in zip(self.codes, self.codes[1:], strict=False))
        check(rising, "vocabulary", "…", f"different code points below {top}, ascending")
        if not self.is_bytes and any(0xD800 <= code < 0xE000 for code in self.codes):
            raise ConfigError("the vocabulary has surrogates, which are not characters")
        counted = len(self.counts) == len(self.codes) and all(
            type(n) is int and 0 <= n < MAX_COUNT for n in self.counts
        )
        check(counted, "vocabulary counts", "…", "one whole number for each symbol")

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def from_counts(cls, histogram: NDArray[np.int64], is_bytes: bool) -> Vocab:
        """The vocabulary of a text with ``histogram[c]`` occurrences of code point (or byte) c."""
        codes = np.flatnonzero(histogram)
        return cls(tuple(codes.tolist()), tuple(histogram[codes].tolist()), is_bytes)

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """The id of each code point up to the highest known one; −1 for unknown ones."""
        table = np.full(self.codes[-1] + 1, -1, np.int32)
        table[list(self.codes)] = np.arange(len(self.codes), dtype=np.int32)
        return table

    def lookup(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """The ids of an array of code points; −1 for unknown ones."""
        known = codes < len(self.table)
        ids: NDArray[np.int32] = self.table[np.where(known, codes, 0)]
        return ids if known.all() else np.where(known, ids, np.int32(-1))

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
        parts, whole = [np.empty(0, id_dtype(len(self)))], self._whole(text)
        for start, codes in _chunks(whole):
            ids = self.lookup(codes)
            missing = ids < 0
            if missing.any():
                if unknown == "error":
                    raise self._unknown(whole, start, codes, missing)
                if unknown == "skip":
                    ids = ids[~missing]
                else:
                    ids = np.where(missing, np.int32(self.substitute), ids)
            parts.append(ids.astype(parts[0].dtype))
        return np.concatenate(parts)

    def _whole(self, text: str | bytes) -> str | bytes:
        """``text`` in the symbols of the vocabulary: bytes or characters."""
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
        """The first unknown character of ``text`` and its place, in words; empty if there is none.

        Raises:
            DecodingError: as for ``encode``.

        """
        whole = self._whole(text)
        for start, codes in _chunks(whole):
            missing = self.lookup(codes) < 0
            if missing.any():
                return self._first(whole, start, codes, missing)
        return ""

    def omissions(self, text: str | bytes, unknown: Unknown) -> str:
        """What ``encode`` omits or replaces in ``text``, in one line; empty if nothing.

        Raises: as ``encode``.

        """
        count, total, first = 0, 0, ""
        whole = self._whole(text)
        for start, codes in _chunks(whole):
            missing = self.lookup(codes) < 0
            if missing.any():
                if unknown == "error":
                    raise self._unknown(whole, start, codes, missing)
                first = first or self._named(whole, start, codes, missing)
            count, total = count + int(missing.sum()), total + len(codes)
        if count == 0:
            return ""
        done = f"replaced by {self._brief(self.codes[self.substitute])}"
        be, was = ("is", "was") if count == 1 else ("are", "were")
        return (
            f"{count:,} of {total:,} {self._kind} {be} not in the vocabulary and {was} "
            f"{'skipped' if unknown == 'skip' else done} "
            f"(first: {first})"
        )

    @property
    def _kind(self) -> str:
        return "bytes" if self.is_bytes else "characters"

    def _unknown(
        self, whole: str | bytes, start: int, codes: NDArray[Any], missing: NDArray[np.bool_]
    ) -> UnknownCharacterError:
        first = self._first(whole, start, codes, missing)
        return UnknownCharacterError(first, "set {unknown} to 'skip' or 'replace'")

    def _named(
        self, whole: str | bytes, start: int, codes: NDArray[Any], missing: NDArray[np.bool_]
    ) -> str:
        """The first missing character in short, and where it is if ``whole`` has several lines."""
        place = int(np.argmax(missing))
        where = place_in(whole, start + place)
        return self._brief(int(codes[place])) + (where and f" in {where}")

    def _first(
        self, whole: str | bytes, start: int, codes: NDArray[Any], missing: NDArray[np.bool_]
    ) -> str:
        place = int(np.argmax(missing))
        where = place_in(whole, start + place)
        code = int(codes[place])
        if self.is_bytes:
            named = f"byte 0x{code:02X}"
        else:
            named = f"character {_quoted(code)} (U+{code:04X})"
        known = f"vocabulary of {len(self)} {self._kind}"
        return f"{named} at position {start + place}{where and f' ({where})'} is not in the {known}"

    def _brief(self, code: int) -> str:
        return f"0x{code:02X}" if self.is_bytes else f"{_quoted(code)} U+{code:04X}"

    @cached_property
    def substitute(self) -> int:
        """The id that replaces unknown characters."""
        for code in (0x20, REPLACEMENT):
            if code in self.codes:
                return self.codes.index(code)
        return int(np.argmax(self.counts))

    def id_of(self, character: str) -> int | None:
        """The id of a character (in a byte vocabulary, of an ASCII byte); None if unknown."""
        check(len(character) == 1, "character", character, "one character")
        code = ord(character)
        return self.codes.index(code) if code in self.codes else None

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
        codes = np.asarray(self.codes, np.uint32)[ids]
        if self.is_bytes:
            return codes.astype(np.uint8).tobytes()
        return codes.astype("<u4").tobytes().decode("utf-32-le").encode("utf-8")

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The bytes that each id stands for: a character in UTF-8, or a byte."""
        return tuple(bytes([c]) if self.is_bytes else chr(c).encode() for c in self.codes)

    def symbols(self) -> Iterator[str]:
        r"""Each symbol for display: the character, or ``\xNN`` for a byte above 0x7F."""
        for code in self.codes:
            yield f"\\x{code:02x}" if self.is_bytes and code > 0x7F else chr(code)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"codes": list(self.codes), "counts": list(self.counts), "bytes": self.is_bytes}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Vocab:
        """The vocabulary in the plain ``values`` that ``to_dict`` makes.

        Raises:
            ConfigError: they are not a vocabulary.

        """
        codes, counts, is_bytes = (values.get(name) for name in ("codes", "counts", "bytes"))
        if not isinstance(codes, list) or not isinstance(counts, list):
            raise ConfigError("no vocabulary: codes and counts must be lists")
        return cls(tuple(codes), tuple(counts), is_bytes is True)
