"""Reads long texts in pieces, side by side, and joins the pieces to what one pass would read.

A range ``(start, stop)`` of a text begins with the zero state. A long range is cut into pieces, and
at first every piece begins with the zero state, too. For all but the first one that is wrong, so
they are read again, each from the state in which the piece before it ended, until the state meets
that of the reading before: from there on both are the same. A piece whose readings do not meet ends
in another state, so the next piece is read again; in the worst case that goes on until all were
read in one pass (a Jacobi iteration over the pieces).

Two readings seldom meet to the last bit: rounding keeps units that forget slowly apart. They have
met when state and losses differ by very little (``charrnn.text.pieces``), and ``Reading.error``
bounds what that leaves.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.text.pieces import BLOCK, Lane, Losses, Piece, States, cut
from charrnn.text.splits import Range

LEAST = 4096  # characters of a piece: most networks forget within half of it
# the differences measured where pieces are joined are a sample of those that follow
MARGIN, ROUNDING = 4, 1e-4
MOST = 256  # lanes, where no range is cut


# waits for the losses ``(K, T)`` of a block and the states ``(K, S)`` after it
Result: TypeAlias = Callable[[], tuple[Losses, States]]


class Reader(Protocol):
    """A network that reads K texts side by side.

    Attributes:
        zero: the state ``(S,)`` before a text.
        ahead: whether ``start`` returns before a block is read, so that one more can be started.

    """

    zero: States
    ahead: bool = False

    def begin(self, states: States) -> None:
        """Continue with these lanes: one for each row of ``states (K, S)``."""

    def read(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> Losses:
        """Read the characters before ``targets (K, T)``, which are positions in the text.

        Returns the losses ``(K, T)`` of the targets that are ``counted``, in nats; 0 for others.
        """
        ...

    def states(self) -> States:
        """The current states ``(K, S)``."""
        ...

    def start(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> Result:
        """``read``, and then ``states``."""
        nats = self.read(targets, counted)
        states = self.states()
        return lambda: (nats, states)


class Group:
    """The processes that read a text together. This class is a single process."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def check(self) -> None:
        """Raise ``Interrupted`` on all processes if any of them has received a signal."""
        interrupts.check()

    def sum(self, mine: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over all processes."""
        return mine


ALONE = Group()


@dataclass(frozen=True)
class Reading:
    """The losses of a text: ``nats`` in all, of ``chars`` characters.

    No loss is further than ``error`` nats from that of one pass; with 0 there was one pass.
    """

    nats: float
    chars: int
    error: float


def read(
    reader: Reader,
    ranges: tuple[Range, ...],
    lanes: int,
    least: int = LEAST,
    group: Group = ALONE,
    cycle: int = 1,
) -> Reading:
    """Read ``ranges`` of a text, each from the zero state.

    Args:
        reader: the network. What it reads last of a position counts.
        ranges: ``(start, stop)`` pairs that do not overlap.
        lanes: how many pieces all processes read at once, at most.
        least: about how many characters of a range are worth a piece of their own.
        group: the processes that read together; each reads some of the pieces.
        cycle: the number of characters after which the network's clocks repeat.

    Raises:
        Interrupted: a signal arrived.

    """
    return _Relay(reader, cut(ranges, lanes, least, cycle), lanes, group).run()


class _Relay:
    """The pieces of a text, handing their states on until all fit together."""

    def __init__(self, reader: Reader, pieces: list[Piece], lanes: int, group: Group) -> None:
        self.reader, self.pieces, self.group = reader, pieces, group
        self.mine = pieces if group.size == 1 else pieces[group.rank :: group.size]
        if len(pieces) > lanes and not any(piece.carried for piece in pieces):
            lanes = MOST  # of short texts, as of records, many must be read at once
        self.most = max(1, lanes // group.size)
        self.lanes: list[Lane] = []
        self.states: States = np.tile(reader.zero, (0, 1))
        self.following: Result | None = None  # of the block after the one that is recorded

    def run(self) -> Reading:
        todo, again, straight = self.pieces, False, False
        while todo:
            self._read(todo, again)
            self._share()
            left = [piece for piece in self.pieces if piece.outdated]
            # where states seldom meet, reading on from states that will change is a waste
            straight = straight or (again and 2 * len(left) > len(todo) > 1)
            todo, again = [p for p in left if not straight or not p.waits], True
            for piece in todo:
                piece.used = piece.before.version if piece.before else 0
        return self._reading()

    def _reading(self) -> Reading:
        gaps = [piece.gap for piece in self.mine if piece.gap is not None]
        table = np.zeros((self.group.size, 3))
        nats = math.fsum(piece.nats for piece in self.mine)
        table[self.group.rank] = nats, len(gaps), max(gaps, default=0)
        table = self.group.sum(table)
        error = _bound(float(table[:, 2].max())) if table[:, 1].any() else 0.0
        chars = sum(piece.length for piece in self.pieces)
        return Reading(float(table[:, 0].sum()), chars, error)

    def _read(self, todo: list[Piece], again: bool) -> None:
        """Read those pieces of ``todo`` that are this process's."""
        if self.group.size > 1:
            mine = set(self.mine)
            todo = [piece for piece in todo if piece in mine]
        # lanes that end together are read without padding
        waiting = deque(sorted(todo, key=lambda piece: -piece.length))
        while self._any(bool(waiting or self.lanes)):
            self.group.check()
            if waiting and len(self.lanes) < self.most:
                self._begin(waiting, again)
            if self.lanes:
                self._block()

    def _any(self, busy: bool) -> bool:
        return bool(self.group.sum(np.array([busy], np.float64))[0])

    def _begin(self, waiting: deque[Piece], again: bool) -> None:
        """Fill the free lanes with ``waiting`` pieces."""
        count = min(len(waiting), self.most - len(self.lanes))
        new = [Lane(waiting.popleft(), again) for _ in range(count)]
        states = np.tile(self.reader.zero, (count, 1))
        for row, lane in zip(states, new, strict=True):
            if again and lane.piece.before is not None:
                row[:] = lane.piece.before.end
        self._continue(self.lanes + new, np.concatenate([self.states, states]))

    def _continue(self, lanes: list[Lane], states: States) -> None:
        self.lanes, self.states = lanes, states
        if lanes:
            self.reader.begin(states)

    def _block(self) -> None:
        """Read a block of every lane, and drop the lanes that are done."""
        lanes, before = self.lanes, self.states
        result, self.following = self.following or self._start(0), None
        if self.reader.ahead and all(lane.goes_on for lane in lanes):
            self.following = self._start(BLOCK)  # is read while this one is recorded
        nats, self.states = result()
        rows = zip(lanes, before, nats, self.states, strict=True)
        kept = [not lane.advance(*row) for lane, *row in rows]
        if not all(kept):
            left = [lane for lane, keep in zip(lanes, kept, strict=True) if keep]
            self._continue(left, self.states[kept])

    def _start(self, skipped: int) -> Result:
        """Start to read a block of every lane, after so many characters that are being read."""
        lanes = self.lanes
        steps = min(BLOCK, max(lane.rest for lane in lanes) - skipped)
        first = np.array([lane.piece.first + lane.offset for lane in lanes])[:, None] + skipped
        stop = np.array([lane.piece.stop for lane in lanes])[:, None]
        targets = first + np.arange(steps)  # (K, T)
        counts = np.array([lane.counts or skipped > 0 for lane in lanes])[:, None]
        return self.reader.start(np.minimum(targets, stop - 1), (targets < stop) & counts)

    def _share(self) -> None:
        """Tell the other processes how this one's pieces ended."""
        if self.group.size == 1:
            return
        carried, mine = [piece for piece in self.pieces if piece.carried], set(self.mine)
        table = np.zeros((len(carried), 1 + len(self.reader.zero)))
        for row, piece in zip(table, carried, strict=True):
            if piece in mine and piece.end is not None:
                row[0], row[1:] = piece.version, piece.end
        for row, piece in zip(self.group.sum(table), carried, strict=True):
            piece.version, piece.end = int(row[0]), row[1:].astype(self.reader.zero.dtype)


def _bound(gap: float) -> float:
    """What the error is at most if the largest measured difference is ``gap``, to one digit."""
    bound = max(ROUNDING, MARGIN * gap)
    unit = 10.0 ** math.floor(math.log10(bound))
    return float(f"{math.ceil(bound / unit - 1e-9) * unit:.0e}")
