"""Filling gaps: proposals beside a search through everything that may stand there."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.generation import filling
from charrnn.generation.compiled.cells import UnsupportedCell
from charrnn.generation.filling import BothSides, Filler, OneSide, fill_gaps, joined, log_softmax
from charrnn.generation.halves import halves
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.scoring import position_nats
from tests.support.networks import model, random_weights

V, FIRST = 5, 0
RNG = np.random.default_rng(4)
LEFT, RIGHT = RNG.integers(V, size=40), RNG.integers(V, size=50)
SHAPE = {"embedding": 6, "hidden": 8, "layers": 2}
Texts = NDArray[np.integer[Any]]


def network(seed: int, **settings: Any) -> tuple[ModelConfig, dict[str, Any]]:
    config = model("gru", V, **(SHAPE | settings))
    return config, random_weights(config, seed)


def every(length: int) -> Texts:
    return np.array(list(product(range(V), repeat=length)))


def both_sides() -> BothSides:
    return BothSides(*network(1, bidirectional=True), FIRST)


def after(engine: Engine, ids: Texts) -> Any:
    """The logits after ``ids`` from the zero state."""
    engine.reset()
    return [engine.step(np.array([i]))[0] for i in ids][-1]


def test_a_gap_has_the_product_of_its_characters_probabilities() -> None:
    """Each from what precedes it and, by its distance, from what follows the gap."""
    config, weights = network(1, bidirectional=True)
    ahead, behind = (Engine(*half) for half in halves(config, weights))
    beam = both_sides().named(LEFT, RIGHT, 3)
    for gap, score in list(zip(beam.texts, beam.scores, strict=True))[::9]:
        own = 0.0
        for place, index in enumerate(gap):
            left = np.concatenate((LEFT, gap[:place]))
            right = np.append(RIGHT[::-1], np.full(2 - place, V))  # V: unknown
            logits = after(ahead, left) + after(behind, right)[:V]
            own += log_softmax(logits[None])[0, index]
        assert score == pytest.approx(own, abs=1e-4)


def test_all_that_may_stand_in_a_gap_has_a_probability_of_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filling, "WIDTH", V**3)
    beam = both_sides().named(LEFT, RIGHT, 3)
    assert {tuple(text) for text in beam.texts} == {tuple(text) for text in every(3)}
    assert np.exp(beam.scores).sum() == pytest.approx(1, abs=1e-6)
    assert (np.diff(beam.scores) <= 0).all()
    monkeypatch.setattr(filling, "WIDTH", 40)
    assert np.array_equal(both_sides().named(LEFT, RIGHT, 3).texts[:5], beam.texts[:5])


@pytest.mark.parametrize("at_once", [2**24, V * (40 + 50 + 2) * 7])
def test_proposals_are_ranked_by_their_pseudo_likelihood(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "WIDTH", V**2)
    monkeypatch.setattr(filling, "CONTEXT", 39)
    monkeypatch.setattr(filling, "LOGITS", at_once)
    config, weights = network(1, bidirectional=True)
    proposals = both_sides().propose(LEFT, RIGHT, [2])
    scores = []
    for gap in every(2):
        whole = np.concatenate((LEFT, gap, RIGHT))
        ahead, behind = (Engine(*half) for half in halves(config, weights))
        logits = np.array([ahead.step(whole[t : t + 1])[0] for t in range(len(whole) - 1)])
        back = [behind.step(whole[t : t + 1])[0, :V] for t in range(len(whole) - 1, 1, -1)]
        logits[:-1] += np.array(back[::-1])
        log_p = log_softmax(logits)[np.arange(len(logits)), whole[1:]]
        scores.append(filling.WEIGHT * log_p[: 39 + 2 + 39].sum())
    best = sorted(zip(scores, map(tuple, every(2)), strict=True), reverse=True)
    assert [tuple(p.gaps[0]) for p in proposals] == [gap for _, gap in best]
    found = [p.nats for p in proposals]
    assert found == pytest.approx(np.logaddexp.reduce(scores) - [score for score, _ in best])


@pytest.mark.parametrize("with_reverse", [False, True])
def test_what_one_network_proposes_is_ranked_by_the_whole_text(
    with_reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "WIDTH", V**2)
    monkeypatch.setattr(filling, "CONTEXT", 100)
    forward, reverse = network(1), network(2, reverse=True) if with_reverse else None
    proposals = OneSide(forward, reverse, FIRST).propose(LEFT, RIGHT, [2])
    assert sum(np.exp(-p.nats) for p in proposals) == pytest.approx(1)
    scores = []
    for gap in every(2):
        whole = np.concatenate((LEFT, gap, RIGHT))
        nats = float(position_nats(*forward, whole)[0][len(LEFT) :].sum())
        if reverse is not None:
            back = position_nats(*reverse, whole[::-1].copy())[0][len(RIGHT) :]
            nats = (nats + float(back.sum())) / 2
        scores.append(-nats)
    best = sorted(zip(scores, map(tuple, every(2)), strict=True), reverse=True)
    assert [tuple(p.gaps[0]) for p in proposals[:10]] == [gap for _, gap in best[:10]]
    gaps = proposals[0].nats - proposals[9].nats
    assert gaps == pytest.approx(best[9][0] - best[0][0], abs=1e-3)


@pytest.mark.parametrize("filler", [both_sides(), OneSide(network(1), network(2), FIRST)])
def test_a_gap_may_be_at_an_end_of_the_text_or_be_all_of_it(filler: Filler) -> None:
    none = LEFT[:0]
    for left, right in ((none, RIGHT), (LEFT, none), (none, none)):
        best = filler.propose(left, right, [2])[0]
        assert len(best.gaps[0]) == 2
        assert np.isfinite(best.nats)


@pytest.mark.parametrize("filler", [both_sides(), OneSide(network(1), network(2), FIRST)])
def test_a_gap_of_free_length_is_filled_with_each_length(filler: Filler) -> None:
    proposals = filler.propose(LEFT, RIGHT, [1, 2, 4])
    assert {len(p.gaps[0]) for p in proposals} == {1, 2, 4}
    assert [p.nats for p in proposals] == sorted(p.nats for p in proposals)


def test_a_long_proposal_must_be_better_named_than_a_short_one() -> None:
    filler = both_sides()
    texts = [np.array([[1, 2]]), np.array([[1, 2, 3]])]
    before = [filler.scores(LEFT, text, RIGHT)[0] for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "COST", 0.0)
        free = [filler.scores(LEFT, text, RIGHT)[0] for text in texts]
    lost = np.array(free) - before
    assert lost == pytest.approx(filling.WEIGHT * filling.COST * np.array([2, 3]))


def test_several_gaps_are_filled_one_after_the_other() -> None:
    filler, pieces = both_sides(), [LEFT, RIGHT[:3], RIGHT[3:]]
    found = fill_gaps(filler, pieces, [(2,), (1,)], 4)
    assert len(found) == 4
    first = {tuple(p.gaps[0]): p.nats for p in filler.propose(LEFT, RIGHT[:3], [2])}
    for proposal in found:
        one, two = proposal.gaps
        left = np.concatenate((LEFT, one, RIGHT[:3]))
        second = {tuple(p.gaps[0]): p.nats for p in filler.propose(left, RIGHT[3:], [1])}
        assert proposal.nats == pytest.approx(first[tuple(one)] + second[tuple(two)], abs=1e-6)
    text = joined(pieces, found[0].gaps)
    assert len(text) == len(LEFT) + len(RIGHT) + 3


def test_numbers_that_overflow_are_an_error() -> None:
    def broken(**settings: Any) -> tuple[ModelConfig, dict[str, Any]]:
        config, weights = network(1, **settings)
        weights["head.weight"] = np.full_like(weights["head.weight"], 3e38)
        return config, weights

    for filler in (
        BothSides(*broken(bidirectional=True), FIRST),
        OneSide(broken(), None, FIRST),
        OneSide(network(1), broken(), FIRST),
    ):
        with pytest.raises(CheckpointError, match="numbers overflow"):
            filler.propose(LEFT, RIGHT, [2])


def test_no_engine_reads_both_sides_as_if_it_read_one() -> None:
    config, weights = network(1, bidirectional=True)
    said = r"cannot predict what follows a text; charrnn.fill\(\) fills gaps"
    with pytest.raises(CheckpointError, match=said):
        Engine(config, weights)
    compiled = pytest.importorskip(
        "charrnn.generation.compiled.engine", reason="numba is not installed"
    ).CompiledEngine
    with pytest.raises(UnsupportedCell, match="reads in one direction"):
        compiled(config, weights)
