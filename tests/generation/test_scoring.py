"""Nats a character: joined pieces against one pass, and both against the formula."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from charrnn import interrupts
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, CorpusError, Interrupted
from charrnn.generation import scoring
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.scoring import position_nats, score
from charrnn.text import lanes
from tests.support.networks import random_weights

CONFIG = ModelConfig(20, embedding=12, hidden=24)
WEIGHTS = random_weights(CONFIG)
IDS = np.random.default_rng(5).integers(0, 20, 700).astype(np.uint8)
LONG = np.random.default_rng(7).integers(0, 20, 4000).astype(np.uint8)


def obvious_nats(ids: np.ndarray, temperature: float = 1.0) -> list[float]:
    """One character after the other, in float64."""
    engine, nats = Engine(CONFIG, WEIGHTS), []
    for here, after in itertools.pairwise(ids):
        logits = engine.step(np.array([here]))[0].astype(np.float64) / temperature
        nats.append(float(np.log(np.exp(logits).sum()) - logits[after]))
    return nats


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of some thousand characters are read in pieces."""
    monkeypatch.setattr(scoring, "ONE_PASS", 0)
    monkeypatch.setattr(lanes, "LEAST", 768)


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_exact_score_is_the_formula(temperature: float) -> None:
    result = score(CONFIG, WEIGHTS, IDS, exact=True, temperature=temperature)
    assert result.chars == 699
    assert result.error_bound == 0
    assert math.isclose(result.nats, sum(obvious_nats(IDS, temperature)), rel_tol=1e-6)
    assert math.isclose(result.bits_per_char, result.nats / 699 / math.log(2))
    assert math.isclose(result.perplexity, math.exp(result.nats_per_char))


def test_a_short_text_is_read_in_one_pass() -> None:
    assert score(CONFIG, WEIGHTS, IDS).error_bound == 0


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("kind", ["weights", "numpy", "compiled"])
def test_every_character_in_pieces_is_within_the_stated_bound_of_one_pass(kind: str) -> None:
    engine: Any = WEIGHTS
    if kind == "numpy":
        engine = Engine(CONFIG, WEIGHTS)
    elif kind == "compiled":
        compiled = pytest.importorskip(
            "charrnn.generation.compiled.engine", reason="numba is not installed"
        )
        engine = compiled.CompiledEngine(CONFIG, WEIGHTS)
    exact, whole = position_nats(CONFIG, engine, LONG, exact=True)
    joined, stated = position_nats(CONFIG, engine, LONG)
    assert whole.error_bound == 0 < stated.error_bound <= 4e-4
    assert np.isnan(exact[0])
    assert np.isnan(joined[0])
    assert np.abs(joined - exact)[1:].max() <= stated.error_bound
    assert stated.nats == pytest.approx(joined[1:].sum(dtype=float), rel=1e-9)
    assert stated.nats_per_char == pytest.approx(whole.nats_per_char, abs=1e-6)


@pytest.mark.usefixtures("pieces")
def test_a_network_that_never_forgets_is_read_in_one_pass() -> None:
    """Its forget gates are open and its cells count: no state meets that of another beginning."""
    weights = {name: value.copy() for name, value in WEIGHTS.items()}
    bias = weights["layers.0.bias_ih"]
    bias[24:48], weights["layers.0.weight_hh"][24:48] = 50.0, 0.0
    weights["layers.0.weight_ih"][24:48] = 0.0
    exact, _ = position_nats(CONFIG, weights, LONG, exact=True)
    joined, stated = position_nats(CONFIG, weights, LONG)
    assert stated.error_bound == 0
    np.testing.assert_allclose(joined[1:], exact[1:], atol=1e-4)


def test_ranges_start_from_nothing() -> None:
    ranges = ((0, 100), (300, 301), (350, 500))
    result = score(CONFIG, WEIGHTS, IDS, ranges=ranges)
    parts = [obvious_nats(IDS[max(start - 1, 0) : stop]) for start, stop in ranges]
    assert result.chars == 99 + 1 + 150
    assert math.isclose(result.nats, sum(map(sum, parts)), rel_tol=1e-6)


@pytest.mark.usefixtures("pieces")
def test_ranges_in_pieces_are_those_in_one_pass() -> None:
    ranges = ((0, 1100), (1300, 1301), (1350, 2999))
    exact = score(CONFIG, WEIGHTS, LONG, ranges=ranges, exact=True)
    joined = score(CONFIG, WEIGHTS, LONG, ranges=ranges)
    assert exact.chars == joined.chars == 1099 + 1 + 1649
    assert joined.error_bound > 0
    assert joined.nats == pytest.approx(exact.nats, abs=1e-6 * exact.chars)


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


@pytest.mark.usefixtures("pieces")
def test_a_signal_ends_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_received", 15)
    with pytest.raises(Interrupted):
        score(CONFIG, WEIGHTS, IDS)


def test_overflow_names_the_character() -> None:
    weights = WEIGHTS | {"head.bias": np.full(20, np.nan, np.float32)}
    with pytest.raises(CheckpointError, match="overflow at character 1 "):
        score(CONFIG, weights, IDS)
