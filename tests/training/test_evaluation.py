"""Temperatures fitted on a validation part, and networks that learn while they are scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.config import ModelConfig
from charrnn.generation.scoring import score
from charrnn.model.network import CharNetwork
from charrnn.training.evaluation.dynamic import Adaptation, score_adapting
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.evaluation.temperature import fit_temperature, tempered

V = 7
RANGES = ((0, 5000), (6000, 7000))


class Known:
    """Knows the probabilities of a text drawn at random, and is ``surer`` times as sure."""

    vocab_size = V

    def __init__(self, surer: float) -> None:
        probabilities = np.random.default_rng(1).dirichlet(np.ones(V))
        self.text = np.random.default_rng(2).choice(V, 7000, p=probabilities).astype(np.uint8)
        self.logits = torch.tensor(np.log(probabilities) * surer, dtype=torch.float32)

    def zero_state(self, B: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, B, 0), torch.zeros(1, B, 0)

    def __call__(self, x: Tensor, state: Any, *, dtype: Any = None) -> tuple[Tensor, Any]:
        return self.logits.expand(*x.shape, V), state


@pytest.mark.parametrize("surer", [0.7, 1.0, 1.3, 2.0])
def test_the_temperature_undoes_what_was_too_sure(surer: float) -> None:
    known = Known(surer)
    assert fit_temperature(known, known.text, RANGES) == pytest.approx(surer, rel=0.05)


def test_a_temperature_beyond_the_row_is_its_end() -> None:
    known = Known(50.0)
    assert fit_temperature(known, known.text, RANGES) == pytest.approx(2 ** (10 / 8))


def test_nothing_to_fit_on() -> None:
    known = Known(1.0)
    with pytest.raises(ValueError, match="nothing"):
        fit_temperature(known, known.text, ())


def test_tempered_weights_divide_the_logits() -> None:
    network = CharNetwork(ModelConfig(V, hidden=16))
    weights, x = network.to_numpy(), torch.arange(V)[None]
    before, _ = network(x, network.zero_state(1))
    network.load_numpy(tempered(weights, 1.25))
    after, _ = network(x, network.zero_state(1))
    assert torch.allclose(after, before / 1.25, atol=1e-6)


def small() -> CharNetwork:
    return CharNetwork(ModelConfig(V, embedding=8, hidden=16), seed=3)


def test_without_steps_adapting_is_scoring() -> None:
    text = Known(1.0).text[:900]
    still = score_adapting(small(), text, how=Adaptation(lr=0.0, pull=0.0))
    network = small()
    wanted = score(network.config, network.to_numpy(), text)
    assert still.chars == wanted.chars == 899
    assert still.nats == pytest.approx(wanted.nats, rel=1e-5)
    ranges = ((10, 250), (300, 900))
    parts = score_adapting(small(), text, ranges, Adaptation(lr=0.0))
    assert parts.chars == 840
    assert parts.nats == pytest.approx(evaluate(small(), text, ranges).nats, rel=1e-5)


def test_a_text_that_repeats_itself_is_learned_while_it_is_read() -> None:
    text = np.tile(np.array([0, 3, 1, 4, 2, 2], np.uint8), 150)
    static = score_adapting(small(), text, how=Adaptation(lr=0.0))
    adapted = score_adapting(small(), text, how=Adaptation(window=5, lr=3e-3))
    assert adapted.nats_per_char < 0.75 * static.nats_per_char


def test_a_window_is_scored_before_it_is_learned_from() -> None:
    """The first window's score does not depend on the step that follows it."""
    text, how = Known(1.0).text, Adaptation(window=20, lr=0.1)
    first = score_adapting(small(), text[:21], how=how)
    assert first.nats == score_adapting(small(), text[:21], how=Adaptation(20, 0.0)).nats
    # and the second one's does
    second = score_adapting(small(), text[:41], how=how)
    assert second.nats != score_adapting(small(), text[:41], how=Adaptation(20, 0.0)).nats


def test_nothing_to_adapt_to() -> None:
    with pytest.raises(ValueError, match="nothing"):
        score_adapting(small(), np.zeros(1, np.uint8))


def test_the_pull_leads_back() -> None:
    network, text = small(), Known(1.0).text[:400]
    before = network.head.weight.detach().clone()
    score_adapting(network, text, how=Adaptation(lr=1e-2, pull=1.0))
    assert torch.equal(network.head.weight, before)
