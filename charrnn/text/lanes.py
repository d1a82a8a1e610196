"""Texts to score in parallel lanes, with every character a target exactly once.

A range ``(start, stop)`` of a text is one lane that starts from the zero state. A long range is cut
into several lanes that run in parallel; each but the first starts ``warmup`` characters early,
without counting them, so that its state is that of one pass through the range except for what the
network has forgotten over that distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from charrnn.text.splits import Range
from charrnn.text.vocab import Ids

WARMUP = 512
MOST = 256  # lanes that are read side by side


@dataclass(frozen=True)
class Lane:
    """Targets ``[first, stop)``; those from ``counted`` on are counted."""

    first: int
    counted: int
    stop: int


@dataclass(frozen=True)
class Block:
    """T steps of K lanes.

    Attributes:
        x: inputs ``(K, T)``.
        y: targets ``(K, T)``.
        places: positions ``(K, T)`` of the targets in the text.
        mask: ``(K, T)``, true where a target counts.

    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    places: NDArray[np.int64]
    mask: NDArray[np.bool_]


def lay(ranges: tuple[Range, ...], lanes: int, warmup: int = WARMUP, cycle: int = 1) -> list[Lane]:
    """About ``lanes`` lanes, at least one for each range, longest first.

    The first target of a range is its first character, predicted from the one before it; the first
    character of the whole text has none before it and is not counted. A lane starts a multiple of
    ``cycle`` characters after its range, so that a network's clocks agree with those of one pass.
    """
    total = sum(stop - start for start, stop in ranges)
    if total == 0:
        return []
    longest = max(math.ceil(total / lanes), warmup, 1)
    result = []
    for start, stop in ranges:
        start = max(start, 1)
        pieces = max(1, round((stop - start) / longest))
        cuts = [start + (stop - start) * k // pieces for k in range(pieces + 1)]
        for a, b in pairwise(cuts):
            skipped = max(0, a - warmup - start) // cycle * cycle
            result.append(Lane(start + skipped, a, b))
    kept = [lane for lane in result if lane.stop > lane.counted]
    return sorted(kept, key=lambda lane: lane.first - lane.stop)


def groups(lanes: list[Lane]) -> Iterator[list[Lane]]:
    """``lanes``, at most ``MOST`` at a time."""
    for first in range(0, len(lanes), MOST):
        yield lanes[first : first + MOST]


def count(lanes: list[Lane]) -> int:
    """The number of characters that ``lanes`` count."""
    return sum(lane.stop - lane.counted for lane in lanes)


def blocks(ids: Ids, lanes: list[Lane], window: int) -> Iterator[Block]:
    """``window`` steps of all lanes at a time; lanes that have ended are padded."""
    first = np.array([lane.first for lane in lanes])[:, None]
    counted = np.array([lane.counted for lane in lanes])[:, None]
    stop = np.array([lane.stop for lane in lanes])[:, None]
    for begin in range(0, int((stop - first).max()), window):
        last = min(begin + window, int((stop - first).max()))
        target = first + np.arange(begin, last)  # (K, T)
        mask = (target >= counted) & (target < stop)
        inside = np.minimum(target, stop - 1)
        yield Block(ids[inside - 1].astype(np.int64), ids[inside].astype(np.int64), inside, mask)
