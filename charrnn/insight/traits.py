"""Traits of each position in a text, as numbers to compare with the units of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from charrnn.generation.numpy_engine import Array

LONGEST = {"line": 100, "sentence": 200, "word": 12}  # positions beyond count as these
_OPENING, _CLOSING = "([{", ")]}"


def traits(symbols: Sequence[str]) -> dict[str, Array]:
    """Traits of ``symbols`` by name: one number for the situation after each symbol, ``(N,)``.

    Quotation marks and brackets end at a blank line, because authors forget to close some.
    """
    reader, rows = _Reader(), []
    for symbol in symbols:
        reader.read(symbol)
        rows.append(reader.traits(symbol))
    names = list(rows[0]) if rows else []
    return {name: np.array([row[name] for row in rows], np.float32) for name in names}


@dataclass
class _Reader:
    """Reads a text symbol by symbol and remembers what is open, and where lines and words began."""

    quoted: bool = False
    depth: int = 0
    since: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LONGEST, 0))
    last: str = ""

    def read(self, symbol: str) -> None:
        for name in self.since:
            self.since[name] += 1
        if symbol == "\n":
            self.since["line"] = 0
            if self.last == "\n":
                self.quoted, self.depth = False, 0
        if symbol in ".!?":
            self.since["sentence"] = 0
        if not symbol.isalpha():
            self.since["word"] = 0
        if symbol == '"':
            self.quoted = not self.quoted
        elif symbol in "“”":
            self.quoted = symbol == "“"
        self.depth += (symbol in _OPENING) - (symbol in _CLOSING and self.depth > 0)
        if symbol != "\r":
            self.last = symbol

    def traits(self, symbol: str) -> dict[str, float]:
        """The traits after ``symbol`` by the names that the page shows."""
        place = {name: min(self.since[name], most) for name, most in LONGEST.items()}
        return {
            "inside quotation marks": self.quoted,
            "inside brackets": self.depth > 0,
            "how far into the line": place["line"],
            "how far into the sentence": place["sentence"],
            "how far into the word": place["word"],
            "just read: the end of a line": symbol == "\n",
            "just read: a space": symbol == " ",
            "just read: a vowel": symbol.lower() in "aeiou",
            "just read: a capital": symbol.isupper(),
            "just read: a digit": symbol.isdigit(),
            "just read: a mark of punctuation": symbol in ".,;:!?",
        }
