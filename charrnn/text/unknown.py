"""Characters that a vocabulary lacks, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import UnknownCharacterError
from charrnn.text.places import place_in

Places = range | NDArray[np.integer[Any]]  # positions in a text


@dataclass(frozen=True)
class FirstUnknown:
    """The first unknown character of a text.

    Attributes:
        whole: the text; bytes are symbols.
        place: its position.

    """

    whole: str | bytes
    place: int

    @classmethod
    def among(cls, whole: str | bytes, places: Places, ids: NDArray[Any]) -> FirstUnknown | None:
        """The first of the characters at ``places`` whose id is below 0, or None."""
        missing = ids < 0
        return cls(whole, int(places[int(np.argmax(missing))])) if missing.any() else None

    @property
    def _code(self) -> int:
        here = self.whole[self.place]
        return ord(here) if isinstance(here, str) else here

    @property
    def brief(self) -> str:
        """It in short, and where it is if the text has several lines."""
        where = place_in(self.whole, self.place)
        return brief(self._code, isinstance(self.whole, bytes)) + (where and f" in {where}")

    def message(self, vocabulary: str) -> str:
        """That it is not in the ``vocabulary``, which is described so, and where it is."""
        code, where = self._code, place_in(self.whole, self.place)
        if isinstance(self.whole, bytes):
            named = f"byte 0x{code:02X}"
        else:
            named = f"character {_quoted(code)} (U+{code:04X})"
        at = f"at position {self.place}{where and f' ({where})'}"
        return f"{named} {at} is not in the {vocabulary}"

    def error(self, vocabulary: str) -> UnknownCharacterError:
        """The same as an error, with what to do about it."""
        return UnknownCharacterError(
            self.message(vocabulary), "set {unknown} to 'skip' or 'replace'"
        )


def brief(code: int, is_byte: bool) -> str:
    """A character or byte in short."""
    return f"0x{code:02X}" if is_byte else f"{_quoted(code)} U+{code:04X}"


def _quoted(code: int) -> str:
    return repr(chr(code)) if chr(code).isprintable() else ascii(chr(code))


def omission(count: int, whole: str | bytes, done: str, first: str) -> str:
    """What was ``done`` about unknown characters of ``whole``, the ``first`` of them named."""
    be, was = ("is", "was") if count == 1 else ("are", "were")
    kind = "bytes" if isinstance(whole, bytes) else "characters"
    return (
        f"{count:,} of {len(whole):,} {kind} {be} not in the vocabulary and {was} {done} "
        f"(first: {first})"
    )
