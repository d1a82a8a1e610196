r"""Symbols of several characters: what an expression matches in a text, and the rest of it.

Each match of two or more characters is a symbol if it is frequent enough to be learned
(``charrnn.text.encoding``). All else is read character by character, a rare match too: so a network
also learns the characters that a match it has never seen is spelled with. A line end (``\n`` or
``\r``) is never part of a longer symbol, and no symbol has more than ``LONGEST`` characters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.text.automaton import LINE_ENDS, LONGEST, Automaton, Codes
from charrnn.text.expressions import compiled

STRETCH = 1 << 18  # characters that are cut at a time
FEW = 20  # matches that are cut out of a text one by one
MAX_SYMBOLS = 15_000  # of several characters
# characters in all of them together; those that the reader of checkpoints counts weigh more
MAX_WEIGHT, HEAVY, MARKS = 1 << 17, 16, '",'

_LENGTH = r"(?:[0-9]+(?:/[0-9]*)?|/+[0-9]*)"
# names for common expressions
NAMED = {
    # atoms in brackets, the two elements of two letters without brackets, ring closures from 10 on
    "smiles": r"\[[^\]]+\]|Br|Cl|%[0-9][0-9]|%\([0-9]+\)",
    # notes with accidentals, octave marks and lengths; rests; bars and repeats; tuplets; fields
    "abc": rf"(?:\^\^?|__?|=)?[A-Ga-g](?:,+|'+)?{_LENGTH}?|[zxZ]{_LENGTH}|"
    r"\|:|:\|\]?|::|\|\||\|\]|\[\||\([2-9]|[XTMLKQR]:",
    "words": r"[^\W\d_]+",
}


def expression_of(symbols: str) -> str:
    """The expression that ``symbols`` names, or is.

    Raises:
        ConfigError: as for ``charrnn.text.expressions.compiled``.

    """
    expression = NAMED.get(symbols, symbols)
    compiled(expression)
    return expression


def name_of(expression: str) -> str:
    """The name of an expression, or else itself."""
    return next((name for name, own in NAMED.items() if own == expression), expression)


@dataclass(frozen=True)
class SymbolRule:
    """How a corpus is cut into symbols.

    Attributes:
        expression: what it is searched for.
        known: symbols that a network has learned before: they are symbols however rare they are.

    """

    expression: str
    known: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """A name for file names."""
        said = "\0".join((self.expression, *self.known))
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def weight(symbol: str) -> int:
    """What a symbol counts against ``MAX_WEIGHT``."""
    return len(symbol) + (HEAVY - 1) * sum(map(symbol.count, MARKS))


def check_long(long: tuple[str, ...]) -> None:
    """Check the symbols of several characters of a vocabulary.

    Raises:
        ConfigError: one is invalid, they are too many or too long, or they are not ascending.

    """
    good = len(long) <= MAX_SYMBOLS and all(
        type(symbol) is str and 2 <= len(symbol) <= LONGEST for symbol in long
    )
    if not good or sum(map(weight, long)) > MAX_WEIGHT:
        raise ConfigError("the vocabulary has invalid symbols of several characters")
    if not all(a < b for a, b in pairwise(long)):
        raise ConfigError("the vocabulary's symbols of several characters are not ascending")
    joined = "".join(long)
    if any(end in joined for end in LINE_ENDS) or any("\ud800" <= c < "\ue000" for c in joined):
        raise ConfigError("the vocabulary's symbols of several characters have invalid ones")


def codes_of(text: str) -> Codes:
    """The code points ``(N,)`` of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _as_text(codes: Codes) -> str:
    """The text with these code points ``(N,)``."""
    if codes.dtype == np.uint8:
        return codes.tobytes().decode("latin-1")
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@dataclass(frozen=True)
class Part:
    """Part of a text: its code points ``(N,)``, and where matches in it begin and end."""

    codes: Codes
    begins: NDArray[np.int32]
    ends: NDArray[np.int32]

    @property
    def text(self) -> str:
        """The part as characters."""
        return _as_text(self.codes)

    def matches(self) -> list[str]:
        """The matches, each of at least two characters."""
        if len(self.begins) < FEW:
            text = self.text
            return [*map(text.__getitem__, map(slice, self.begins.tolist(), self.ends.tolist()))]
        # one after the other, each followed by a line end, which none of them has: Python splits a
        # text much faster than it cuts pieces out of it
        sizes = self.ends - self.begins + 1
        stops = np.cumsum(sizes)
        places = np.repeat(self.begins - stops + sizes, sizes) + np.arange(stops[-1])
        joined = np.take(self.codes, places, mode="clip")
        joined[stops - 1] = ord("\n")
        return _as_text(joined[:-1]).split("\n")


