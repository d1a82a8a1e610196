"""How much of a text occurs word for word in another: what a network has memorized.

Runs of characters are found by their hashes (``charrnn.text.ngrams``), so memory does not grow with
the text that is searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.text.ngrams import hashes
from charrnn.text.spelling import Spelling
from charrnn.text.splits import Parts, Range
from charrnn.text.vocab import Ids, Vocab

LENGTHS = (20, 40, 80, 160)  # of the runs that are counted; shorter ones are common phrases
BLOCK = 1 << 18  # characters that are hashed at a time
_SIEVE_BITS = 22

Marks = NDArray[np.bool_]


class Original(NamedTuple):
    """The text that may have been memorized: ``ranges`` of ``ids``, which are spelled so."""

    ids: Ids
    ranges: tuple[Range, ...]
    spelling: Spelling | None = None

    def blocks(self, length: int) -> Iterator[Ids]:
        """The characters of each range in blocks, in one of which each run of ``length`` is."""
        spell, widest = self.spelling, self.spelling.most if self.spelling else 1
        for first, last in self.ranges:
            rest = self.ids[:0]
            for start in range(first, last, max(1, BLOCK // widest)):
                part = self.ids[start : min(start + max(1, BLOCK // widest), last)]
                here = np.concatenate((rest, spell(part) if spell else part))
                if len(here) >= length:
                    yield here
                rest = here[max(0, len(here) - length + 1) :]


@dataclass(frozen=True)
class Copies:
    """What of a text occurs in an original.

    Attributes:
        shares: for each length, the part of the characters that are in a run of at least this
            length.
        start: where the longest run starts, the first one if there are several.
        length: the length of the longest run.

    """

    shares: dict[int, float]
    start: int
    length: int


def compare(ids: Ids, corpus: Ids, parts: Parts, vocab: Vocab) -> dict[str, Copies]:
    """What of ``ids (N,)`` occurs in the training part of ``corpus``, in characters.

    For comparison also what of as many characters of the validation part does, if there is one:
    how much the author repeats themselves.
    """
    spell = Spelling(vocab)
    original, text = Original(corpus, parts.train, spell), spell(ids)
    found = {"this text": copies(text, original)}
    if parts.val:
        start, stop = parts.val[0]
        beginning = spell(corpus[start : min(stop, start + len(text))])[: len(text)]
        found["validation part"] = copies(beginning, original)
    return found


def copies(ids: Ids, original: Original) -> Copies:
    """What of the characters ``ids (N,)`` occurs in ``original``, for N ≥ 1.

    Takes some twenty passes over it.
    """
    shares = {
        length: float(covered(runs(ids, original, length), length, len(ids)).mean())
        for length in LENGTHS
    }
    length = _longest(ids, original)
    found = runs(ids, original, length) if length else np.zeros(1, bool)
    return Copies(shares, int(found.argmax()), length)


def covered(starts: Marks, length: int, N: int) -> Marks:
    """Which of N characters are in a run of ``length``; ``starts`` marks where runs start."""
    edges = np.zeros(N + 1, np.int64)
    edges[: len(starts)] += starts
    edges[length : length + len(starts)] -= starts
    return np.cumsum(edges[:N]) > 0


def runs(ids: Ids, original: Original, length: int) -> Marks:
    """Where a run of ``length`` of the characters ``ids (N,)`` starts that ``original`` has, too.

    The result has shape ``(N - length + 1,)``, or ``(0,)`` if that is not positive.
    """
    if len(ids) < length:
        return np.zeros(0, bool)
    wanted = hashes(ids, length)
    known = np.unique(wanted)
    sieve = np.zeros(1 << _SIEVE_BITS, bool)
    sieve[known >> np.uint64(64 - _SIEVE_BITS)] = True
    found = np.zeros(len(known), bool)
    for block in original.blocks(length):
        interrupts.check()
        here = hashes(block, length)
        here = here[sieve[here >> np.uint64(64 - _SIEVE_BITS)]]
        places = np.minimum(np.searchsorted(known, here), len(known) - 1)
        found[places[known[places] == here]] = True
    return found[np.searchsorted(known, wanted)]


def _longest(ids: Ids, original: Original) -> int:
    """The length of the longest run of ``ids`` in ``original``, by bisection."""
    least, most = 0, 1
    while most <= len(ids) and runs(ids, original, most).any():
        least, most = most, most * 2
    most = min(most, len(ids) + 1)
    while most - least > 1:
        middle = (least + most) // 2
        if runs(ids, original, middle).any():
            least = middle
        else:
            most = middle
    return least
