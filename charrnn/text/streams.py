"""Training windows: B contiguous streams through the training part, T characters at a time.

Stream b reads the b-th of B equal stretches. Everything about a window follows from the seed, the
epoch and the window's number, so a position is two numbers and resuming needs no replay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.settings import check_whole
from charrnn.text.shuffle import shuffled_lines, whole_lines
from charrnn.text.splits import Range, RangeMap
from charrnn.text.vocab import Ids

BLOCK = 1 << 20  # characters of a text that is copied


@dataclass(frozen=True)
class Position:
    """The next window to train on."""

    epoch: int = 0
    window: int = 0


@dataclass(frozen=True)
class Window:
    """``x, y (B, T)``: inputs and next characters. An epoch's first window begins anew."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    position: Position


class Streams:
    """Windows for this rank's rows of B streams over ``ranges`` of ``ids``.

    With ``shuffle_offset`` each epoch turns the text by a random offset, so that streams and
    windows are cut elsewhere every time; without it epochs are alike. With ``lines`` the order of
    the records (lines) is drawn anew each epoch.

    Raises:
        CorpusError: the training part is too short for one window of B × T.
        ConfigError: ``batch`` does not divide among the ranks.

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
        rank: int = 0,
        world: int = 1,
    ) -> None:
        check_whole("batch / world size", batch // world if batch % world == 0 else None, 1)
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
                f"{batch} streams of {window} characters need {least:,} characters to train on, "
                f"but there are {self._map.length:,}",
                "make {batch} or {window} smaller",
            )
        self._rows = np.arange(batch // world, dtype=np.int64) + rank * (batch // world)
        self._epoch_text: tuple[int, Ids] | None = None
        self._epoch_offset = -1, 0

    def _rng(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, epoch, purpose])

    def offset(self, epoch: int) -> int:
        """How far the text is turned in an epoch."""
        if not self._shuffle_offset:
            return 0
        if self._epoch_offset[0] != epoch:
            self._epoch_offset = epoch, int(self._rng(epoch, 0).integers(self._map.length))
        return self._epoch_offset[1]

    @property
    def rows(self) -> int:
        """How many of the B streams this rank reads."""
        return len(self._rows)

    @property
    def chars(self) -> int:
        """Characters of a window in all B streams."""
        return self.batch * self.window

    @property
    def lines(self) -> bool:
        """Whether every epoch has a text of its own."""
        return self._line_end is not None

    @property
    def symbol_bytes(self) -> int:
        """Bytes of an id."""
        return self._ids.dtype.itemsize

    @property
    def length(self) -> int:
        """Characters of an epoch's text."""
        return self._map.length

    def start(self, position: Position) -> int:
        """How far from the first window's places, on the line of the epoch's text, its own lie."""
        return self.offset(position.epoch) + position.window * self.window

    def places(self) -> NDArray[np.int64]:
        """Places (B, T + 1) of the first window, were the text not turned; the end wraps round."""
        return (self._rows * self.stretch)[:, None] + np.arange(self.window + 1)

    def blocks(self, epoch: int) -> Iterator[Ids]:
        """The text of an epoch, before it is turned, block by block."""
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
            self._epoch_text = None  # before there is another one
            text = shuffled_lines(self._ids, self._map, line_end, self._rng(epoch, 1))
            self._epoch_text = (epoch, text)
        return self._epoch_text[1]

    def after(self, position: Position) -> Position:
        """The position that follows."""
        if position.window + 1 < self.windows:
            return Position(position.epoch, position.window + 1)
        return Position(position.epoch + 1, 0)
