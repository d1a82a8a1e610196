"""Which fill gaps best: a bidirectional network, or a forward one, alone or with a reverse one.

    python -m tests.generation.compare_gaps FORWARD REVERSE BOTH TEXT

cuts gaps out of the validation part of TEXT, on which the three checkpoints were trained with the
same split, has them filled, and prints a table. ``test_compare_gaps.py`` trains such networks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn import TextModel, load
from charrnn.generation.filling import BothSides, Filler, OneSide
from charrnn.generation.generator import first_id
from charrnn.text.vocab import Ids

COUNT, LONGEST = 200, 12
BEFORE, AFTER = 256, 128  # characters around a gap that are read
LENGTHS = ((1, 3), (4, 6), (7, 9), (10, 12))


@dataclass(frozen=True)
class Gap:
    """What was cut out, and what is on both sides."""

    left: Ids
    true: Ids
    right: Ids


@dataclass(frozen=True)
class Filled:
    """A gap's length, whether it was filled with what had stood there, whether that was among the
    proposals, and the nats of its share among the proposals and it."""

    length: int
    exact: bool
    proposed: bool
    nats: float


def cut(model: TextModel, text: Path, count: int = COUNT, seed: int = 17) -> list[Gap]:
    """``count`` gaps at random places of the validation part, of 1 to ``LONGEST`` characters."""
    ids, [(start, stop)] = model.part("val", text)
    rng, gaps = np.random.default_rng(seed), []
    for number in range(count):
        length = 1 + number % LONGEST
        begin = int(rng.integers(start + BEFORE, stop - AFTER - length))
        around = ids[begin - BEFORE : begin + length + AFTER].astype(np.intp)
        left, true, right = np.split(around, (BEFORE, BEFORE + length))
        gaps.append(Gap(left, true, right))
    return gaps


def fill(filler: Filler, gap: Gap) -> Filled:
    """Fill a gap whose length is known."""
    length, true = len(gap.true), tuple(gap.true)
    proposals = filler.propose(gap.left, gap.right, [length])
    nats = {tuple(proposal.gaps[0]): proposal.nats for proposal in proposals}
    first = next(iter(nats))
    if true in nats:
        return Filled(length, first == true, True, nats[true])
    # the share that it would have had beside the proposals, whose shares add up to 1
    own, other = filler.scores(gap.left, np.array([true, first]), gap.right)
    return Filled(length, False, False, float(np.logaddexp(0.0, nats[first] + other - own)))


def fillers(
    forward: TextModel, reverse: TextModel, both: TextModel
) -> Iterator[tuple[str, Filler]]:
    """Those that are compared, by name."""
    first = first_id(forward.vocab)
    one, two = ((m.checkpoint.config, m.checkpoint.weights) for m in (forward, reverse))
    yield "forward alone", OneSide(one, None, first)
    yield "forward and reverse", OneSide(one, two, first)
    yield "bidirectional", BothSides(both.checkpoint.config, both.checkpoint.weights, first)


def table(results: dict[str, list[Filled]]) -> str:
    """The results in Markdown."""
    ranges = [f"{low} to {high}" for low, high in LENGTHS]
    rows = [["", "exact", *ranges, "among the proposals", "nats a gap"]]
    for name, filled in results.items():
        parts = [[f.exact for f in filled if low <= f.length <= high] for low, high in LENGTHS]
        exact, proposed = [f.exact for f in filled], [f.proposed for f in filled]
        shares = [_percent(part) for part in (exact, *parts, proposed)]
        rows.append([name, *shares, f"{np.mean([f.nats for f in filled]):.2f}"])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _percent(flags: Sequence[bool]) -> str:
    return f"{100 * np.mean(flags):.1f} %" if flags else "–"


def compare(
    forward: TextModel, reverse: TextModel, both: TextModel, text: Path, count: int = COUNT
) -> dict[str, list[Filled]]:
    """How each of the fillers filled the same gaps."""
    gaps = cut(forward, text, count)
    return {
        name: [fill(filler, gap) for gap in gaps]
        for name, filler in fillers(forward, reverse, both)
    }


if __name__ == "__main__":
    forward, reverse, both, text = sys.argv[1:]
    print(table(compare(load(forward), load(reverse), load(both), Path(text))))
