"""A trace is what the network holds while it reads."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn import cells
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, CorpusError
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.scoring import position_nats
from charrnn.insight.traces import longest, trace
from tests.support.checkpoints import META
from tests.support.networks import letters, random_weights


def network(cell: str, layers: int = 2) -> Checkpoint:
    vocab = letters()
    config = ModelConfig(len(vocab), cell=cell, embedding=8, hidden=16, layers=layers)
    return Checkpoint(config, vocab, random_weights(config), META)


@pytest.mark.parametrize("cell", cells.names())
def test_a_trace_is_what_the_engine_holds(cell: str) -> None:
    """Pieces that are read at once begin with a warm-up, by which the state is the carried one."""
    checkpoint, N = network(cell), 1500
    ids = np.random.default_rng(1).integers(0, len(checkpoint.vocab), N)
    found = trace(checkpoint, ids)
    engine, wanted = Engine(checkpoint.config, checkpoint.weights), []
    for index in ids:
        engine.step(np.array([index]))
        # the cell state, an LSTM's, or the hidden state
        held = [np.tanh(parts[1]) if len(parts) == 2 else parts[0] for parts in engine.state]
        wanted.append(np.concatenate(held, axis=1)[0])
    largest = max(1.0, float(np.abs(wanted).max()))
    assert found.units.shape == (N, 32)
    assert np.abs(found.units - np.array(wanted) / largest).max() < 0.02
    nats = position_nats(checkpoint.config, checkpoint.weights, ids)
    assert np.array_equal(found.nats, nats, equal_nan=True)


def test_fewer_characters_are_traced_of_a_very_wide_network() -> None:
    assert longest(ModelConfig(5, hidden=512, layers=3)) == 20_000
    widest = ModelConfig(5, hidden=16_384, layers=8)
    assert longest(widest) * widest.hidden * widest.layers <= 10**8


def test_a_text_of_one_character_has_no_trace() -> None:
    with pytest.raises(CorpusError, match="two characters"):
        trace(network("lstm"), np.array([1]))


def test_numbers_that_overflow_are_said() -> None:
    checkpoint = network("rnn-relu")
    checkpoint.weights["layers.0.weight_hh"][:] = 1e4
    checkpoint.weights["layers.0.bias_ih"][:] = 1e4
    with pytest.raises(CheckpointError, match="overflow"):
        trace(checkpoint, np.arange(20) % 5)
