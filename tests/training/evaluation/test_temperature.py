"""Temperatures fitted on a validation part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.config import ModelConfig
from charrnn.model.network import CharNetwork, State
from charrnn.training.evaluation import temperature
from charrnn.training.evaluation.temperature import enough_to_fit, fit_temperature, tempered
from tests.support.networks import drawn_text

V = 7


RANGES = ((0, 5000), (6000, 7000))


class Known:
    """Knows the probabilities of a text drawn at random, and is ``surer`` times as sure."""

    vocab_size, cycle, output_width = V, 1, 1

    def __init__(self, surer: float) -> None:
        self.text, probabilities = drawn_text(V, 7000)
        self.table = torch.tensor(np.log(probabilities) * surer, dtype=torch.float32)

    def zero_state(self, B: int) -> State:
        return ((torch.zeros(B, 0),),)

    def outputs(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return x[..., None], state

    def logits(self, outputs: Tensor) -> Tensor:
        return self.table.expand(len(outputs), V)


@pytest.mark.parametrize("surer", [0.7, 1.0, 1.3, 2.0])
def test_the_temperature_undoes_what_was_too_sure(surer: float) -> None:
    known = Known(surer)
    assert fit_temperature(known, known.text, RANGES) == pytest.approx(surer, rel=0.05)


def test_a_temperature_beyond_the_grid_is_its_last_value() -> None:
    known = Known(50.0)
    assert fit_temperature(known, known.text, RANGES) == pytest.approx(2 ** (10 / 8))


def test_a_large_vocabulary_fits_on_fewer_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is that of a small one: each character has a logit for every other one."""
    read = []

    class Counted(Known):
        def logits(self, outputs: Tensor) -> Tensor:
            read.append(len(outputs))
            return super().logits(outputs)

    known = Counted(1.3)
    assert enough_to_fit(RANGES, V) == RANGES
    fit_temperature(known, known.text, RANGES)
    assert sum(read) == 5999
    read.clear()
    monkeypatch.setattr(temperature, "LOGITS", 2000 * V)
    some = enough_to_fit(RANGES, V)
    assert fit_temperature(known, known.text, some) == pytest.approx(1.3, rel=0.1)
    assert 1500 < sum(read) <= 2000


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
