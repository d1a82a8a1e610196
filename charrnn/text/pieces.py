"""The pieces of a text that is read side by side, and where two readings of a piece have met.

``charrnn.text.lanes`` says why pieces are read more than once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charrnn.text.splits import Range

BLOCK = 256  # characters between two looks at the state
# Two readings have met if no unit of the state differs by more than MEET, relative to 1 + its size,
# and no loss of the next block by more than AGREE.
MEET, AGREE = 3e-5, 1e-4

States: TypeAlias = NDArray[Any]  # (K, S): a row holds all parts of a state
Losses: TypeAlias = NDArray[Any]  # in nats


@dataclass(slots=True)
class Mark:
    """A place in a piece.

    Attributes:
        state: the state there ``(S,)``.
        nats: the losses of the block that follows.
        total: the sum of the losses until the next mark.

    """

    state: States
    nats: Losses
    total: float = 0.0


@dataclass(eq=False, slots=True)
class Piece:
    """Targets ``[first, stop)`` of a text, and what is known of them.

    Attributes:
        first: the first target.
        stop: the end of the targets.
        before: the piece before it in its range; None for the first one.
        carried: whether a piece of its range follows.
        version: how many states it has ended in so far.
        used: the version of ``before`` that it was last read from; 0 is the zero state.
        end: the state ``(S,)`` that it ended in.
        gap: the largest difference of losses where its readings met; None if they did not.
        unmarked: the sum of the losses before the first mark.
        marks: what is known of places in it, by their offsets; None where nothing is read again.

    """

    first: int
    stop: int
    before: Piece | None = None
    carried: bool = False
    version: int = 0
    used: int = 0
    end: States | None = None
    gap: float | None = None
    unmarked: float = 0.0
    marks: dict[int, Mark] | None = None

    @property
    def length(self) -> int:
        """The number of its targets."""
        return self.stop - self.first

    @property
    def nats(self) -> float:
        """The sum of its losses."""
        marks = self.marks.values() if self.marks else ()
        return math.fsum((self.unmarked, *(mark.total for mark in marks)))

    @property
    def outdated(self) -> bool:
        """Whether the piece before it now ends in another state than it was read from."""
        return self.before is not None and self.used != self.before.version

    @property
    def waits(self) -> bool:
        """Whether a piece before it is outdated, so that its own first state will change."""
        before = self.before
        while before is not None and not before.outdated:
            before = before.before
        return before is not None


@dataclass
class Lane:
    """A piece while it is read, ``again`` or for the first time.

    ``offset`` of its targets are done, and the last mark that was passed is ``mark``.
    """

    piece: Piece
    again: bool
    offset: int = 0
    mark: Mark | None = None

    @property
    def rest(self) -> int:
        """How many of the piece's targets are left."""
        return self.piece.length - self.offset

    @property
    def counts(self) -> bool:
        """Whether the next block may count: if it will be read again in any case, it does not."""
        return self.again or self.offset > 0 or self.piece.before is None

    @property
    def goes_on(self) -> bool:
        """Whether another block follows the next one in any case."""
        may_meet = self.again and self.offset in (self.piece.marks or {})
        return self.rest > BLOCK and not may_meet

    def advance(self, before: States, nats: Losses, after: States) -> bool:
        """Record a block with these losses, read between two states; True if that was all."""
        piece, offset = self.piece, self.offset
        nats = nats[: self.rest].copy()
        self.offset += len(nats)
        if self.again and _has_met(piece, offset, before, nats):
            return True
        if offset == 0:
            piece.unmarked = 0.0
        if piece.before is not None and is_marked(offset):
            piece.marks = piece.marks or {}
            self.mark = piece.marks[offset] = Mark(before.copy(), nats)
        if self.mark is None:
            piece.unmarked += _sum(nats)
        else:
            self.mark.total += _sum(nats)
        if self.rest:
            return False
        piece.gap = None
        if piece.carried:
            piece.end, piece.version = after.copy(), piece.version + 1
        return True


def cut(ranges: tuple[Range, ...], lanes: int, least: int, cycle: int = 1) -> list[Piece]:
    """About ``lanes`` pieces, at least one for each range, of about ``least`` characters or more.

    The first target of a range is its first character, predicted from the one before it; the first
    character of the whole text has none before it and is not counted. A piece starts a multiple of
    ``cycle`` characters after its range, so that a network's clocks agree with those of one pass.
    """
    unit = math.lcm(BLOCK, cycle)
    size = max(math.ceil(sum(stop - start for start, stop in ranges) / lanes), least, 1)
    pieces = []
    for start, stop in ranges:
        start, before = max(start, 1), None
        count = max(1, round((stop - start) / size))
        step = math.ceil((stop - start) / count / unit) * unit
        cuts = range(start, stop, step) if count > 1 else [start]
        for first, end in pairwise([*cuts, stop]):
            if first < end:
                before = Piece(first, end, before, carried=end < stop)
                pieces.append(before)
    return pieces


def is_marked(offset: int) -> bool:
    """Whether a state is kept there: after every block, later every second one, fourth one ..."""
    block = offset // BLOCK
    return block > 0 and block % (1 << max(0, block.bit_length() - 4)) == 0


def _has_met(piece: Piece, offset: int, state: States, nats: Losses) -> bool:
    """Whether a reading that is in ``state`` has met the one before; it then ends.

    ``nats`` are the losses of the block that follows.
    """
    mark = piece.marks.get(offset) if piece.marks else None
    if mark is None or not _gap(state, mark.state) <= MEET:
        return False
    gap = float(np.abs(nats - mark.nats).max())
    if not gap <= AGREE:
        return False
    mark.total += _sum(nats) - _sum(mark.nats)
    mark.state, mark.nats = state.copy(), nats
    piece.gap = max(gap, piece.gap or 0.0)
    return True


def _gap(one: States, other: States) -> float:
    """The largest difference of a unit, relative to 1 + its size; NaN if a unit is not a number."""
    return float((np.abs(one - other) / (1 + np.abs(other))).max(initial=0))


def _sum(nats: Losses) -> float:
    return float(nats.sum(dtype=np.float64))
