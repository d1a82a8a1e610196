"""Frozen, validated settings. A value that got into one of these classes is usable.

``None`` never appears here as "decide for me": choosing sizes for a corpus is the work of
``charrnn.training.recipes``, and its result is what these classes hold.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from charrnn.errors import ConfigError

Cell = Literal["lstm", "gru", "rnn-tanh", "rnn-relu"]
Split = Literal["contiguous", "interleaved"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Form = Literal["float32", "float16", "int8"]
Unknown = Literal["error", "skip", "replace"]
Preset = Literal["karpathy2015", "laptop", "small", "best"]

CELLS: tuple[str, ...] = get_args(Cell)
GATES: dict[str, int] = {"lstm": 4, "gru": 3, "rnn-tanh": 1, "rnn-relu": 1}

MAX_VOCABULARY = 65_535
MAX_LAYERS = 8
MAX_WIDTH = 16_384
SEED_LIMIT = 2**63
MOST = SEED_LIMIT - 1  # of whatever is counted: more would not fit a float, nor a lifetime


def check(good: bool, name: str, value: object, wanted: str) -> None:
    """Raise ``ConfigError`` naming the setting, its value and what is allowed, unless ``good``."""
    if not good:
        raise ConfigError(f"is {value!r}: it must be {wanted}", setting=name)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` unless ``value`` is one of ``choices``."""
    check(value in choices, name, value, "one of " + ", ".join(choices))


def check_whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise ``ConfigError`` unless ``value`` is an int (not a bool) in ``[low, high]``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    wanted = f"a whole number of at least {low}" + (f" and at most {high}" if high else "")
    check(whole and value >= low and (high is None or value <= high), name, value, wanted)  # type: ignore[operator]


