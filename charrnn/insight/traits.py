"""Traits of each position in a text, as numbers to compare with the units of a network.

Quotation marks, brackets and places in lines, sentences and words are followed character by
character, whatever the symbols that a network reads; a trait is the situation after a symbol. What
was just read is the whole symbol: one of several characters counts as a capital if it has one.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from charrnn.generation.numpy_engine import Array
from charrnn.text.vocab import Ids, Vocab

LONGEST = {"line": 100, "sentence": 200, "word": 12}  # characters; positions beyond count as these
_OPENING, _CLOSING = "([{", ")]}"
# kinds of characters that a symbol may have
_KINDS: dict[str, Callable[[str], bool]] = {
    "the end of a line": lambda character: character == "\n",
    "a space": lambda character: character == " ",
    "a vowel": lambda character: character.lower() in "aeiou",
    "a capital": str.isupper,
    "a digit": str.isdigit,
    "a mark of punctuation": lambda character: character in ".,;:!?",
}


def texts(vocab: Vocab, ids: Ids) -> list[str]:
    """The characters that each of ``ids (N,)`` adds to a text.

    Of bytes, a character in UTF-8 is added by its last one.
    """
    if not vocab.is_bytes:
        symbols = list(vocab.symbols())
        return [symbols[index] for index in ids.tolist()]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(bytes([byte])) for byte in vocab.decode_bytes(ids)]


def traits(symbols: Sequence[str]) -> dict[str, Array]:
    """Traits of ``symbols`` by name: one number for the situation after each symbol, ``(N,)``.

    Symbols may have any number of characters. Quotation marks and brackets end at a blank line,
    because authors forget to close some.
    """
    reader, rows = _Reader(), []
    for symbol in symbols:
        for character in symbol:
            reader.read(character)
        rows.append(reader.traits(symbol))
    names = list(rows[0]) if rows else []
    return {name: np.array([row[name] for row in rows], np.float32) for name in names}


@dataclass
class _Reader:
    """Reads a text and remembers what is open, and where lines, sentences and words began."""

    quoted: bool = False
    depth: int = 0
    since: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LONGEST, 0))
    last: str = ""

    def read(self, character: str) -> None:
        for name in self.since:
            self.since[name] += 1
        if character == "\n":
            self.since["line"] = 0
            if self.last == "\n":
                self.quoted, self.depth = False, 0
        if character in ".!?":
            self.since["sentence"] = 0
        if not character.isalpha():
            self.since["word"] = 0
        if character == '"':
            self.quoted = not self.quoted
        elif character in "“”":
            self.quoted = character == "“"
        self.depth += (character in _OPENING) - (character in _CLOSING and self.depth > 0)
        if character != "\r":
            self.last = character

    def traits(self, symbol: str) -> dict[str, float]:
        """The traits after the characters of ``symbol``, by the names that the page shows."""
        place = {name: min(self.since[name], most) for name, most in LONGEST.items()}
        read = {f"just read: {kind}": any(map(of_it, symbol)) for kind, of_it in _KINDS.items()}
        return {
            "inside quotation marks": self.quoted,
            "inside brackets": self.depth > 0,
            "how far into the line": place["line"],
            "how far into the sentence": place["sentence"],
            "how far into the word": place["word"],
            **read,
        }
