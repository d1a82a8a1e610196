"""Nats a character: the lanes against straight through, and both against the formula."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.errors import CorpusError
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.scoring import position_nats, score
from tests.support.networks import random_weights

CONFIG = ModelConfig(20, embedding=12, hidden=24)
WEIGHTS = random_weights(CONFIG)
IDS = np.random.default_rng(5).integers(0, 20, 700).astype(np.uint8)


def obvious_nats(ids: np.ndarray, temperature: float = 1.0) -> list[float]:
    """One character after the other, in float64."""
    engine, nats = Engine(CONFIG, WEIGHTS), []
    for here, after in itertools.pairwise(ids):
        logits = engine.step(np.array([here]))[0].astype(np.float64) / temperature
        nats.append(float(np.log(np.exp(logits).sum()) - logits[after]))
    return nats


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_exact_score_is_the_formula(temperature: float) -> None:
    result = score(CONFIG, WEIGHTS, IDS, lanes=1, temperature=temperature)
    assert result.chars == 699
    assert math.isclose(result.nats, sum(obvious_nats(IDS, temperature)), rel_tol=1e-6)
    assert math.isclose(result.bits_per_char, result.nats / 699 / math.log(2))
    assert math.isclose(result.perplexity, math.exp(result.nats_per_char))


def test_lanes_agree_after_warming_up() -> None:
    exact = position_nats(CONFIG, WEIGHTS, IDS, lanes=1)
    lanes = position_nats(CONFIG, WEIGHTS, IDS, lanes=7, warmup=64)
    assert np.isnan(exact[0])
    assert np.isnan(lanes[0])
    np.testing.assert_allclose(lanes[1:], exact[1:], atol=1e-4)
    cold = position_nats(CONFIG, WEIGHTS, IDS, lanes=7, warmup=0)
    assert np.abs(cold[1:] - exact[1:]).max() > 1e-3


def test_ranges_start_from_nothing() -> None:
    ranges = ((0, 100), (300, 301), (350, 500))
    result = score(CONFIG, WEIGHTS, IDS, ranges=ranges, lanes=1)
    parts = [obvious_nats(IDS[max(start - 1, 0) : stop]) for start, stop in ranges]
    assert result.chars == 99 + 1 + 150
    assert math.isclose(result.nats, sum(map(sum, parts)), rel_tol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 120), min_size=2, max_size=8).map(sorted),
    st.integers(1, 9),
    st.integers(0, 30),
)
def test_every_character_is_counted_once(cuts: list[int], lanes: int, warmup: int) -> None:
    ranges = tuple(itertools.pairwise(cuts))
    expected = np.zeros(120, bool)
    for start, stop in ranges:
        expected[max(start, 1) : stop] = True
    if not expected.any():
        with pytest.raises(CorpusError):
            score(CONFIG, WEIGHTS, IDS[:120], ranges=ranges)
        return
    nats = position_nats(CONFIG, WEIGHTS, IDS[:120], ranges=ranges, lanes=lanes, warmup=warmup)
    assert (~np.isnan(nats) == expected).all()


def test_too_short_a_text() -> None:
    with pytest.raises(CorpusError):
        score(CONFIG, WEIGHTS, IDS[:1])
    with pytest.raises(ValueError, match="temperature"):
        score(CONFIG, WEIGHTS, IDS, temperature=0)


def test_a_part_of_a_long_text_takes_memory_for_the_part_alone() -> None:
    ids = np.zeros(20_000_000, np.uint8)
    score(CONFIG, WEIGHTS, ids[:500])  # what is made once
    tracemalloc.start()
    try:
        assert score(CONFIG, WEIGHTS, ids, ranges=((9_000_000, 9_000_500),)).chars == 500
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
