"""The NumPy engine against torch, and against itself with other numbers of streams."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.generation.numpy_engine import Engine, Weights
from charrnn.generation.sample_config import SampleConfig
from charrnn.model.network import CharNetwork
from tests.support.checkpoints import ROOT
from tests.support.networks import CELLS, model, random_weights


def small(cell: str = "lstm", layers: int = 2, **changes: Any) -> ModelConfig:
    return model(cell, 31, **({"embedding": 24, "hidden": 48, "layers": layers} | changes))


def torch_logits(
    config: ModelConfig, weights: dict[str, NDArray[np.float32]], ids: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits ``(T, V)`` over ``ids (T,)``: of torch's own modules, or else of our network."""
    rectified = partial(torch.nn.RNN, nonlinearity="relu")
    modules: dict[str, Callable[[int, int], torch.nn.Module]] = {
        "lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN,
        "rnn-relu": rectified, "irnn": rectified,
    }  # fmt: skip
    if config.definition.name not in modules:
        network = CharNetwork(config)
        network.load_numpy(weights)
        with torch.no_grad():
            ours, _ = network(torch.from_numpy(ids)[None], network.zero_state(1))
        found: NDArray[np.float32] = ours[0].numpy()
        return found
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    y = tensors["embedding.weight"][torch.from_numpy(ids)]
    outputs = []
    for layer in range(config.layers):
        sizes = (config.embedding if layer == 0 else config.hidden, config.hidden)
        module = modules[config.definition.name](*sizes)
        parts = {
            f"{name}_l0": tensors[f"layers.{layer}.{name}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        module.load_state_dict(parts)
        with torch.no_grad():
            y, _ = module(y)
        outputs.append(y)
    features = torch.stack(outputs).sum(0) if config.sum_layers else y
    logits = features @ tensors["head.weight"].T + tensors["head.bias"]
    return logits.numpy()


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_logits_are_those_of_torch(cell: str, layers: int) -> None:
    config = small(cell, layers, sum_layers=layers == 3)
    weights = random_weights(config)
    if not config.definition.bounded:
        # nothing else keeps a rectifier from growing, or logits of an SCRN near 1
        weights = {n: v * np.float32(0.5) for n, v in weights.items()}
    ids = np.random.default_rng(1).integers(0, 31, 1000)
    engine = Engine(config, weights)
    mine = np.array([engine.step(ids[t : t + 1])[0].copy() for t in range(1000)])
    np.testing.assert_allclose(mine, torch_logits(config, weights, ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("form", "least", "most"), [("float16", 1e-6, 0.02), ("int8", 1e-4, 0.3)])
@pytest.mark.parametrize("cell", CELLS)
def test_rounded_weights_change_logits_a_little(
    cell: str, form: str, least: float, most: float
) -> None:
    config = small(cell)
    weights = {n: v * np.float32(0.5) for n, v in random_weights(config).items()}
    exact = Engine(config, weights)
    rounded = Engine(config, Weights.prepare(config, weights).quantized(form))
    furthest = max(
        float(np.abs(rounded.step(ids) - exact.step(ids)).max())
        for ids in np.random.default_rng(4).integers(0, 31, (200, 1))
    )
    assert least < furthest < most


@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_does_not_depend_on_the_number_of_streams(cell: str) -> None:
    config = small(cell, 2, hidden=40)
    weights = random_weights(config)
    ids = np.random.default_rng(2).integers(0, 31, (20, 9))
    nine, one = Engine(config, weights, 9), Engine(config, weights)
    logits = [nine.step(row).copy() for row in ids]
    for stream in (0, 4, 8):
        one.reset()
        for row, many in zip(ids, logits, strict=True):
            assert (one.step(row[stream : stream + 1])[0] == many[stream]).all()


@pytest.mark.parametrize("cell", CELLS)
def test_together_is_the_same_but_for_rounding(cell: str) -> None:
    config = small(cell)
    apart, batched = (
        Engine(config, random_weights(config), 5, batched=flag) for flag in (False, True)
    )
    for ids in np.random.default_rng(3).integers(0, 31, (50, 5)):
        assert np.abs(apart.step(ids) - batched.step(ids)).max() < 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_state_goes_out_and_in(cell: str) -> None:
    config = small(cell)
    engine = Engine(config, random_weights(config), 3)
    engine.feed(np.arange(10))
    state = engine.state
    widths = config.state_widths.values()
    assert [[part.shape for part in layer] for layer in state] == [[(3, w) for w in widths]] * 2
    after = engine.step(np.array([1, 2, 3])).copy()
    other = engine.sibling(3)
    other.state = state
    assert (other.step(np.array([1, 2, 3])) == after).all()
    engine.reset(np.array([True, False, True]))
    for part in (part for layer in engine.state for part in layer):
        assert not part[[0, 2]].any()
        assert part[1].any()


def test_generate_is_step_and_choose() -> None:
    config = small()
    engine = Engine(config, random_weights(config), 2)
    ids = engine.generate(np.array([3, 4]), np.zeros((6, 2)), SampleConfig(temperature=0))
    again = engine.sibling(2)
    last = np.array([3, 4])
    for row in ids:
        last = again.step(last).argmax(axis=-1)
        assert (row == last).all()


def test_bad_weights_are_named() -> None:
    config = small()
    weights = random_weights(config)
    with pytest.raises(ValueError, match=r"head\.bias"):
        Engine(config, weights | {"head.bias": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="streams"):
        Engine(config, weights, 0)


def test_the_room_never_imports_torch() -> None:
    program = """
import sys
import numpy as np
from charrnn.config import ModelConfig
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.generator import Generator
from charrnn.generation.factory import open_engine
from charrnn.generation.scoring import score
from tests.support.networks import letters, random_weights
vocab = letters()
config = ModelConfig(len(vocab), hidden=32)
weights = random_weights(config)
texts = Generator(vocab, Engine(config, weights), SampleConfig(length=20, count=2)).texts()
assert [len(text) for text in texts] == [20, 20]
score(config, weights, vocab.encode(texts[0]))
open_engine(config, weights, weight_dtype="int8").step(np.zeros(1, int))
loaded = {"torch", "rich", "typer", "numba", "matplotlib"} & set(sys.modules)
assert not loaded, loaded
"""
    root = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr
