"""Training windows: B contiguous streams through the training part, T characters at a time.

Stream b reads the b-th of B equal stretches. A window follows from the seed, the epoch and its
number in the epoch alone, so a position is two numbers and resuming needs no replay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError, counted
from charrnn.text.shuffle import shuffled_lines, whole_lines
from charrnn.text.splits import Range, RangeMap
from charrnn.text.vocab import Ids

BLOCK = 1 << 20  # characters that are copied at a time


@dataclass(frozen=True)
class Position:
    """The next window to train on."""

    epoch: int = 0
    window: int = 0


@dataclass(frozen=True)
class Window:
    """Inputs ``x (B, T)`` and the next characters ``y (B, T)``.

    The first window of an epoch does not continue the one before it.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    position: Position


class Streams:
    """The windows of some or all of B streams over ``ranges`` of ``ids``.

    Args:
        ids: the corpus ``(N,)``.
        ranges: the training part.
        batch: B, over all processes.
        window: T.
        seed: seed of the offsets and of the order of lines.
        shuffle_offset: whether each epoch rotates the text by a random offset, so that it is cut
            into streams and windows at different places; without it all epochs are alike.
        line_end: the id of the line end, to shuffle the lines (records) in each epoch; None: keep
            them in order.
        rows: the streams that this process reads. Default: all.
        unit: what a symbol of the text is called.

    Raises:
        CorpusError: the training part is too short for one window of B × T.

    """

    def __init__(
        self,
        ids: Ids,
        ranges: tuple[Range, ...],
        batch: int,
        window: int,
        *,
        seed: int = 0,
        shuffle_offset: bool = True,
        line_end: int | None = None,
        rows: slice | None = None,
        unit: str = "character",
    ) -> None:
        if line_end is not None:
            ranges = whole_lines(ids, ranges, line_end)
        self._ids, self._ranges, self._map = ids, ranges, RangeMap(ranges)
        self.batch, self.window, self._seed = batch, window, seed
        self._shuffle_offset = shuffle_offset
        self._line_end = line_end
        self.stretch = (self._map.length - (not shuffle_offset)) // batch
        self.windows = self.stretch // window
        if self.windows < 1:
            least = batch * window + (not shuffle_offset)
            raise CorpusError(
                f"training {counted(batch, 'stream')} of {counted(window, unit)} takes at least "
                f"{least:,} {unit}s, but there are {self._map.length:,}",
                "make {batch} or {window} smaller" if batch > 1 else "make {window} smaller",
            )
        self._rows = np.arange(batch, dtype=np.int64)[rows or slice(None)]
        self._epoch_text: tuple[int, Ids] | None = None
        self._epoch_offset = -1, 0

    def _rng(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, epoch, purpose])

    def offset(self, epoch: int) -> int:
        """The offset by which an epoch rotates the text."""
        if not self._shuffle_offset:
            return 0
        if self._epoch_offset[0] != epoch:
            self._epoch_offset = epoch, int(self._rng(epoch, 0).integers(self._map.length))
        return self._epoch_offset[1]

    @property
    def rows(self) -> int:
        """How many of the B streams this process reads."""
        return len(self._rows)

    @property
    def chars(self) -> int:
        """Characters of a window in all B streams."""
        return self.batch * self.window

    @property
    def lines(self) -> bool:
        """Whether each epoch shuffles the lines."""
        return self._line_end is not None

    @property
    def line_end(self) -> int | None:
        """The id of the line end if each epoch shuffles the lines."""
        return self._line_end

    @property
    def symbol_bytes(self) -> int:
        """The size of an id in bytes."""
        return self._ids.dtype.itemsize

    @property
    def length(self) -> int:
        """The number of characters in an epoch's text."""
        return self._map.length

    def start(self, position: Position) -> int:
        """What to add to ``places`` for the window at ``position``, modulo ``length``."""
        return self.offset(position.epoch) + position.window * self.window

    def places(self) -> NDArray[np.int64]:
        """The places ``(B, T + 1)`` of the first window in a text that is not rotated."""
        return (self._rows * self.stretch)[:, None] + np.arange(self.window + 1)

    def blocks(self, epoch: int) -> Iterator[Ids]:
        """The text of an epoch before its rotation, in blocks."""
        text, ranges = self._ids, self._ranges
        if self._line_end is not None:
            text, ranges = self._lines_of(epoch, self._line_end), ((0, self.length),)
        for start, stop in ranges:
            for begin in range(start, stop, BLOCK):
                yield text[begin : min(begin + BLOCK, stop)]

    def at(self, position: Position) -> Window:
        """The window at ``position``; ``position.window`` must be below ``windows``."""
        line = self.places() + self.start(position)
        text = self._gather(line, position.epoch).astype(np.int64)
        x, y = np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])
        return Window(x, y, position)

    def _gather(self, line: NDArray[np.int64], epoch: int) -> Ids:
        if self._line_end is None:
            return self._ids[self._map.positions(line)]
        return self._lines_of(epoch, self._line_end)[line % self._map.length]

    def _lines_of(self, epoch: int, line_end: int) -> Ids:
        if self._epoch_text is None or self._epoch_text[0] != epoch:
            self._epoch_text = None  # free it before the next one is made
            text = shuffled_lines(self._ids, self._map, line_end, self._rng(epoch, 1))
            self._epoch_text = (epoch, text)
        return self._epoch_text[1]

    def after(self, position: Position) -> Position:
        """The position that follows."""
        if position.window + 1 < self.windows:
            return Position(position.epoch, position.window + 1)
        return Position(position.epoch + 1, 0)