class Cutter:
    """Cuts a text that comes in blocks into parts, the same ones wherever the blocks end."""

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._rest: Codes = np.empty(0, np.uint8)

    def parts(self, blocks: Iterable[Codes]) -> Iterator[Part]:
        """The parts of a text in ``blocks`` of code points."""
        waiting: list[Codes] = []
        size = 0
        for block in blocks:
            waiting.append(block)
            size += len(block)
            if size < STRETCH + LONGEST:
                continue
            rest = np.concatenate(waiting)
            while len(rest) >= STRETCH + LONGEST:
                part = self._part(rest[: STRETCH + LONGEST], STRETCH)
                rest = rest[len(part.codes) :]
                yield part
            waiting, size = [rest], len(rest)
        if size:
            rest = np.concatenate(waiting)
            while len(rest):
                part = self._part(rest[: STRETCH + LONGEST], min(STRETCH, len(rest)))
                rest = rest[len(part.codes) :]
                yield part

    def _part(self, codes: Codes, stop: int) -> Part:
        """The part of the text that begins with ``codes``: up to ``stop``, or a match across it."""
        begins, ends = self._automaton.find(codes, stop)
        return Part(codes[: max(stop, int(ends.max(initial=0)))], begins, ends)


class SymbolTable:
    """The ids of a vocabulary with symbols of several characters.

    Args:
        expression: what a text is searched for.
        long: the symbols of several characters.
        first: the id of the first of them.

    Raises:
        ConfigError: as for ``charrnn.text.expressions.compiled``.

    """

    def __init__(self, expression: str, long: tuple[str, ...], first: int) -> None:
        self._automaton = Automaton(expression)
        self._ids = {symbol: first + index for index, symbol in enumerate(long)}

    def id_of(self, symbol: str) -> int | None:
        """The id of a symbol of several characters; None if there is no such symbol."""
        return self._ids.get(symbol)

    def split(self, text: str) -> list[str]:
        """What the expression finds in a text, and the characters between, in their order."""
        found: list[str] = []
        for part in Cutter(self._automaton).parts([codes_of(text)]):
            last, own = 0, part.text
            for begin, end in zip(part.begins.tolist(), part.ends.tolist(), strict=True):
                found += [*own[last:begin], own[begin:end]]
                last = end
            found += own[last:]
        return found

    def read(
        self, blocks: Iterable[Codes], lookup: Callable[[Codes], NDArray[np.int32]]
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.intp]]]:
        """The ids of a text part by part, and the position in the text at which each begins.

        ``lookup`` gives the ids of characters.
        """
        start = 0
        for part in Cutter(self._automaton).parts(blocks):
            ids, places = self._joined(part, lookup(part.codes))
            yield ids, start + places
            start += len(part.codes)

    def _joined(
        self, part: Part, ids: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """The ids of a part whose characters have the ``ids (N,)``, and where each begins."""
        if not len(part.begins):
            return ids, np.arange(len(ids))
        known = map(self._ids.get, part.matches(), repeat(-1))
        long = np.fromiter(known, np.int32, len(part.begins))
        begins, ends = part.begins, part.ends
        if (long < 0).any():
            begins, ends, long = (values[long >= 0] for values in (begins, ends, long))
        found = ids.copy()
        found[begins] = long
        depth = np.zeros(len(ids) + 1, np.int8)  # 1 inside a symbol, after its first character
        depth[begins + 1] = 1
        depth[ends] -= 1
        places = np.flatnonzero(np.cumsum(depth[:-1], dtype=np.int8) == 0)
        return found[places], places
