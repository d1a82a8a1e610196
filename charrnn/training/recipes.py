"""Sizes and settings: named presets, and defaults that suit the corpus and the time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from charrnn.config import ModelConfig, TrainConfig, model_options
from charrnn.errors import ConfigError, CorpusError, counted

DEFAULT_SECONDS = 600.0
# A run that can read fewer than FEW_CHARS characters needs small windows to make enough steps; with
# fewer than FEWER_CHARS a smaller network learns more. Measured on War and Peace
# (checkpoints/README.md).
FEW_CHARS, FEWER_CHARS = 8_000_000, 6_000_000
LEAST_STEPS = 1000  # that a run of so many epochs should make; fewer streams make more steps
_BUDGETS = frozenset({"epochs", "steps", "seconds"})

# The least characters of training text for each hidden size: a network that is much larger than its
# text only memorizes it.
_SIZES = ((0, 64), (8_000, 128), (60_000, 256), (600_000, 512))

PRESETS: dict[str, dict[str, Any]] = {
    # Karpathy, Johnson & Fei-Fei 2015, with AdamW and a cosine in place of RMSprop and steps
    "karpathy2015": {
        "hidden": 512, "layers": 3, "embedding": 128, "batch": 100, "window": 100, "epochs": 50,
        "dropout": 0.25, "input_dropout": 0.0, "weight_dropout": 0.0, "lr": 2e-3,
        "sum_layers": False, "fit_temperature": False,
    },
    # an hour on two cores
    "laptop": {
        "hidden": 512, "layers": 2, "embedding": 128, "batch": 64, "window": 100,
        "seconds": 3600.0, "lr": 4e-3,
    },
    # the paper's largest size, 5.6 million parameters: most of a day on two cores
    "small": {
        "hidden": 512, "layers": 3, "embedding": 128, "batch": 64, "window": 100, "epochs": 60,
        "lr": 4e-3,
    },
    # 22 million parameters, for a GPU: with 256 streams cuDNN is twice as fast as with 128
    "best": {
        "hidden": 1024, "layers": 3, "embedding": 256, "batch": 256, "window": 100, "epochs": 80,
        "dropout": 0.4, "input_dropout": 0.15, "weight_dropout": 0.4, "lr": 2.5e-3,
    },
}  # fmt: skip


def choose(
    asked: dict[str, Any],
    *,
    preset: str | None,
    vocab_size: int,
    train_chars: int,
    fast: bool,
    flops: float,
) -> tuple[ModelConfig, TrainConfig]:
    """The two configurations of a run: what the user asked for, completed to suit the corpus.

    Args:
        asked: fields of the two configurations that the user set.
        preset: a key of ``PRESETS``, which takes precedence over what suits the corpus.
        vocab_size: V.
        train_chars: characters of the training part that are read.
        fast: whether training runs on a GPU, where larger batches pay.
        flops: operations a second that training achieves on this hardware.

    Raises:
        ConfigError: a setting is unknown or out of range, or there is no such preset.
        CorpusError: the training part is too short.

    """
    chosen = apply_preset(asked, preset)
    model, training = _divided(_defaults(chosen, vocab_size, train_chars, fast, flops) | chosen)
    config = ModelConfig.from_dict(model | {"vocab_size": vocab_size})
    fitted = _fit(TrainConfig.from_dict(training), asked, train_chars)
    epochs = _expected_epochs(fitted, config, train_chars, flops)
    rates: dict[str, Any] = dropouts_for(epochs, config.parameters / train_chars)
    rates = {name: rate for name, rate in rates.items() if name not in chosen}
    if not config.definition.drops_weights and "weight_dropout" not in asked:  # a preset's neither
        rates["weight_dropout"] = 0.0
    return config, dataclasses.replace(fitted, **rates)


def apply_preset(asked: dict[str, Any], preset: str | None) -> dict[str, Any]:
    """What is ``asked`` for, completed by the preset and a budget, and validated.

    Raises:
        ConfigError: a setting is unknown or out of range, or there is no such preset.

    """
    if preset is not None and preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError(f"is {preset!r}: it must be one of {known}", setting="preset")
    if "vocab_size" in asked:
        raise ConfigError("follows from the corpus: omit it", setting="vocab_size")
    recipe = dict(PRESETS.get(preset or "", {}))
    if not asked.keys().isdisjoint(_BUDGETS):
        recipe = {name: value for name, value in recipe.items() if name not in _BUDGETS}
    chosen = recipe | asked
    if chosen.keys().isdisjoint(_BUDGETS):
        chosen["seconds"] = DEFAULT_SECONDS
    model, training = _divided(chosen)
    _check_together(ModelConfig.from_dict(model | {"vocab_size": 1}), training)
    return chosen


def _check_together(model: ModelConfig, training: dict[str, Any]) -> None:
    """Check the settings of a training, also against those of the network.

    Raises:
        ConfigError: one is unknown or out of range, or two do not fit together.

    """
    lines = TrainConfig.from_dict(training).lines
    for name in ("reverse", "bidirectional"):
        if lines and model.value(name):
            reason = "reads a text as a whole, not as records"
            raise ConfigError(reason, "omit {lines}", setting=name)
    if "clip" in training and training.get("clip_by") == "none":
        raise ConfigError("limits no gradient", "omit it or {clip_by}", setting="clip")
    if "gap_rate" in training and not model.bidirectional:
        reason = "is for networks that read in both directions"
        raise ConfigError(reason, "set {bidirectional} or omit it", setting="gap_rate")


def _divided(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``settings`` of the network, and those of its training."""
    names = {option.name for option in model_options()}
    model = {name: value for name, value in settings.items() if name in names}
    return model, {name: value for name, value in settings.items() if name not in names}


