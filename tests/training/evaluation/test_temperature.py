"""Temperatures fitted on a validation part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.config import ModelConfig
from charrnn.model.network import CharNetwork, State
from charrnn.training.evaluation.temperature import fit_temperature, tempered
from tests.support.networks import drawn_text

V = 7


RANGES = ((0, 5000), (6000, 7000))


class Known:
    """Knows the probabilities of a text drawn at random, and is ``surer`` times as sure."""

    vocab_size, cycle = V, 1

    def __init__(self, surer: float) -> None:
        self.text, probabilities = drawn_text(V, 7000)
        self.logits = torch.tensor(np.log(probabilities) * surer, dtype=torch.float32)

    def zero_state(self, B: int) -> State:
        return ((torch.zeros(B, 0),),)

    def __call__(self, x: Tensor, state: State, *, dtype: Any = None) -> tuple[Tensor, State]:
        return self.logits.expand(*x.shape, V), state


@pytest.mark.parametrize("surer", [0.7, 1.0, 1.3, 2.0])
def test_the_temperature_undoes_what_was_too_sure(surer: float) -> None:
    known = Known(surer)
    assert fit_temperature(known, known.text, RANGES) == pytest.approx(surer, rel=0.05)


def test_a_temperature_beyond_the_grid_is_its_last_value() -> None:
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
