"""Parts, training windows and scoring lanes: every character where it belongs, once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text import lanes
from charrnn.text.corpus import encode_corpus
from charrnn.text.splits import Range, RangeMap, length, split
from charrnn.text.streams import Position, Streams, Window
from charrnn.training.evaluation import loss as evaluation
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.loop.batches import Windows
from tests.support.checkpoints import real_text

FRACTIONS = st.sampled_from([0, 0.05, 0.1, 0.125, 0.2, 0.3])


def members(ranges: tuple[Range, ...]) -> set[int]:
    return {position for start, stop in ranges for position in range(start, stop)}


# --- splits


@given(st.integers(1, 500), FRACTIONS, FRACTIONS)
def test_contiguous_parts_tile_the_text_in_order(n: int, val: float, test: float) -> None:
    parts = split(n, "contiguous", val, test)
    whole = [*parts.train, *parts.val, *parts.test]
    assert [i for start, stop in whole for i in range(start, stop)] == list(range(n))


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
    with pytest.raises(CorpusError, match=f"{n:,} none is left for the {part} part"):
        split(n, "interleaved", 0.1, 0.1)


# --- War and Peace, as ../shared/data/README.md cuts it


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


class Table:
    """A predictor that looks the logits (V, V) of the next character up by the last one."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits, self.vocab_size = logits, len(logits)

    def zero_state(self, B: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(1, B, 1), torch.zeros(1, B, 0)

    def __call__(self, x, state, *, dtype=None):  # type: ignore[no-untyped-def]
        return self.logits[x], state


def test_a_wide_alphabet_is_evaluated_in_short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "LOGITS", 5_000)
    ids, shapes = np.arange(3_000) % 50, []

    class Seen(Table):
        def __call__(self, x, state, *, dtype=None):  # type: ignore[no-untyped-def]
            shapes.append(x.shape)
            return super().__call__(x, state)

    result = evaluate(Seen(torch.zeros(50, 50)), ids, ((0, 3_000),), lanes=4)
    assert result.chars == 2_999
    assert result.nats_per_char == pytest.approx(math.log(50), abs=1e-6)
    assert max(lanes * window * 50 for lanes, window in shapes) <= 5_000


def test_a_bigram_model_and_a_uniform_one_score_what_they_should_on_split_p() -> None:
    corpus = encode_corpus([real_text("warpeace_input.txt")], is_bytes=True)
    parts = split(len(corpus), "interleaved", 0.1, 0.1)
    V = len(corpus.vocab)
    pairs = np.zeros((V, V))
    for start, stop in parts.train:
        row = corpus.ids[start:stop]
        np.add.at(pairs, (row[:-1], row[1:]), 1)
    # add-0.1; anything from 0.001 to 0.4 scores 2.398, add-one 2.399
    smooth = (pairs + 0.1) / (pairs + 0.1).sum(1, keepdims=True)
    bigram = Table(torch.from_numpy(np.log(smooth)).float())
    uniform = Table(torch.zeros(V, V))
    result = evaluate(bigram, corpus.ids, parts.test)
    assert result.chars == 330_000
    assert result.nats_per_char == pytest.approx(2.398, abs=5e-4)
    assert evaluate(uniform, corpus.ids, parts.test).nats_per_char == pytest.approx(
        math.log(87), abs=1e-6
    )


# --- streams


def streams(n: int = 121, batch: int = 4, window: int = 5, **more: object) -> Streams:
    settings: dict[str, object] = {"shuffle_offset": False} | more
    ranges = settings.pop("ranges", ((0, n),))
    return Streams(np.arange(n), ranges, batch, window, **settings)  # type: ignore[arg-type]


def test_every_character_is_a_target_once_an_epoch() -> None:
    s = streams()  # 120 targets = 4 x 5 x 6
    targets = Counter(i for w in range(s.windows) for i in s.at(Position(0, w)).y.flat)
    assert targets == Counter(range(1, 121))


def test_a_turned_text_too_is_seen_once_an_epoch() -> None:
    s = streams(120, shuffle_offset=True, seed=5)
    for epoch in range(3):
        targets = Counter(i for w in range(s.windows) for i in s.at(Position(epoch, w)).y.flat)
        assert targets == Counter(range(120))
    assert len({s.offset(epoch) for epoch in range(6)}) > 1


def walk(s: Streams) -> Iterator[Window]:
    """Windows one after the other, without end."""
    position = Position()
    while True:
        yield s.at(position)
        position = s.after(position)


@pytest.mark.parametrize("turned", [False, True])
def test_windows_carry_on_where_the_last_one_ended(turned: bool) -> None:
    s = streams(shuffle_offset=turned)
    last = None
    for window, _ in zip(walk(s), range(3 * s.windows), strict=False):
        assert np.array_equal(window.x[:, 1:], window.y[:, :-1])
        if last is not None and window.position.window:
            assert np.array_equal(window.x[:, 0], last.y[:, -1])
        last = window
    assert last is not None
    assert last.position == Position(2, s.windows - 1)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**40), st.booleans())
