"""Frozen settings, validated when they are created.

Each field declares its setting once (``charrnn.settings``): options, environment variables, help
texts and the option reference follow from it. The defaults here are those of the classes;
``charrnn.training.recipes`` chooses sizes that suit a corpus. The settings of a network are in
``charrnn.model_config``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from charrnn import cells
from charrnn.errors import ConfigError
from charrnn.model_config import FROM_BUDGET as _FROM_BUDGET
from charrnn.model_config import ModelConfig as ModelConfig
from charrnn.model_config import model_options as model_options
from charrnn.settings import MAX_INT64, Notation, Option, Settings, setting

Split = Literal["contiguous", "spread", "interleaved"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Clip = Literal["norm", "value", "none"]
GradCompression = Literal["none", "bf16"]
WeightDtype = Literal["float32", "float16", "int8"]
StateDtype = Literal["int16", "int8"]
Unknown = Literal["error", "skip", "replace"]

RANDOM_SEED = "random, printed on stderr"
_FROM_EPOCHS = "chosen from the number of epochs"


def draw_seed() -> int:
    """A random seed, short enough to retype."""
    import secrets

    return secrets.randbelow(2**31)


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def read_duration(text: str) -> float:
    """Seconds of a duration such as ``90``, ``90s``, ``10m`` or ``1h30m``.

    Raises:
        ValueError: ``text`` is not a duration.

    """
    compact = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d*)?", compact):
        compact += "s"
    if not re.fullmatch(r"(\d+(\.\d*)?[hms])+", compact):
        raise ValueError(f"not a duration: {text}")
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)([hms])", compact))


def write_duration(seconds: float) -> str:
    """``seconds`` in the notation of ``read_duration``, without an exponent: ``90s``."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


