"""Networks that learn from a text while they are scored on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import charrnn
from charrnn.config import ModelConfig
from charrnn.errors import CorpusError
from charrnn.generation.scoring import score
from charrnn.model.network import CharNetwork
from charrnn.training.evaluation.dynamic import Adaptation, score_and_learn
from charrnn.training.evaluation.loss import evaluate
from tests.support.checkpoints import tiny
from tests.support.networks import drawn_text

V = 7
TEXT = drawn_text(V, 7000)[0]


def small() -> CharNetwork:
    return CharNetwork(ModelConfig(V, embedding=8, hidden=16), seed=3)


def test_without_steps_adapting_is_scoring() -> None:
    text = TEXT[:900]
    still = score_and_learn(small(), text, how=Adaptation(lr=0.0, pull=0.0))
    network = small()
    wanted = score(network.config, network.to_numpy(), text)
    assert still.chars == wanted.chars == 899
    assert still.nats == pytest.approx(wanted.nats, rel=1e-5)
    ranges = ((10, 250), (300, 900))
    parts = score_and_learn(small(), text, ranges, Adaptation(lr=0.0))
    assert parts.chars == 840
    assert parts.nats == pytest.approx(evaluate(small(), text, ranges).nats, rel=1e-5)


def test_a_text_that_repeats_itself_is_learned_while_it_is_read() -> None:
    text = np.tile(np.array([0, 3, 1, 4, 2, 2], np.uint8), 150)
    static = score_and_learn(small(), text, how=Adaptation(lr=0.0))
    adapted = score_and_learn(small(), text, how=Adaptation(window=5, lr=3e-3))
    assert adapted.nats_per_char < 0.75 * static.nats_per_char


def test_a_window_is_scored_before_it_is_learned_from() -> None:
    """The first window's score does not depend on the step that follows it."""
    text, how = TEXT, Adaptation(window=20, lr=0.1)
    first = score_and_learn(small(), text[:21], how=how)
    assert first.nats == score_and_learn(small(), text[:21], how=Adaptation(20, 0.0)).nats
    # and the second one's does
    second = score_and_learn(small(), text[:41], how=how)
    assert second.nats != score_and_learn(small(), text[:41], how=Adaptation(20, 0.0)).nats


def test_nothing_to_adapt_to() -> None:
    with pytest.raises(CorpusError, match="at least two characters"):
        score_and_learn(small(), np.zeros(1, np.uint8))


def test_a_model_is_scored_while_a_copy_of_it_learns() -> None:
    model = charrnn.TextModel(tiny())
    weights = {name: value.copy() for name, value in model.checkpoint.weights.items()}
    ids = model.vocab.encode("the old prince " * 40)
    fast = Adaptation(window=5, lr=3e-3)
    adapted = charrnn.score_adapting(model, ids, how=fast)
    assert adapted.chars == len(ids) - 1
    assert adapted.nats < model.score_ranges(ids).nats
    assert adapted == charrnn.score_adapting(model, ids, how=fast)
    for name, value in model.checkpoint.weights.items():
        assert np.array_equal(value, weights[name])
    parts = charrnn.score_adapting(model, ids, ((10, 50), (100, 120)), Adaptation(lr=0.0))
    still = model.score_ranges(ids, ((10, 50), (100, 120)))
    assert parts.chars == still.chars == 60
    assert parts.nats == pytest.approx(still.nats, rel=1e-5)


def test_the_pull_leads_back_to_the_trained_weights() -> None:
    network, text = small(), TEXT[:400]
    before = network.head.weight.detach().clone()
    score_and_learn(network, text, how=Adaptation(lr=1e-2, pull=1.0))
    assert torch.equal(network.head.weight, before)