def test_a_window_follows_from_its_position_alone(
    epoch: int, window: int, seed: int, lines: bool
) -> None:
    line_end = 7 if lines else None
    ids = np.arange(132) % 11
    walked = Streams(ids, ((0, 132),), 4, 5, seed=seed, line_end=line_end)
    there = next(w for w in walk(walked) if w.position == Position(epoch, window))
    jumped = Streams(ids, ((0, 132),), 4, 5, seed=seed, line_end=line_end).at(
        Position(epoch, window)
    )
    assert np.array_equal(there.x, jumped.x)
    assert np.array_equal(there.y, jumped.y)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_ranks_rows_make_up_the_global_batch(world: int) -> None:
    position = Position(1, 3)
    whole = streams(shuffle_offset=True).at(position)
    parts = [
        streams(shuffle_offset=True, rank=rank, world=world).at(position) for rank in range(world)
    ]
    assert np.array_equal(np.concatenate([p.x for p in parts]), whole.x)
    assert np.array_equal(np.concatenate([p.y for p in parts]), whole.y)


def test_a_batch_that_does_not_divide_among_the_ranks_is_refused() -> None:
    with pytest.raises(ConfigError):
        streams(batch=4, world=3)


def test_too_short_a_text_names_what_it_takes() -> None:
    with pytest.raises(CorpusError, match=r"4 streams of 5 need 21 characters .* there are 20"):
        streams(20)
    assert streams(21).windows == 1


@given(st.lists(st.integers(1, 40), min_size=2, max_size=9), st.booleans(), st.integers(0, 9))
def test_nothing_outside_the_training_ranges_is_ever_read(
    cuts: list[int], turned: bool, epoch: int
) -> None:
    edges = np.cumsum([0, *cuts]).tolist()
    ranges = tuple(zip(edges[::2], edges[1::2], strict=False))
    total = length(ranges)
    if total < 8:
        return
    s = streams(edges[-1], 2, 3, ranges=ranges, shuffle_offset=turned)
    read = {i for w in range(s.windows) for i in s.at(Position(epoch, w)).x.flat}
    read |= {i for w in range(s.windows) for i in s.at(Position(epoch, w)).y.flat}
    assert read <= members(ranges)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=6))
def test_range_map_lists_the_ranges_and_wraps(gaps: list[tuple[int, int]]) -> None:
    ranges, at = [], 0
    for gap, size in gaps:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    positions = [i for start, stop in ranges for i in range(start, stop)]
    line = RangeMap(tuple(ranges))
    assert line.positions(np.arange(2 * line.length)).tolist() == positions * 2


def test_lines_mode_puts_the_lines_in_another_order_each_epoch() -> None:
    records = [f"record {i}\n" for i in range(40)]
    ids = np.frombuffer("".join(records).encode(), np.uint8)
    s = Streams(ids, ((0, len(ids)),), 1, len(ids) - 1, shuffle_offset=False, line_end=10)
    seen = []
    for epoch in range(3):
        window = s.at(Position(epoch, 0))
        text = bytes([*window.x[0], window.y[0, -1]]).decode()
        assert sorted(text.splitlines(keepends=True)) == sorted(records)
        seen.append(text)
    assert len({*seen, "".join(records)}) == 4


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.text.streams.BLOCK", 50)


@pytest.mark.usefixtures("small_blocks")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans())
def test_windows_cut_on_a_device_are_those_cut_here(
    epoch: int, window: int, lines: bool, turned: bool, wide: bool
) -> None:
    ids = (np.arange(140) % 11).astype(np.uint16 if wide else np.uint8)
    ranges = ((3, 60), (70, 131))
    s = Streams(ids, ranges, 4, 5, seed=5, shuffle_offset=turned, line_end=7 if lines else None)
    windows, position = Windows(s, torch.device("cpu")), Position(epoch, window)
    assert max(map(len, s.blocks(epoch))) <= 50
    for _ in range(2):
        for found, wanted in zip(windows.cut(position), windows.at(position), strict=True):
            assert found.dtype == wanted.dtype == torch.int64
            assert torch.equal(found, wanted)
        position = s.after(Position(epoch + 1, s.windows - 1))


@pytest.mark.parametrize(("split_at", "kept"), [(11, 9), (9, 9), (2, 2), (29, 27)])
def test_half_a_record_is_glued_to_none(split_at: int, kept: int) -> None:
    """An epoch is turned: what follows the last line end would come before the first record."""
    ids = np.frombuffer(b"aa\nbb\ncc\nZZ\nYY\ndd\n" * 2, np.uint8)
    s = Streams(ids, ((0, split_at),), 1, 1, line_end=10)
    assert s.windows == kept
    text = bytes(s.at(Position(0, w)).x[0, 0] for w in range(s.windows))
    turned = text[text.rindex(b"\n") + 1 :] + text[: text.rindex(b"\n") + 1] if kept > 2 else text
    assert sorted(turned.splitlines()) == sorted(ids[:kept].tobytes().splitlines())


# --- lanes


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 60)), min_size=1, max_size=6),
    st.integers(1, 9),
    st.integers(0, 12),
    st.integers(1, 20),
)
def test_lanes_count_every_target_once_and_read_what_comes_before(
    gaps: list[tuple[int, int]], wanted: int, warmup: int, window: int
) -> None:
    ranges, at = [], 0
    for gap, size in gaps:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    layout = lanes.lay(tuple(ranges), wanted, warmup)
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
        assert max(start, lane.counted - warmup) == lane.first  # never before its own range
