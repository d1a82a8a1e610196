"""Sizes follow the text, the budget and the machine; what was asked for stays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.training.recipes import PRESETS, apply_preset, choose
from tests.support.checkpoints import ROOT


def chosen_for(chars: int, **asked: Any) -> tuple[ModelConfig, TrainConfig]:
    """What is chosen for a text of ``chars`` characters, on a slow processor."""
    return choose(asked, preset=None, vocab_size=50, train_chars=chars, fast=False, flops=4e11)


@pytest.mark.parametrize(
    ("chars", "epochs", "batch"),
    [(54_000, 10, 8), (234_000, 10, 16), (2_600_000, 50, 64), (2_600_000, 1, 16)],
)
def test_a_short_text_gets_a_small_batch_for_enough_steps(
    chars: int, epochs: int, batch: int
) -> None:
    def chosen(**asked: Any) -> TrainConfig:
        return chosen_for(chars, epochs=epochs, **asked)[1]

    config = chosen()
    assert config.batch == batch
    assert config.batch == 8 or epochs * chars / (batch * config.window) >= 1000
    assert chosen(batch=50).batch == 50


def test_sizes_follow_the_corpus_and_what_is_asked_for_stays() -> None:
    sizes = [chosen_for(n, seconds=600.0)[0].hidden for n in (1000, 20_000, 200_000, 3_000_000)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    model, config = chosen_for(3_000_000, hidden=96, batch=7, window=33, steps=5)
    assert (model.hidden, config.batch, config.window, config.steps) == (96, 7, 33, 5)
    for n in (2, 3, 10, 100, 1000, 10_000):
        config = chosen_for(n)[1]
        assert config.batch * config.window <= n
    with pytest.raises(ConfigError, match="preset"):
        choose({}, preset="nope", vocab_size=5, train_chars=100, fast=False, flops=4e11)


@pytest.mark.parametrize(
    ("asked", "flops", "fast", "sizes"),
    [
        ({"seconds": 60.0}, 4e11, False, (384, 32, 64, 8e-3)),
        ({"seconds": 60.0, "hidden": 512}, 4e11, False, (512, 32, 64, 6e-3)),
        ({"seconds": 360.0}, 4e11, False, (512, 32, 64, 6e-3)),
        ({"seconds": 600.0}, 4e11, False, (512, 64, 100, 4e-3)),
        ({"seconds": 600.0}, 1e11, False, (384, 32, 64, 8e-3)),
        ({"seconds": 60.0, "layers": 1, "hidden": 128}, 4e11, False, (128, 64, 100, 4e-3)),
        ({"seconds": 600.0}, 1.2e12, False, (512, 64, 100, 4e-3)),
        ({"seconds": 60.0}, 4e13, True, (512, 128, 128, 4e-3)),
        ({"steps": 100}, 4e11, False, (512, 64, 100, 4e-3)),
    ],
)
def test_a_small_budget_is_spent_on_many_small_steps(
    asked: dict[str, Any], flops: float, fast: bool, sizes: tuple[float, ...]
) -> None:
    """What decides is not the time but how much this machine reads in it."""
    model, config = choose(
        asked, preset=None, vocab_size=80, train_chars=3_000_000, fast=fast, flops=flops
    )
    assert (model.hidden, config.batch, config.window, config.lr) == sizes


def test_dropout_grows_with_the_epochs_and_what_is_asked_for_stays() -> None:
    def chosen(epochs: int, **asked: Any) -> tuple[float, float, float]:
        config = chosen_for(10**6, epochs=epochs, **asked)[1]
        return config.dropout, config.input_dropout, config.weight_dropout

    assert chosen(1) == (0.0, 0.0, 0.0)
    few, many = chosen(8), chosen(60)
    assert few[0] > 0
    assert few[1:] == (0.0, 0.0)
    assert all(a < b for a, b in zip(few, many, strict=True))
    # a network with few weights for its text does not learn it by heart
    rich, middling, poor = (chosen(20, hidden=hidden) for hidden in (512, 256, 64))
    assert rich > middling > poor == (0.0, 0.0, 0.0)
    assert chosen(60, dropout=0.5, input_dropout=0.0) == (0.5, 0.0, many[2])


def test_no_weight_dropout_is_chosen_for_a_cell_that_cannot_bear_it() -> None:
    usual = chosen_for(10**6, epochs=60)[1]
    bare = chosen_for(10**6, epochs=60, cell="irnn")[1]
    assert bare.weight_dropout == 0 < usual.weight_dropout
    assert bare.dropout > 0
    assert bare.input_dropout > 0
    assert chosen_for(10**6, epochs=60, cell="irnn", weight_dropout=0.1)[1].weight_dropout == 0.1
    given: dict[str, Any] = {"vocab_size": 87, "train_chars": 10**6, "fast": False, "flops": 4e11}
    rates = [choose({"cell": c}, preset="best", **given)[1].weight_dropout for c in ("irnn", "gru")]
    assert rates == [0, PRESETS["best"]["weight_dropout"]]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_keeps_within_its_size_and_gives_way_to_what_is_asked(preset: str) -> None:
    def chosen(**asked: Any) -> tuple[ModelConfig, TrainConfig]:
        return choose(
            asked, preset=preset, vocab_size=87, train_chars=2_600_000, fast=False, flops=4e11
        )

    most = {"small": 5.6e6, "karpathy2015": 5.6e6, "best": 25e6}.get(preset, 4e6)
    model, config = chosen()
    assert model.parameters <= most
    assert (model.hidden, config.lr) == (PRESETS[preset]["hidden"], PRESETS[preset]["lr"])
    model, config = chosen(hidden=64, steps=5)
    assert (model.hidden, config.steps, config.epochs, config.seconds) == (64, 5, 0, 0.0)


def test_the_presets_are_described_where_training_is() -> None:
    text = (ROOT / "charrnn/training/README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d) × (\d+)", text, re.M)
    described = {name: (int(layers), int(hidden)) for name, layers, hidden in rows}
    assert described == {n: (p["layers"], p["hidden"]) for n, p in PRESETS.items()}


@pytest.mark.parametrize("asked", [
    {}, {"batch": 16}, {"batch": 32}, {"window": 50}, {"lines": True}, {"shuffle_offset": False},
    {"batch": 8, "shuffle_offset": False}, {"batch": 8, "lines": True},
])  # fmt: skip
@pytest.mark.parametrize("size", [60, 100, 301])
def test_sizes_that_were_not_asked_for_shrink_with_the_text(
    tmp_path: Path, asked: dict[str, Any], size: int
) -> None:
    text = tmp_path / "small.txt"
    text.write_text(("abcdefghi\n" * 40)[:size])
    settings = {"hidden": 8, "layers": 1, "steps": 1, "val_frac": 0.0, **asked}
    assert charrnn.train(text, out=tmp_path / "run", **settings).steps == 1


def test_a_bound_for_gradients_that_are_not_clipped_is_refused() -> None:
    with pytest.raises(ConfigError, match="clip limits no gradient"):
        apply_preset({"steps": 1, "clip_by": "none", "clip": 3.0}, None)
    for fine in ({"clip_by": "none"}, {"clip_by": "value", "clip": 3.0}, {"clip": 3.0}):
        apply_preset({"steps": 1, **fine}, None)
