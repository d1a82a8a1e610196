"""Scoring lanes count every character once and read what comes before it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text import lanes


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 60)), min_size=1, max_size=6),
    st.integers(1, 9),
    st.integers(0, 12),
    st.integers(1, 20),
    st.integers(1, 9),
)
def test_lanes_count_every_target_once_and_read_what_comes_before(
    gaps: list[tuple[int, int]], wanted: int, warmup: int, window: int, cycle: int
) -> None:
    ranges, at = [], 0
    for gap, size in gaps:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    layout = lanes.lay(tuple(ranges), wanted, warmup, cycle)
    expected = Counter(i for start, stop in ranges for i in range(max(start, 1), stop))
    counted: Counter[int] = Counter()
    if layout:
        for block in lanes.blocks(np.arange(at), layout, window):
            assert np.array_equal(block.x + 1, block.y)
            counted.update(block.y[block.mask].tolist())
    assert counted == expected
    assert lanes.count(layout) == len(expected)
    for lane in layout:
        start = next(max(a, 1) for a, b in ranges if a <= lane.counted < b)
        latest = max(start, lane.counted - warmup)
        assert latest - cycle < lane.first <= latest
        assert lane.first >= start  # never before its own range
        assert (lane.first - start) % cycle == 0
