"""The training, validation and test parts of a text never overlap."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import encode_corpus
from charrnn.text.splits import RangeMap, length, split, spread
from tests.support.checkpoints import real_text

FRACTIONS = st.sampled_from([0, 0.05, 0.1, 0.125, 0.2, 0.3])


@given(st.integers(1, 500), FRACTIONS, FRACTIONS)
def test_contiguous_parts_tile_the_text_in_order(n: int, val: float, test: float) -> None:
    parts = split(n, "contiguous", val, test)
    whole = [*parts.train, *parts.val, *parts.test]
    assert [i for start, stop in whole for i in range(start, stop)] == list(range(n))


@given(st.integers(1, 50_000), FRACTIONS, FRACTIONS)
def test_spread_parts_tile_the_text_too(n: int, val: float, test: float) -> None:
    parts = split(n, "spread", val, test)
    ranges = sorted([*parts.train, *parts.val, *parts.test])
    assert [ranges[0][0], *(stop for _, stop in ranges)] == [*(start for start, _ in ranges), n]
    assert length(parts.val) == pytest.approx(n * val, abs=2 * len(ranges))
    assert length(parts.test) == pytest.approx(n * test, abs=2 * len(ranges))


@pytest.mark.parametrize(
    ("n", "rows", "piece"), [(900, 4, 22), (16_000, 17, 94), (10**7, 447, 2237)]
)
def test_spread_parts_come_from_more_places_the_longer_they_are(
    n: int, rows: int, piece: int
) -> None:
    parts = split(n, "spread", 0.1, 0.0)
    assert len(parts.val) == rows
    assert {stop - start for start, stop in parts.val} <= {piece - 1, piece, piece + 1}
    gaps = {b[0] - a[1] for a, b in pairwise(parts.val)}
    assert max(gaps) - min(gaps) <= 3  # at equal distances


@given(st.integers(10_000, 400_000), FRACTIONS, FRACTIONS)
def test_interleaved_parts_never_overlap(n: int, val: float, test: float) -> None:
    try:
        parts = split(n, "interleaved", val, test)
    except CorpusError:
        assert min(val or 1, test or 1, 1 - val - test) * n < 20_000  # less than two pieces
        return
    assert [bool(part) for part in (parts.val, parts.test)] == [val > 0, test > 0]
    ranges = sorted([*parts.train, *parts.val, *parts.test])
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))
    assert sum(map(length, (parts.train, parts.val, parts.test))) == n // 10_000 * 10_000
    assert ranges[-1][1] <= n


def test_decimal_fractions_cut_exactly() -> None:
    assert length(split(10, "contiguous", 0.1, 0).train) == 9
    assert length(split(1000, "contiguous", 0.1, 0.2).train) == 700  # 1 - 0.1 - 0.2 is less


@pytest.mark.parametrize(("val", "test"), [(1, 0), (-0.1, 0), (0.5, 0.5), (math.nan, 0)])
def test_fractions_that_leave_nothing_are_refused(val: float, test: float) -> None:
    with pytest.raises(ConfigError):
        split(1000, "contiguous", val, test)


@pytest.mark.parametrize(
    ("n", "part"), [(9_999, "training"), (20_000, "validation"), (50_000, "validation")]
)
def test_too_short_a_text_for_rows_names_the_part_that_gets_none(n: int, part: str) -> None:
    with pytest.raises(CorpusError, match=f"corpus of {n:,} .* none is left for the {part} part"):
        split(n, "interleaved", 0.1, 0.1)
    with pytest.raises(CorpusError, match=f"corpus of {n:,} symbols is too short"):
        split(n, "interleaved", 0.1, 0.1, unit="symbol")


def char_rnn(n: int, train_frac: float, val_frac: float) -> list[int]:
    """The sizes of the parts in windows of 100, as ``CharSplitLMMinibatchLoader.lua`` computes."""
    nbatches = n // (100 * 100)
    test_frac = max(0, 1 - (train_frac + val_frac))
    ntrain = math.floor(nbatches * train_frac)
    if test_frac == 0:
        return [ntrain, nbatches - ntrain, 0]
    nval = math.floor(nbatches * val_frac)
    return [ntrain, nval, nbatches - nval - ntrain]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [(0.8, 0.1, 0.1), (0.9, 0.05, 0.05), (0.95, 0.05, 0), (0.71, 0.29, 0), (0.42, 0.29, 0.29)],
)
def test_interleaved_parts_are_char_rnns(train: float, val: float, test: float) -> None:
    for windows in range(20, 700):
        parts = split(windows * 10_000 + 9_999, "interleaved", val, test)
        found = [length(part) // 10_000 for part in (parts.train, parts.val, parts.test)]
        assert found == char_rnn(windows * 10_000, train, val), windows


def test_a_run_of_before_keeps_its_split() -> None:
    """War and Peace with LF line ends: 319 windows."""
    before = split(3_196_213, "interleaved", 0.1, 0.1, rule=1)
    now = split(3_196_213, "interleaved", 0.1, 0.1)
    assert [length(part) for part in (before.val, before.test)] == [320_000, 320_000]
    assert [length(part) for part in (now.val, now.test)] == [310_000, 330_000]
    assert before.train == now.train
    for rule in (1, 2):
        assert split(1003, "contiguous", 0.1, 0.1, rule) == split(1003, "contiguous", 0.1, 0.1)
    with pytest.raises(ConfigError, match="rule 3, which this version does not know"):
        split(3_196_213, "interleaved", 0.1, 0.1, rule=3)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 300)), min_size=1, max_size=6),
    st.integers(1, 900),
    st.integers(1, 200),
)
def test_a_sample_is_spread_over_the_ranges(
    gaps: list[tuple[int, int]], chars: int, piece: int
) -> None:
    ranges, at = [], 0
    for gap, size in gaps:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    found = spread(tuple(ranges), chars, piece)
    whole = [i for start, stop in ranges for i in range(start, stop)]
    taken = [i for start, stop in found for i in range(start, stop)]
    assert taken == sorted(set(taken) & set(whole))
    if len(whole) <= chars:
        assert found == tuple(ranges)
        return
    assert chars - min(piece, chars) < len(taken) <= chars
    places = [whole.index(i) for i in taken]
    gaps_left = np.diff([-1, *places, len(whole)]) - 1
    assert gaps_left.max() <= len(whole) / (chars // min(piece, chars))


def test_split_p_is_that_of_the_paper() -> None:
    corpus = encode_corpus([real_text("warpeace_input.txt")], is_bytes=True)
    assert (len(corpus), len(corpus.vocab)) == (3_258_246, 87)
    parts = split(len(corpus), "interleaved", 0.1, 0.1)
    row = 32_500
    assert parts.train == tuple((r * row, r * row + 26_000) for r in range(100))
    assert parts.val == tuple((r * row + 26_000, r * row + 29_200) for r in range(100))
    assert parts.test == tuple((r * row + 29_200, (r + 1) * row) for r in range(100))


def test_split_c_is_contiguous() -> None:
    corpus = encode_corpus([real_text("warpeace_input.txt")], is_bytes=True)
    parts = split(len(corpus), "contiguous", 0.1, 0.1)
    assert list(map(length, (parts.train, parts.val, parts.test))) == [2_606_596, 325_825, 325_825]
    assert parts.test == ((3_258_246 - 325_825, 3_258_246),)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=6))
def test_range_map_lists_the_ranges_and_wraps(gaps: list[tuple[int, int]]) -> None:
    ranges, at = [], 0
    for gap, size in gaps:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    positions = [i for start, stop in ranges for i in range(start, stop)]
    line = RangeMap(tuple(ranges))
    assert line.positions(np.arange(2 * line.length)).tolist() == positions * 2
