"""The training, validation and test parts of a corpus, as ranges of positions.

``contiguous``: one training part, then one validation part, then one test part.
``spread``: the text is cut into rows of equal length, and each of them in this way. So the parts
are alike, also where the text is sorted, as lists of names or molecules often are. The smallest
part is taken from k rows if it has about 5 k² characters: a longer one from more rows and in
longer pieces.
``interleaved``: as in char-rnn and the 2015 paper: the text is reshaped into 100 rows of whole
windows of 100 characters, and each row is cut in this way. Characters that do not fill the rows are
not used. The training part gets its fraction of the windows, rounded down, the validation part its
own, rounded down, and the test part the rest; without a test part the validation part gets the rest
(char-rnn, ``util/CharSplitLMMinibatchLoader.lua``).

Up to version 0.1.0 the training and the validation part together were rounded down. Runs that began
with that rule, 1, keep it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from charrnn.config import Split, TextConfig
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.settings import NOTHING, check, declared

PIECE = 5  # characters, times the number of rows, that the smallest part of ``spread`` has in each
ROWS = 100
ROW_WINDOW = 100
RULE = 2  # by which new runs are interleaved

Range = tuple[int, int]


@dataclass(frozen=True)
class Parts:
    """Ranges ``(start, stop)`` of positions in the corpus, ascending and without overlap."""

    train: tuple[Range, ...]
    val: tuple[Range, ...]
    test: tuple[Range, ...]

    def named(self, name: str) -> tuple[Range, ...]:
        """The ranges of ``train``, ``val`` or ``test``."""
        parts: dict[str, tuple[Range, ...]] = {
            "train": self.train,
            "val": self.val,
            "test": self.test,
        }
        return parts[name]


def check_ranges(ranges: tuple[Range, ...], size: int) -> None:
    """Check that ``ranges`` lie in a text of ``size`` characters.

    Raises:
        ConfigError: one does not.

    """
    for start, stop in ranges:
        good = 0 <= start <= stop <= size
        check(good, "ranges", (start, stop), f"(start, stop) within the {size:,} characters")


def length(ranges: tuple[Range, ...]) -> int:
    """The number of characters in ``ranges``."""
    return sum(stop - start for start, stop in ranges)


def spread(ranges: tuple[Range, ...], chars: int, piece: int = 4096) -> tuple[Range, ...]:
    """About ``chars`` characters of ``ranges``: pieces of ``piece`` at equal distances.

    The result depends on nothing else; it is ``ranges`` if they have no more characters than that.
    """
    if (whole := length(ranges)) <= chars:
        return ranges
    piece = min(piece, chars)
    count = chars // piece
    found, before = [], 0
    begins = [whole * k // count for k in range(count)]
    for start, stop in ranges:
        for begin in begins:
            first = max(begin - before, 0)
            last = min(begin + piece - before, stop - start)
            if first < last:
                found.append((start + first, start + last))
        before += stop - start
    return tuple(found)


def _fractions(val_frac: float, test_frac: float) -> tuple[Fraction, Fraction]:
    """The two fractions as they are written: 0.9 of 10 is 9, whatever the nearest doubles are."""
    return Fraction(str(val_frac)), Fraction(str(test_frac))


def _cuts(whole: int, val_frac: float, test_frac: float) -> tuple[int, int]:
    """Where the validation and test parts of ``whole`` items start, if both are rounded down."""
    val, test = _fractions(val_frac, test_frac)
    return math.floor(whole * (1 - val - test)), math.floor(whole * (1 - test))


def _cuts_of_char_rnn(windows: int, val_frac: float, test_frac: float) -> tuple[int, int]:
    """Where they start in char-rnn, which multiplies doubles as Lua does."""
    val, test = _fractions(val_frac, test_frac)
    train = math.floor(windows * float(1 - val - test))
    return train, train + math.floor(windows * float(val)) if test else windows


def check_split(kind: Split, val_frac: float, test_frac: float) -> None:
    """Check that a text can be split in this way.

    Raises:
        ConfigError: a value is out of range, or nothing is left to train on.

    """
    options = declared(TextConfig, "split", "val_frac", "test_frac")
    for option, value in zip(options, (kind, val_frac, test_frac), strict=True):
        option.replace(absent=NOTHING).check(value)  # here all three are needed
    if val_frac + test_frac >= 1:
        reason = f"parts of {val_frac:g} and {test_frac:g} leave nothing to train on"
        raise ConfigError(reason, "make {val_frac} or {test_frac} smaller")


def split(
    n: int,
    kind: Split,
    val_frac: float,
    test_frac: float,
    rule: int = RULE,
    *,
    unit: str = "character",
) -> Parts:
    """Split ``n`` positions into training, validation and test parts.

    ``rule`` is 1 for runs of version 0.1.0; only to ``interleaved`` it makes a difference. ``unit``
    is what is at a position.

    Raises:
        ConfigError: as for ``check_split``; or this version does not know the rule.
        CorpusError: the text is too short for ``interleaved``: a part would be empty.

    """
    check_split(kind, val_frac, test_frac)
    if rule not in (1, RULE):
        raise ConfigError(f"the split follows rule {rule}, which this version does not know")
    if kind == "contiguous":
        return _in_rows(n, 1, val_frac, test_frac)
    if kind == "spread":
        least = min((frac for frac in (val_frac, test_frac) if frac), default=0.0)
        return _in_rows(n, max(1, math.isqrt(int(n * least) // PIECE)), val_frac, test_frac)
    windows = n // (ROWS * ROW_WINDOW)
    cuts = _cuts if rule == 1 else _cuts_of_char_rnn
    a, b = (cut * ROW_WINDOW for cut in cuts(windows, val_frac, test_frac))
    row = windows * ROW_WINDOW
    wanted = {"training": (a, True), "validation": (b - a, val_frac), "test": (row - b, test_frac)}
    for name, (got, asked) in wanted.items():
        if asked and not got:
            raise CorpusError(
                f"the corpus of {counted(n, unit)} is too short for an interleaved split, which "
                f"cuts pieces of {ROWS * ROW_WINDOW:,}: none is left for the {name} part",
                "set {split} to contiguous",
            )
    starts = range(0, ROWS * row, row)
    return Parts(
        _ranges(*((s, s + a) for s in starts)),
        _ranges(*((s + a, s + b) for s in starts)),
        _ranges(*((s + b, s + row) for s in starts)),
    )


def _in_rows(n: int, rows: int, val_frac: float, test_frac: float) -> Parts:
    """The parts of each of so many rows, which fill the text."""
    train, val, test = [], [], []
    for start, stop in pairwise(n * row // rows for row in range(rows + 1)):
        a, b = (start + cut for cut in _cuts(stop - start, val_frac, test_frac))
        train.append((start, a))
        val.append((a, b))
        test.append((b, stop))
    return Parts(_ranges(*train), _ranges(*val), _ranges(*test))


def _ranges(*ranges: Range) -> tuple[Range, ...]:
    return tuple(r for r in ranges if r[1] > r[0])


class RangeMap:
    """Maps positions ``0 … length − 1`` in the concatenation of some ranges to the corpus."""

    def __init__(self, ranges: tuple[Range, ...]) -> None:
        starts = np.array([start for start, _ in ranges], np.int64)
        self._set(starts, np.array([stop for _, stop in ranges], np.int64) - starts)

    @classmethod
    def of(cls, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> RangeMap:
        """The map of many ranges, some of which may be empty."""
        made = cls(())
        made._set(starts, lengths)
        return made

    def _set(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        self._before = np.concatenate(([0], np.cumsum(lengths)))
        # position in the corpus = position in the concatenation + shift of its range
        self._shift = starts - self._before[:-1]
        self.length = int(self._before[-1])

    def positions(self, line: NDArray[np.int64]) -> NDArray[np.int64]:
        """The corpus positions of positions in the concatenation (any shape), which wrap around."""
        line = line % self.length
        owner = np.searchsorted(self._before, line, side="right") - 1 if len(self._shift) > 1 else 0
        shift: NDArray[np.int64] = self._shift[owner]
        return line + shift
