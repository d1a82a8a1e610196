"""Checkpoints whose recurrent weights are int8: what comes back, and how little else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from charrnn import cells
from charrnn.checkpoint import file
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.checkpoint.int8 import Int8Weights, matrices, quantize
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, ConfigError
from charrnn.filling import fill
from charrnn.generation.compiled.packing import Packed
from charrnn.generation.factory import open_engine
from charrnn.generation.numpy_engine import Engine, Weights
from charrnn.textmodel import TextModel
from tests.support.checkpoints import header_of, note_of, tiny
from tests.support.command_line import leave
from tests.support.networks import letters, random_weights

BEST = Path("best.safetensors")


def network(cell: str, *, layers: int = 2, bidirectional: bool = False) -> Checkpoint:
    vocab = letters()
    config = ModelConfig(
        len(vocab), cell, embedding=8, hidden=24, layers=layers, bidirectional=bidirectional
    )
    return Checkpoint(config, vocab, random_weights(config))


def kept(made: Checkpoint) -> Checkpoint:
    """``made`` from an int8 file."""
    made.save(BEST, weight_dtype="int8")
    return load(BEST)


@pytest.mark.parametrize("cell", cells.names())
@pytest.mark.parametrize("layers", [1, 8])
def test_weights_of_every_cell_come_back_within_half_a_step(cell: str, layers: int) -> None:
    made = network(cell, layers=layers)
    back = kept(made)
    assert back.weight_dtype == "int8"
    assert list(back.weights) == list(made.config.shapes())
    assert len(matrices(made.config)) >= 2 * layers
    for name, value in made.weights.items():
        found = back.weights[name]
        assert found.dtype == np.float32
        assert found.shape == value.shape
        if name in matrices(made.config):
            step = np.abs(value).max(axis=1, keepdims=True) / 127
            assert np.abs(found - value).max() > 0
            assert (np.abs(found - value) <= 0.501 * step).all()
        else:
            assert np.array_equal(found, value.astype(np.float16))


def test_a_bidirectional_network_has_int8_layers_in_both_directions() -> None:
    back = kept(network("gru", bidirectional=True))
    assert isinstance(back.weights, Int8Weights)
    assert {name for name in back.weights if back.weights.stored(name) is not None} == {
        f"{stack}.{layer}.weight_{part}"
        for stack in ("layers", "backward")
        for layer in (0, 1)
        for part in ("ih", "hh")
    }
    best, second = fill(TextModel(back), "ab_cd", count=2)
    assert best.nats <= second.nats


def test_any_reader_of_safetensors_can_rebuild_the_weights() -> None:
    back, tensors = kept(tiny()), load_file(BEST)
    scales, row = tensors.pop("scales"), 0
    for name in matrices(back.config):
        rows = len(tensors[name])
        assert tensors[name].dtype == np.int8
        rebuilt = tensors[name] * scales[row : row + rows, None]
        assert np.array_equal(rebuilt, back.weights[name])
        row += rows
    assert row == len(scales)
    assert {tensors[name].dtype for name in tensors.keys() - matrices(back.config)} == {
        np.dtype(np.float16)
    }


def test_saving_again_loses_nothing() -> None:
    back = kept(tiny())
    once = BEST.read_bytes()
    back.save(BEST, weight_dtype="int8")
    assert BEST.read_bytes() == once
    back.save("wide.safetensors")
    wide = load(Path("wide.safetensors"))
    assert wide.weight_dtype == "float32"
    assert all(np.array_equal(wide.weights[name], back.weights[name]) for name in wide.weights)
    wide.save(BEST, weight_dtype="int8")
    assert BEST.read_bytes() == once


def test_what_resuming_needs_is_kept_beside_int8_weights() -> None:
    state = np.arange(6, dtype=np.int64)
    replace(tiny(), extra={"state.h": state}).save(BEST, weight_dtype="int8")
    assert load(BEST).extra == {}
    extra = load(BEST, extra=True).extra
    assert extra.keys() == {"state.h"}
    assert np.array_equal(extra["state.h"], state)


def test_a_charrnn_without_int8_says_that_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tiny())
    assert note_of(header_of(BEST.read_bytes()))["format"] == 3
    monkeypatch.setattr(file, "FORMATS", (1, 2))
    with pytest.raises(CheckpointError, match="format 3 is not 2 or lower: use a newer charrnn"):
        load(BEST)


@pytest.mark.parametrize("dtype", ["int4", "INT8", "half"])
def test_other_number_formats_are_refused(dtype: str) -> None:
    with pytest.raises(ConfigError, match="weight_dtype"):
        tiny().save(BEST, weight_dtype=dtype)  # type: ignore[arg-type]
    assert not BEST.exists()


@pytest.mark.parametrize(("dtype", "half"), [("float16", True), ("float32", False)])
def test_half_means_float16(dtype: str, half: bool) -> None:
    tiny().save(BEST, half=half)
    blob = BEST.read_bytes()
    tiny().save(BEST, weight_dtype=dtype)  # type: ignore[arg-type]
    assert BEST.read_bytes() == blob
    assert load(BEST).weight_dtype == dtype


def test_info_says_how_weights_are_stored(capfd: pytest.CaptureFixture[str]) -> None:
    kept(tiny())
    assert json.loads(leave(["info", str(BEST), "--json"], capfd).out)["weights"] == "int8"
    tiny().save(BEST, half=True)
    assert json.loads(leave(["info", str(BEST), "--json"], capfd).out)["weights"] == "float16"


# --- engines


def strange(weights: Int8Weights) -> Int8Weights:
    """Rows as no charrnn writes them: without ±127, with -128, all zeros, and tiny scales."""
    arrays, scales = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for name in weights:
        arrays[name], own = weights[name], weights.stored(name)
        if own is not None:
            rows, scale = own[0].copy(), own[1].copy()
            rows[0], rows[1, 0], rows[2], scale[3] = np.clip(rows[0], -90, 90), -128, 0, 1e-36
            arrays[name], scales[name] = rows, scale
    return Int8Weights(arrays, scales)


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-relu"])
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_int8_is_packed_as_the_float32_that_it_means(cell: str, dtype: str, foreign: bool) -> None:
    back = kept(network(cell))
    assert isinstance(back.weights, Int8Weights)
    weights = strange(back.weights) if foreign else back.weights
    ours = Packed.prepare(back.config, weights, dtype)
    same = Packed.prepare(back.config, dict(weights), dtype)
    for one, other in zip(ours.layers, same.layers, strict=True):
        assert one.start.tobytes() == other.start.tobytes()
        for panels, wanted in ((one.x, other.x), (one.h, other.h)):
            for part, array in panels._asdict().items():
                assert array.tobytes() == getattr(wanted, part).tobytes(), part
    ids = np.arange(20) % back.config.vocab_size
    fast = open_engine(back.config, weights, weight_dtype="int8")
    slow = Engine(back.config, Weights.prepare(back.config, weights).quantized("int8"))
    for index in ids:
        step = np.array([index])
        assert np.abs(fast.step(step) - slow.step(step)).max() < 1e-4


def test_a_network_writes_the_same_from_int8_as_before_it_was_saved() -> None:
    """Where its first layer's and its other weights are numbers of the file."""
    made = kept(tiny())
    exact = TextModel(replace(made, weights=dict(made.weights)))
    again = TextModel(made)
    assert again.sample("", length=300, seed=1) == exact.sample("", length=300, seed=1)


def test_scales_are_chosen_so_that_the_largest_value_of_a_row_is_exact() -> None:
    weight = np.random.default_rng(1).normal(size=(50, 40)).astype(np.float32)
    rows, scale = quantize(weight)
    assert (np.abs(rows).max(axis=1) == 127).all()
    again, same = quantize(rows * scale[:, None])
    assert np.array_equal(again, rows)
    assert np.allclose(same, scale, rtol=2e-7)