def _defaults(
    chosen: dict[str, Any], vocab_size: int, train_chars: int, fast: bool, flops: float
) -> dict[str, Any]:
    """What suits the corpus and the time: short runs need small networks and many small steps."""

    def sizes(hidden: int) -> dict[str, Any]:
        embedding = 128 if fast else min(128, max(32, hidden // 4))
        return {"hidden": hidden, "layers": 2, "embedding": embedding, "sum_layers": True}

    def readable(hidden: int) -> float:
        """Characters that a network of that size reads in a time budget; without one, infinite."""
        model, _ = _divided(sizes(hidden) | chosen)
        weights = ModelConfig.from_dict(model | {"vocab_size": vocab_size}).parameters
        seconds = chosen.get("seconds", 0.0)
        return seconds * flops / (6 * weights) if seconds and not fast else math.inf

    hidden = chosen.get("hidden", max(size for least, size in _SIZES if train_chars >= least))
    few = readable(hidden) < FEW_CHARS
    if "hidden" not in chosen and readable(hidden) < FEWER_CHARS:
        hidden = min(hidden, 384)
    # more streams make a GPU a little faster (charrnn/bench/README.md), but fewer steps learn less
    batch, window, lr = (128, 128, 4e-3) if fast else (64, 100, 4e-3)
    if few:
        batch, window, lr = 32, 64, 8e-3 if hidden <= 384 else 6e-3
    return sizes(hidden) | {"batch": batch, "window": window, "lr": lr, "patience": 8}


def dropouts_for(epochs: float, weights_per_char: float) -> dict[str, Any]:
    """Dropout rates for a text that is read ``epochs`` times.

    A text that is read a few times cannot be memorized. From there, each doubling of the epochs
    needs a little more dropout, and so does each doubling of the weights for each character (two
    are usual). Dropping recurrent weights and inputs slows the beginning down, and pays from about
    twelve epochs on. Fitted by eye to runs on War and Peace and tinyshakespeare
    (checkpoints/README.md).
    """
    doublings = math.log2(max(epochs, 1.0) / 2.5)
    excess = max(-4.0, min(1.0, math.log2(weights_per_char / 2)))
    late = max(0.0, min(0.3, 0.1 * (doublings + min(excess, 0.0) - 2.0)))
    return {
        "dropout": round(max(0.0, min(0.4, 0.09 * (doublings + excess))), 2),
        "input_dropout": round(late / 2, 2),
        "weight_dropout": round(late, 2),
    }


def _expected_epochs(
    config: TrainConfig, model: ModelConfig, train_chars: int, flops: float
) -> float:
    """How often a run will read its text; for a time budget, a rough estimate."""
    if config.epochs:
        return config.epochs
    if config.steps:
        return config.steps * config.batch * config.window / train_chars
    return config.seconds * flops / (6 * model.parameters * train_chars)


def _fit(config: TrainConfig, asked: dict[str, Any], train_chars: int) -> TrainConfig:
    """Shrink batch and window, unless ``asked`` for, until the text makes enough steps.

    Every stream needs a few windows, and a few epochs of a short text must be enough steps to learn
    something: fewer streams make more of them.

    Raises:
        CorpusError: the training part is too short.

    """
    batch, window = config.batch, config.window
    if train_chars < 2:
        raise CorpusError(
            f"the training part has {counted(train_chars, 'character')}: it needs at least 2",
            "use a longer corpus or a smaller {val_frac}",
        )
    largest = train_chars / 8  # characters a step
    if config.epochs:
        largest = min(largest, config.epochs * train_chars / LEAST_STEPS)
    while "batch" not in asked and batch > 8 and batch * window > largest:
        batch //= 2
    while "window" not in asked and window > 16 and batch * window * 8 > train_chars:
        window //= 2
    # without an offset the text does not wrap around: its last character has none after it
    usable = train_chars - (not config.shuffle_offset)
    if "window" not in asked:
        stretch = usable // batch if "batch" in asked else train_chars - 1
        window = max(1, min(window, stretch))
    if "batch" not in asked:
        batch = max(1, min(batch, usable // window))
    return dataclasses.replace(config, batch=batch, window=window)
