"""Training windows: every character is a target once an epoch, and none of another part is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text.splits import Range, length
from charrnn.text.streams import Position, Streams, Window


def members(ranges: tuple[Range, ...]) -> set[int]:
    return {position for start, stop in ranges for position in range(start, stop)}


def streams(n: int = 121, batch: int = 4, window: int = 5, **more: object) -> Streams:
    settings: dict[str, object] = {"shuffle_offset": False} | more
    ranges = settings.pop("ranges", ((0, n),))
    return Streams(np.arange(n), ranges, batch, window, **settings)  # type: ignore[arg-type]


def test_every_character_is_a_target_once_an_epoch() -> None:
    s = streams()  # 120 targets = 4 x 5 x 6
    targets = Counter(i for w in range(s.windows) for i in s.at(Position(0, w)).y.flat)
    assert targets == Counter(range(1, 121))


def test_a_rotated_text_is_seen_once_an_epoch() -> None:
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


@pytest.mark.parametrize("starts", [(0, 4), (0, 2, 4), (0, 1, 2, 4)])
def test_the_ranks_rows_make_up_the_global_batch(starts: tuple[int, ...]) -> None:
    position = Position(1, 3)
    whole = streams(shuffle_offset=True).at(position)
    rows = [slice(first, stop) for first, stop in pairwise(starts)]
    parts = [streams(shuffle_offset=True, rows=mine).at(position) for mine in rows]
    assert [len(part.x) for part in parts] == [mine.stop - mine.start for mine in rows]
    assert np.array_equal(np.concatenate([p.x for p in parts]), whole.x)
    assert np.array_equal(np.concatenate([p.y for p in parts]), whole.y)


def test_too_short_a_text_names_what_it_takes() -> None:
    said = "training 4 streams of 5 characters takes at least 21 characters, but there are 20;"
    with pytest.raises(CorpusError, match=said):
        streams(20)
    assert streams(21).windows == 1


def test_too_short_a_text_for_a_single_stream() -> None:
    said = (
        "training 1 stream of 5,000 characters takes at least 5,001 characters, but there are 7; "
        "make window smaller"
    )
    with pytest.raises(CorpusError, match=said):
        streams(7, batch=1, window=5000)


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


@pytest.mark.parametrize(("split_at", "kept"), [(11, 9), (9, 9), (2, 2), (29, 27)])
def test_half_a_record_is_dropped(split_at: int, kept: int) -> None:
    """An epoch is turned: what follows the last line end would come before the first record."""
    ids = np.frombuffer(b"aa\nbb\ncc\nZZ\nYY\ndd\n" * 2, np.uint8)
    s = Streams(ids, ((0, split_at),), 1, 1, line_end=10)
    assert s.windows == kept
    text = bytes(s.at(Position(0, w)).x[0, 0] for w in range(s.windows))
    turned = text[text.rindex(b"\n") + 1 :] + text[: text.rindex(b"\n") + 1] if kept > 2 else text
    assert sorted(turned.splitlines()) == sorted(ids[:kept].tobytes().splitlines())
