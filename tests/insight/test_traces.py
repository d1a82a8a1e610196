"""A trace is what the network holds while it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn import cells
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, CorpusError
from charrnn.generation import scoring
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.scoring import position_nats
from charrnn.insight.api import insight_page
from charrnn.insight.traces import longest, trace
from charrnn.text import lanes
from charrnn.textmodel import TextModel
from tests.support.checkpoints import META
from tests.support.networks import CELLS, letters, random_weights


def network(cell: str, layers: int = 2) -> Checkpoint:
    vocab = letters()
    which = CELLS.get(cell, {"cell": cell})
    sizes = {"embedding": 8, "hidden": 16, "layers": layers}
    config = ModelConfig.from_dict({"vocab_size": len(vocab)} | which | sizes)
    return Checkpoint(config, vocab, random_weights(config), META)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("most", [0, 1e12])
def test_a_trace_is_what_the_engine_holds(
    cell: str, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one pass, or in pieces that are joined."""
    monkeypatch.setattr(scoring, "ONE_PASS", most)
    monkeypatch.setattr(lanes, "LEAST", 512)
    checkpoint, N = network(cell), 1500
    ids = np.random.default_rng(1).integers(0, len(checkpoint.vocab), N)
    found = trace(checkpoint, ids)
    engine, wanted = Engine(checkpoint.config, checkpoint.weights), []
    for index in ids:
        engine.step(np.array([index]))
        # the cell state, an LSTM's, the output, of Jordan's network, or the first part of the state
        is_lstm = cell == "lstm"
        held = [np.tanh(parts[1]) if is_lstm else parts[0] for parts in engine.state]
        held = held if cell != "jordan" else engine.outputs
        wanted.append(np.concatenate(held, axis=1)[0])
    largest = max(1.0, float(np.abs(wanted).max()))
    assert found.units.shape == (N, len(wanted[0]))
    assert np.abs(found.units - np.array(wanted) / largest).max() < 1e-3
    nats, _ = position_nats(checkpoint.config, checkpoint.weights, ids)
    np.testing.assert_allclose(found.nats, nats, atol=1e-6)


def test_fewer_characters_are_traced_of_a_very_wide_network() -> None:
    assert longest(ModelConfig(5, hidden=512, layers=3)) == 20_000
    widest = ModelConfig(5, hidden=16_384, layers=8)
    assert longest(widest) * widest.hidden * widest.layers <= 10**8


def test_a_state_of_another_name_and_width_is_traced() -> None:
    """A registered cell need have neither a part ``h`` nor one as wide as the hidden size."""

    def step(xp: cells.Namespace, z: Any, state: Any, w: cells.Weights) -> Any:
        (slow,) = state
        slow = 0.9 * slow + 0.1 * xp.tanh(z + xp.linear(slow, w.weight_ss))
        return slow, (slow,)

    def parameters(inputs: int, hidden: int) -> cells.Shapes:
        return {"weight_ih": (8, inputs), "bias_ih": (8,), "weight_ss": (8, 8)}

    cell = cells.Cell(
        "slow",
        step,
        parameters=parameters,
        state_widths=lambda hidden: {"slow": 8},
        output_width=lambda hidden: 8,
        recurrent=("weight_ss",),
    )
    cells.register(cell)
    try:
        checkpoint, ids = network("slow"), np.arange(300) % 5
        found = trace(checkpoint, ids)
        engine = Engine(checkpoint.config, checkpoint.weights)
        engine.feed(ids)
        last = np.concatenate([slow for (slow,) in engine.state], axis=1)
        assert (found.units.shape, found.width) == ((300, 16), 8)
        assert np.abs(found.units[-1] - last).max() < 1e-3
        assert "<h2>What single units follow</h2>" in insight_page(
            TextModel(checkpoint), "abc " * 99
        )
    finally:
        cells.unregister("slow")


def test_a_text_of_one_character_has_no_trace() -> None:
    with pytest.raises(CorpusError, match="two characters"):
        trace(network("lstm"), np.array([1]))


def test_numbers_that_overflow_are_said() -> None:
    checkpoint = network("rnn-relu")
    checkpoint.weights["layers.0.weight_hh"][:] = 1e4
    checkpoint.weights["layers.0.bias_ih"][:] = 1e4
    with pytest.raises(CheckpointError, match="overflow"):
        trace(checkpoint, np.arange(20) % 5)
