"""Pieces that are read side by side give what one pass gives, or say how far they are from it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn.text import lanes
from charrnn.text.lanes import Reader, Result, read
from charrnn.text.pieces import BLOCK, cut, is_marked

N = 40 * BLOCK
TEXT = np.random.default_rng(1).integers(0, 50, N)


class Memory(Reader):
    """A reader whose state is a decaying sum of the characters, and whose loss is that state.

    A state that was reset by character 0 forgets everything at once.
    """

    def __init__(self, decay: float = 0.9, text: NDArray[np.int64] = TEXT) -> None:
        self.decay, self.text = decay, text
        self.zero = np.zeros(2, np.float32)
        self.held = np.zeros((0, 2), np.float32)
        self.nats = np.full(len(text), np.nan, np.float32)
        self.read_chars, self.widest = 0, 0

    def begin(self, states: NDArray[np.float32]) -> None:
        self.held, self.widest = states.copy(), max(self.widest, len(states))

    def read(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> NDArray[np.float32]:
        nats = np.zeros(targets.shape, np.float32)
        for t in range(targets.shape[1]):
            x = self.text[targets[:, t] - 1].astype(np.float32)
            self.held = self.held * np.float32(self.decay) + x[:, None] * np.float32(0.01)
            self.held[x == 0] = 0
            nats[:, t] = np.where(counted[:, t], self.held[:, 0], 0)
        self.nats[targets[counted]] = nats[counted]
        self.read_chars += targets.size
        return nats

    def states(self) -> NDArray[np.float32]:
        return self.held


def straight(decay: float, ranges: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """The losses of one pass through each range."""
    reader = Memory(decay)
    read(reader, ranges, 1, least=N)
    return reader.nats


class Ahead(Memory):
    """Starts a block before the one before it is recorded, as long as no lane can end."""

    ahead = True

    def start(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> Result:
        started = super().start(targets, counted)
        self.open = getattr(self, "open", 0) + 1
        self.most_open = max(getattr(self, "most_open", 0), self.open)

        def result() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            self.open -= 1
            return started()

        return result


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("stop", [N, N - 100, 3 * BLOCK])
def test_starting_blocks_ahead_changes_nothing(decay: float, stop: int) -> None:
    ranges = ((0, stop // 2), (stop // 2 + 5, stop))
    usual, ahead = Memory(decay), Ahead(decay)
    readings = [read(reader, ranges, 6, least=4 * BLOCK) for reader in (usual, ahead)]
    assert readings[0] == readings[1]
    assert np.array_equal(usual.nats, ahead.nats, equal_nan=True)
    assert ahead.read_chars == usual.read_chars
    assert (ahead.open, ahead.most_open) == (0, 2)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("wanted", [2, 5, 9])
def test_pieces_are_joined_within_the_bound_that_is_stated(decay: float, wanted: int) -> None:
    reader = Memory(decay)
    reading = read(reader, ((0, N),), wanted, least=4 * BLOCK)
    exact = straight(decay, ((0, N),))
    assert 0 < reading.error <= 4e-4
    assert np.isnan(reader.nats[0])
    assert np.abs(reader.nats - exact)[1:].max() <= reading.error
    assert reading.nats == pytest.approx(exact[1:].sum(dtype=float), abs=N * 1e-6)
    assert reading.chars == N - 1
    assert reader.widest <= wanted


def test_what_never_meets_is_read_in_one_pass() -> None:
    """A sum of everything depends on every character before: the result is exact, to the bit."""
    text = np.where(TEXT == 0, 1, TEXT)
    reader, one = Memory(1.0, text), Memory(1.0, text)
    reading = read(reader, ((0, N),), 8, least=4 * BLOCK)
    wanted = read(one, ((0, N),), 1, least=N)
    assert reading.error == wanted.error == 0
    assert np.array_equal(reader.nats, one.nats, equal_nan=True)
    assert reading.nats == pytest.approx(wanted.nats, rel=1e-12)
    # not every round reads every piece again
    assert reader.read_chars < 4 * N


def test_a_unit_that_remembers_for_thousands_of_characters_is_waited_for() -> None:
    """It is reset once in 10 blocks, and until then every loss is off."""
    text = np.where(TEXT == 0, 1, TEXT)
    text[:: 10 * BLOCK] = 0
    reader, one = Memory(1.0, text), Memory(1.0, text)
    reading = read(reader, ((0, N),), 8, least=4 * BLOCK)
    read(one, ((0, N),), 1, least=N)
    assert reading.error > 0
    assert np.array_equal(reader.nats, one.nats, equal_nan=True)


def test_states_that_are_no_numbers_never_meet() -> None:
    class Broken(Memory):
        def states(self) -> NDArray[np.float32]:
            return np.full_like(self.held, np.nan)

    assert read(Broken(), ((0, N),), 8, least=4 * BLOCK).error == 0


def test_losses_that_differ_keep_states_from_meeting() -> None:
    """The state may be near, and still the losses that follow from it differ."""

    class Steep(Memory):
        def read(
            self, targets: NDArray[np.int64], counted: NDArray[np.bool_]
        ) -> NDArray[np.float32]:
            return super().read(targets, counted) * np.float32(1e4)

    reader, one = Steep(0.995), Steep(0.995)
    reading = read(reader, ((0, N),), 4, least=8 * BLOCK)
    wanted = read(one, ((0, N),), 1, least=N)
    assert reading.error <= 4e-4
    assert reading.nats == pytest.approx(wanted.nats, abs=N * reading.error)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5 * BLOCK)), min_size=1, max_size=6),
    st.integers(1, 9),
    st.integers(1, 2 * BLOCK),
)
def test_every_target_of_every_range_is_read_once_and_for_all(
    gaps: list[tuple[int, int]], wanted: int, least: int
) -> None:
    ranges, at = [], 0
    for gap, size in gaps:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    pieces = cut(tuple(ranges), wanted, least)
    expected = {i for start, stop in ranges for i in range(max(start, 1), stop)}
    assert [i for piece in pieces for i in range(piece.first, piece.stop)] == sorted(expected)
    for one, other in pairwise(pieces):
        assert one.carried == (other.before is one)
        assert not one.carried or one.length % BLOCK == 0
    reader = Memory(0.5)
    reading = read(reader, tuple(ranges), wanted, least)
    assert set(np.flatnonzero(~np.isnan(reader.nats)).tolist()) == expected
    assert reading.chars == len(expected)
    assert reader.widest <= (wanted if any(piece.carried for piece in pieces) else lanes.MOST)
    exact = straight(0.5, tuple(ranges))
    np.testing.assert_allclose(reader.nats, exact, atol=4e-4)
    assert reading.nats == pytest.approx(reader.nats[sorted(expected)].sum(dtype=float), abs=1e-3)


def test_many_short_texts_are_read_by_the_hundred() -> None:
    """Records: each begins with the zero state, and none is cut."""
    ranges = tuple((start, start + 10) for start in range(0, N, 10))
    reader = Memory()
    reading = read(reader, ranges, 4)
    assert reader.widest == lanes.MOST
    assert reading.error == 0
    assert reading.chars == N - 1
    assert reading.nats == pytest.approx(reader.nats[1:].sum(dtype=float), rel=1e-6)


def test_a_long_text_keeps_few_states() -> None:
    """One for each block at first, then fewer and fewer."""
    marked = [block for block in range(1, 4097) if is_marked(block * BLOCK)]
    assert marked[:15] == list(range(1, 16))
    assert len(marked) < 100
    assert max(b / a for a, b in pairwise(marked[8:])) <= 1.2