def check_real(name: str, value: object, good: bool, wanted: str) -> None:
    """Raise ``ConfigError`` unless ``value`` is a finite number and ``good``."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    check(real and good, name, value, wanted)


def draw_seed() -> int:
    """A fresh seed, short enough to be typed again."""
    import secrets

    return secrets.randbelow(2**31)


class _Record:
    """What the settings have in common: to and from plain JSON values."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The settings in ``values``.

        Raises:
            ConfigError: a name is unknown, one without a default is missing, or a value is bad.

        """
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        names = {field.name for field in fields}
        required = {
            f.name
            for f in fields
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        unknown, missing = sorted(set(values) - names), sorted(required - set(values))
        if unknown or missing:
            wrong = ", ".join([f"unknown {n!r}" for n in unknown] + [f"no {n!r}" for n in missing])
            raise ConfigError(f"{cls.__name__} does not fit: {wrong}")
        try:
            return cls(**values)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"{cls.__name__} does not fit: {error}") from None


@dataclass(frozen=True)
class ModelConfig(_Record):
    """The shape of a network: embedding (V, E) → L recurrent layers of H → head (V).

    ``sum_layers`` feeds the head the sum of all layers' outputs instead of the last one's.
    """

    vocab_size: int
    cell: Cell = "lstm"
    embedding: int = 128
    hidden: int = 512
    layers: int = 2
    sum_layers: bool = False

    def __post_init__(self) -> None:
        check_whole("vocab_size", self.vocab_size, 1, MAX_VOCABULARY)
        check_choice("cell", self.cell, CELLS)
        check_whole("embedding", self.embedding, 1, MAX_WIDTH)
        check_whole("hidden", self.hidden, 1, MAX_WIDTH)
        check_whole("layers", self.layers, 1, MAX_LAYERS)
        check(isinstance(self.sum_layers, bool), "sum_layers", self.sum_layers, "true or false")

    @property
    def gates(self) -> int:
        """Gate blocks in a layer's weights: LSTM 4 (i, f, g, o), GRU 3 (r, z, n), others 1."""
        return GATES[self.cell]

    @property
    def cell_width(self) -> int:
        """Width of ``cx``: H for an LSTM; the other cells carry none."""
        return self.hidden if self.cell == "lstm" else 0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, in the order in which they are stored.

        ``embedding.weight (V, E)``; for each layer ``weight_ih (G·H, in)``, ``weight_hh (G·H, H)``,
        ``bias_ih (G·H)``, ``bias_hh (G·H)``; ``head.weight (V, H)``, ``head.bias (V)``.
        """
        rows, width = self.gates * self.hidden, self.embedding
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocab_size, width)}
        for layer in range(self.layers):
            shapes[f"layers.{layer}.weight_ih"] = (rows, width)
            shapes[f"layers.{layer}.weight_hh"] = (rows, self.hidden)
            shapes[f"layers.{layer}.bias_ih"] = (rows,)
            shapes[f"layers.{layer}.bias_hh"] = (rows,)
            width = self.hidden
        shapes["head.weight"] = (self.vocab_size, self.hidden)
        shapes["head.bias"] = (self.vocab_size,)
        return shapes

    @property
    def parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(math.prod(shape) for shape in self.shapes().values())


@dataclass(frozen=True)
class TrainConfig(_Record):
    """How a network is trained. Exactly one of ``epochs``, ``steps`` and ``seconds`` is positive.

    Units: ``batch`` streams (B), ``window`` characters (T), ``seconds`` of wall time,
    ``eval_every`` steps (0: chosen by the clock), ``ema`` the averaging's decay (0: off),
    ``patience`` validations without a better one (0: never stop early). ``dropout`` drops units
    between layers and before the head, ``input_dropout`` those of the embedding, ``weight_dropout``
    recurrent weights. ``fit_temperature`` divides the best network's logits in
    the end by what validates best.
    """

    batch: int = 64
    window: int = 128
    lr: float = 4e-3
    dropout: float = 0.0
    input_dropout: float = 0.0
    weight_dropout: float = 0.0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    clip: float = 1.0
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    warmup: int = 100
    flat: float = 0.3
    ema: float = 0.0
    fit_temperature: bool = True
    patience: int = 0
    eval_every: int = 0
    shuffle_offset: bool = True
    lines: bool = False
    seed: int = 0
    device: Device = "auto"
    precision: Precision = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "seconds", "clip", "weight_decay", "beta1", "beta2", "ema", "flat"):
            check_real(name, getattr(self, name), True, "a finite number")
        check_whole("batch", self.batch, 1, MOST)
        check_whole("window", self.window, 1, MOST)
        check_real("lr", self.lr, 0 < self.lr <= 10, "a number above 0 and at most 10")
        for name in ("dropout", "input_dropout", "weight_dropout"):
            value = getattr(self, name)
            inside = isinstance(value, (int, float)) and 0 <= value < 1
            check_real(name, value, inside, "at least 0 and below 1")
        self._check_budget()
        check_real("clip", self.clip, self.clip > 0, "above 0")
        check_real("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        for name in ("beta1", "beta2", "ema"):
            value = getattr(self, name)
            check_real(name, value, 0 <= value < 1, "at least 0 and below 1")
        for name in ("fit_temperature", "lines", "shuffle_offset"):
            value = getattr(self, name)
            check(isinstance(value, bool), name, value, "true or false")
        check_whole("warmup", self.warmup, 0, MOST)
        check_real("flat", self.flat, 0 <= self.flat <= 1, "between 0 and 1")
        check_whole("patience", self.patience, 0, MOST)
        check_whole("eval_every", self.eval_every, 0, MOST)
        check_whole("seed", self.seed, 0, SEED_LIMIT - 1)
        check_choice("device", self.device, get_args(Device))
        check_choice("precision", self.precision, get_args(Precision))
        check_whole("threads", self.threads, 0, 1024)

    def _check_budget(self) -> None:
        check_whole("epochs", self.epochs, 0, MOST)
        check_whole("steps", self.steps, 0, MOST)
        check_real("seconds", self.seconds, self.seconds >= 0, "at least 0")
        given = [n for n in ("epochs", "steps", "seconds") if getattr(self, n) > 0]
        if not given:
            raise ConfigError("no budget", "set one of {epochs}, {steps} and {seconds} above 0")
        if len(given) > 1:
            raise ConfigError("more than one budget", "set one of {epochs}, {steps} and {seconds}")