@dataclass(frozen=True)
class TrainConfig(Settings):
    """How a network is trained; exactly one of ``epochs``, ``steps``, ``seconds`` is above 0."""

    batch: int = setting(
        64, low=1, high=MAX_INT64, unset=_FROM_BUDGET, help="Text streams trained in parallel."
    )
    window: int = setting(
        128,
        low=1,
        high=MAX_INT64,
        unset=_FROM_BUDGET,
        help="Characters per training window; gradients reach no further back.",
    )
    lr: float = setting(
        4e-3, above=0, high=10, unset="chosen from the time budget", help="Peak learning rate."
    )
    dropout: float = setting(
        0.0,
        low=0,
        below=1,
        unset=_FROM_EPOCHS,
        help="Fraction of units to drop between layers and before the output layer.",
    )
    input_dropout: float = setting(
        0.0, low=0, below=1, unset=_FROM_EPOCHS, help="Fraction of embedding units to drop."
    )
    weight_dropout: float = setting(
        0.0, low=0, below=1, unset=_FROM_EPOCHS, help="Fraction of recurrent weights to drop."
    )
    gap_rate: float = setting(
        0.25,
        low=0,
        below=1,
        absent=0.25,
        help="Fraction of characters to hide from the backward layers of a bidirectional network, "
        "in gaps of 1 to 12, so that it learns to fill such gaps.",
    )
    epochs: int = setting(
        0,
        low=1,
        high=MAX_INT64,
        absent=0,
        excludes=("steps", "seconds"),
        help="Train for N passes over the training text.",
    )
    steps: int = setting(
        0,
        low=1,
        high=MAX_INT64,
        absent=0,
        excludes=("seconds",),
        help="Train for N steps (windows).",
    )
    seconds: float = setting(
        0.0,
        flag="--time",
        above=0,
        absent=0.0,
        notation=Notation(
            read_duration, write_duration, "a duration above 0, such as 90s, 10m or 1h30m"
        ),
        metavar="TIME",
        unset="10m",
        help="Train for this long, such as 90s, 10m or 1h30m.",
    )
    clip_by: Clip = setting(
        "norm",
        flag="--clip",
        absent="norm",
        help="Clip gradients: norm scales a gradient down if its norm is too large, value limits "
        "each of its entries, none leaves it as it is.",
    )
    clip: float = setting(
        1.0,
        flag="--clip-at",
        above=0,
        absent=1.0,
        help="Largest norm of a gradient; with --clip value, the largest absolute value of an "
        "entry.",
    )
    grad_compression: GradCompression = setting(
        "none",
        absent="none",
        help="How several processes exchange their gradients: bf16 sends two bytes for each weight "
        "instead of four. One process exchanges nothing.",
    )
    sync_every: int = setting(
        1,
        low=1,
        high=MAX_INT64,
        absent=1,
        metavar="H",
        help="How many steps each of several processes takes alone before the weights of all are "
        "averaged; with 1 they sum their gradients in every step.",
    )
    weight_decay: float = setting(0.01, low=0, python_only=True, help="AdamW's weight decay.")
    beta1: float = setting(
        0.9, low=0, below=1, python_only=True, help="AdamW's decay of the mean gradient."
    )
    beta2: float = setting(
        0.99, low=0, below=1, python_only=True, help="AdamW's decay of the mean squared gradient."
    )
    warmup: int = setting(
        100, low=0, high=MAX_INT64, python_only=True, help="Steps until the learning rate peaks."
    )
    flat: float = setting(
        0.3,
        low=0,
        high=1,
        python_only=True,
        help="Fraction of the budget for which the learning rate stays at its peak.",
    )
    ema: float = setting(
        0.0,
        low=0,
        below=1,
        help="Decay of the exponential moving average of the weights; 0 disables it.",
    )
    fit_temperature: bool = setting(
        True,
        flag="--fit-temperature/--no-fit-temperature",
        absent=True,
        help="After training, divide the best network's logits by the temperature that gives the "
        "lowest validation loss.",
    )
    patience: int = setting(
        0,
        low=0,
        high=MAX_INT64,
        unset="8",
        help="Stop after N validations without improvement; 0 never stops early.",
    )
    eval_every: int = setting(
        0,
        low=0,
        high=MAX_INT64,
        python_only=True,
        help="Steps between validations; 0 validates at intervals of time.",
    )
    shuffle_offset: bool = setting(
        True, python_only=True, help="Start every epoch at a random offset in the text."
    )
    lines: bool = setting(
        False,
        absent=False,
        help="Treat each line as a text of its own, a record; shuffle the records in every epoch.",
    )
    seed: int = setting(
        0, low=0, high=MAX_INT64, unset=RANDOM_SEED, help="Seed of all random choices in training."
    )
    device: Device = setting("auto", absent="auto", recorded=False, help="Device to train on.")
    precision: Precision = setting("auto", absent="auto", help="Number format of matrix products.")
    threads: int = setting(
        0, low=1, high=1024, absent=0, recorded=False, unset="all cores", help="CPU threads."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [n for n in ("epochs", "steps", "seconds") if getattr(self, n) > 0]
        if not given:
            raise ConfigError("no budget", "set one of {epochs}, {steps} and {seconds} above 0")
        if len(given) > 1:
            hint = "set only one of {epochs}, {steps} and {seconds}"
            raise ConfigError("more than one budget", hint)


START_FROM = Option(
    name="start_from",
    kind=str,
    flag="--from",
    metavar="CHECKPOINT",
    absent=None,
    unset="random weights",
    help="Start from the weights of a checkpoint.",
)


@dataclass(frozen=True)
class TextConfig(Settings):
    """How a corpus is read and split; None: not given."""

    is_bytes: bool = setting(
        False,
        flag="--bytes",
        absent=False,
        excludes=("encoding",),
        help="Train on bytes instead of characters; accepts any file.",
    )
    encoding: str | None = setting(None, unset="utf-8", help="Encoding of the corpus.")
    symbols: str | None = setting(
        None,
        low=1,
        excludes=("is_bytes", "bidirectional"),
        metavar="REGEX",
        unset="characters",
        help="Learn each match of a regular expression as one symbol, if it occurs at least ten "
        "times, and all else as characters. smiles, abc and words are names of expressions for "
        "molecules, folk music and words.",
    )
    max_bytes: int | None = setting(
        None, low=1, help="Use only the first N bytes of the corpus, unpacked, such as 500k or 10M."
    )
    skip_bad: bool = setting(
        False, absent=False, help="Skip files that are not texts, and name each of them."
    )
    split: Split | None = setting(
        None,
        unset="contiguous, or spread with --lines",
        help="How to split the corpus: contiguous takes the parts one after the other; spread "
        "takes pieces from all over the text; interleaved cuts windows out of it, as Karpathy "
        "et al. did in 2015.",
    )
    val_frac: float | None = setting(
        None,
        low=0,
        below=1,
        unset="0.1, at most 500,000 characters",
        help="Fraction of the corpus to validate on.",
    )
    test_frac: float | None = setting(
        None,
        low=0,
        below=1,
        unset="0, or 0.1 with --split interleaved",
        help="Fraction of the corpus to test on, once, at the end.",
    )


@dataclass(frozen=True)
class FillConfig(Settings):
    """Which gaps of a text are filled, and in how many ways."""

    gap: str = setting(
        "_",
        low=1,
        metavar="MARK",
        help="Mark of a gap; each mark stands for one character, so ____ is a gap of four.",
    )
    longest: int | None = setting(
        None,
        low=1,
        high=64,
        help="Fill each gap with 1 to N characters, however many marks it has.",
    )
    count: int = setting(
        1, low=1, high=100_000, help="Number of ways to fill the gaps, the most probable first."
    )


# a run's settings are given side by side: none of a cell may be called like another
_CONFIGS = (ModelConfig, TrainConfig, TextConfig)
cells.reserve(name for config in _CONFIGS for name in dir(config))
