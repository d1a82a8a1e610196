"""Sizes and settings: named presets, and what suits a corpus when nothing is named."""

from __future__ import annotations

from typing import Any

from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError, CorpusError

DEFAULT_SECONDS = 600.0
_BUDGETS = frozenset({"epochs", "steps", "seconds"})

# Least characters of training text for each hidden size: a network much larger than its text only
# learns it by heart.
_SIZES = ((0, 64), (8_000, 128), (60_000, 256), (600_000, 512))

PRESETS: dict[str, dict[str, Any]] = {
    # Karpathy, Johnson & Fei-Fei 2015, with AdamW in place of RMSprop
    "karpathy2015": {
        "hidden": 512, "layers": 3, "embedding": 128, "batch": 100, "window": 100, "epochs": 50,
        "dropout": 0.25, "lr": 2e-3,
    },
    "laptop": {
        "hidden": 512, "layers": 2, "embedding": 128, "batch": 64, "window": 100,
        "seconds": 3600.0, "dropout": 0.2, "lr": 4e-3,
    },
}  # fmt: skip


def choose(
    asked: dict[str, Any], *, preset: str | None, vocab_size: int, train_chars: int, fast: bool
) -> tuple[ModelConfig, TrainConfig]:
    """Configurations that keep everything asked for and fill the rest from preset and corpus.

    Args:
        asked: fields of the two configurations that the user named.
        preset: a key of ``PRESETS``.
        vocab_size: V.
        train_chars: length of the training part.
        fast: whether a GPU trains (larger batches pay there).

    Raises:
        ConfigError: a wish is out of range or unknown, or the preset is.
        CorpusError: the training part is too short to train on.

    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"--preset {preset}: there are {', '.join(PRESETS)}")
    recipe = dict(PRESETS.get(preset or "", {}))
    if not asked.keys().isdisjoint(_BUDGETS):
        recipe = {name: value for name, value in recipe.items() if name not in _BUDGETS}
    settled = recipe | asked
    if settled.keys().isdisjoint(_BUDGETS):
        settled["seconds"] = DEFAULT_SECONDS
    filled = _defaults(settled, train_chars, fast) | settled
    names = ModelConfig.__dataclass_fields__.keys()
    model = {name: value for name, value in filled.items() if name in names}
    training = {name: value for name, value in filled.items() if name not in names}
    config = ModelConfig.from_dict({"vocab_size": vocab_size} | model)
    return config, _fit(TrainConfig.from_dict(training), asked, train_chars)


def _defaults(settled: dict[str, Any], train_chars: int, fast: bool) -> dict[str, Any]:
    """What suits the corpus and the time: short runs want small networks and many small steps."""
    seconds = settled.get("seconds", 0.0)
    hidden = max(size for least, size in _SIZES if train_chars >= least)
    if not fast and 0 < seconds <= 240:
        hidden = min(hidden, 256)
    hidden = settled.get("hidden", hidden)
    short = not fast and 0 < seconds <= 240
    batch, window = (256, 128) if fast else (32, 64) if short else (64, 100)
    lr = 6e-3 if short else 4e-3
    return {
        "hidden": hidden,
        "layers": 2,
        "embedding": min(128, max(32, hidden // 4)),
        "batch": batch,
        "window": window,
        "lr": lr,
        "dropout": 0.1 if not short else 0.0,
        "patience": 8,
    }


def _fit(config: TrainConfig, asked: dict[str, Any], train_chars: int) -> TrainConfig:
    """Shrink what was not asked for until a corpus holds a few windows in every stream."""
    batch, window = config.batch, config.window
    if train_chars < 2:
        raise CorpusError(
            f"the training part has {train_chars} characters: it needs at least 2; "
            "give a longer corpus or a smaller --val-frac"
        )
    while batch * window * 8 > train_chars and (batch > 8 or window > 16):
        if batch > 8 and "batch" not in asked:
            batch //= 2
        elif window > 16 and "window" not in asked:
            window //= 2
        else:
            break
    if "window" not in asked:
        window = min(window, train_chars - 1)
    if "batch" not in asked:
        batch = max(1, min(batch, train_chars // window))
    values = config.to_dict() | {"batch": batch, "window": window}
    return TrainConfig.from_dict(values)
