"""Passages of the text that a network read, with each symbol colored, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.insight.markup import escaped
from charrnn.text.vocab import Ids, Vocab

EXCERPT = 1200  # characters in a passage, at most
STEP = 100  # passages of a text without lines start at multiples of it


@dataclass(frozen=True)
class Passages:
    r"""A text of N symbols.

    Attributes:
        symbols: the symbols as a page shows them, such as ``\xe9`` for a byte.
        widths: the characters (or bytes) that each has, ``(N,)``.

    """

    symbols: Sequence[str]
    widths: NDArray[np.int64]

    @classmethod
    def of(cls, vocab: Vocab, ids: Ids) -> Passages:
        """The text ``ids (N,)``."""
        symbols = list(vocab.symbols())
        return cls([symbols[index] for index in ids.tolist()], vocab.widths[ids])

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def begins(self) -> NDArray[np.int64]:
        """The position of each symbol in characters, and the length of the text, ``(N + 1,)``."""
        return np.concatenate(([0], np.cumsum(self.widths)))

    def stop(self, start: int) -> int:
        """Where a passage ends that begins with the symbol ``start``: with whole symbols."""
        most = self.begins[start] + EXCERPT
        return int(np.searchsorted(self.begins, most, side="right")) - 1

    def busiest(self, values: NDArray[Any], first: int = 0) -> int:
        """Where from the symbol ``first`` on the passage starts in which ``values (N,)`` vary most.

        If the text has lines, it starts at the beginning of one.
        """
        begins = self.begins
        room = int(begins[-1] - begins[first]) - EXCERPT
        if room <= 0:
            return first
        last = int(np.searchsorted(begins, begins[first] + room, side="right")) - 1
        starts: Sequence[int] = [
            place
            for place in range(first, last + 1)
            if place == first or self.symbols[place - 1] == "\n"
        ]
        if len(starts) < room / EXCERPT:  # lines longer than the passage
            steps = begins[first] + np.arange(0, room + 1, STEP)
            starts = np.unique(np.searchsorted(begins, steps, side="right") - 1).tolist()
        usable = np.nan_to_num(values.astype(np.float64))
        return max(starts, key=lambda start: float(usable[start : self.stop(start)].std()))

    def colored(self, marks: Sequence[str], start: int) -> str:
        """The passage from the symbol ``start`` on, with a CSS class for each symbol of the text.

        Symbols of several characters are underlined, which shows where they begin and end.
        """
        stop = self.stop(start)
        pairs = zip(self.symbols[start:stop], marks[start:stop], strict=True)
        wide = (self.widths[start:stop] > 1).tolist()
        return f"<pre>{''.join(_runs(zip(pairs, wide, strict=True)))}</pre>"


def _runs(symbols: Iterable[tuple[tuple[str, str], bool]]) -> Iterable[str]:
    for mark, run in groupby(symbols, key=lambda each: each[0][1]):
        shown = "".join(_shown(symbol, bool(mark), wide) for (symbol, _), wide in run)
        yield f'<b class="{mark}">{shown}</b>' if mark else shown


def _shown(symbol: str, marked: bool, wide: bool) -> str:
    if symbol == "\n":
        return "⏎\n" if marked else "\n"
    return f"<u>{escaped(symbol)}</u>" if wide else escaped(symbol)
