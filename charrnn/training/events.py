"""What a run tells its listener: the console, a test, or a caller of the Python interface."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from charrnn.config import ModelConfig, TrainConfig
from charrnn.hints import Hint
from charrnn.paths import BEST


@dataclass(frozen=True)
class Report:
    """A line of ``metrics.jsonl``; None for whatever was not measured.

    ``chars`` and ``elapsed_s`` (seconds) are those of the whole run, losses nats a character.
    """

    step: int
    epoch: int
    chars: int
    elapsed_s: float
    lr: float
    train_nats: float | None
    val_nats: float | None
    grad_norm: float | None
    chars_per_second: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Plan:
    """What a run is about to do."""

    folder: Path
    model: ModelConfig
    training: TrainConfig
    corpus: str
    chars: dict[str, int]  # of the parts train, val and test
    hardware: str
    resumed_at: int  # step
    origin: str = ""  # a line about the weights that it starts from, if any
    long_symbols: int = 0  # of the vocabulary, those of several characters


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Losses are nats a character, None if not measured. ``early`` is whether patience ended the run.
    The best network's logits were divided by ``temperature`` (None: by nothing).
    """

    folder: Path
    steps: int
    chars: int
    elapsed_s: float
    train: float | None
    best_val: float | None
    test: float | None
    seed: int
    early: bool
    temperature: float | None = None

    @property
    def best(self) -> Path:
        """The checkpoint with the best network."""
        return self.folder / BEST

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the last line of ``metrics.jsonl``."""
        return {
            "final": True,
            "step": self.steps,
            "epoch": None,
            "chars": self.chars,
            "elapsed_s": self.elapsed_s,
            "lr": None,
            "train_nats": self.train,
            "val_nats": self.best_val,
            "test_nats": self.test,
            "grad_norm": None,
            "chars_per_second": None,
            "temperature": self.temperature,
            "seed": self.seed,
        }


class Listener(Protocol):
    """Is told what happens in a run, as it happens."""

    def on_plan(self, plan: Plan) -> None:
        """Training is about to begin."""

    def on_compiling(self) -> None:
        """Kernels are being compiled, which takes seconds, the first time on a machine."""

    def on_note(self, text: str, hint: Hint | None = None) -> None:
        """There is something to note, and perhaps a hint what to do about it."""

    def on_step(self, progress: float, chars: int, loss: float | None) -> None:
        """A step is done, ``progress`` of the budget in [0, 1] used; ``loss`` may be None."""

    def on_report(self, report: Report) -> None:
        """A line was added to the metrics."""

    def on_sample(self, text: str) -> None:
        """The network has written a sample."""


class Silence:
    """A listener that does nothing."""

    def on_plan(self, plan: Plan) -> None:
        """Nothing."""

    def on_compiling(self) -> None:
        """Nothing."""

    def on_note(self, text: str, hint: Hint | None = None) -> None:
        """Nothing."""

    def on_step(self, progress: float, chars: int, loss: float | None) -> None:
        """Nothing."""

    def on_report(self, report: Report) -> None:
        """Nothing."""

    def on_sample(self, text: str) -> None:
        """Nothing."""


def bits(nats: float) -> float:
    """``nats`` in bits."""
    return nats / math.log(2)
