"""What a run is: what stays while it lasts, and where it stands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from charrnn.config import ModelConfig, Split, TrainConfig
from charrnn.settings import check_int, check_real
from charrnn.text.corpus import Corpus
from charrnn.text.splits import Parts
from charrnn.text.streams import Position

FURTHEST = 2**53  # of steps, characters or windows: no run comes so far


@dataclass(frozen=True)
class SplitSpec:
    """How the corpus was split."""

    kind: Split
    val_frac: float
    test_frac: float


@dataclass(frozen=True)
class RunSpec:
    """What does not change while a run lasts.

    ``max_bytes`` of the text were taken (None: all); ``start_from`` is the checkpoint whose weights
    it began with, as it was named.
    """

    model: ModelConfig
    training: TrainConfig
    corpus: Corpus
    split: SplitSpec
    parts: Parts
    max_bytes: int | None = None
    start_from: str | None = None


@dataclass
class TrainingState:
    """Where a run stands, apart from its tensors; all of it goes into the last checkpoint.

    ``loss_sum`` and ``loss_steps`` count since the last report, ``worse`` validations since the
    best one; losses are nats a character.
    """

    step: int = 0
    chars: int = 0
    elapsed_s: float = 0.0
    epoch: int = 0
    window: int = 0
    best_val: float | None = None
    worse: int = 0
    validated_step: int = 0
    validated_s: float = 0.0  # when the last validation ended, and what it took
    validation_s: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    train_nats: float | None = None
    lr: float = 0.0  # of the last step, as is the next
    grad_norm: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(field.default) is int:
                check_int(field.name, value, 0, FURTHEST)
            elif value is not None or field.default is not None:
                check_real(field.name, value, True, "a number")

    @property
    def position(self) -> Position:
        """The next window."""
        return Position(self.epoch, self.window)

    @property
    def at(self) -> tuple[int, float]:
        """Characters and seconds so far."""
        return self.chars, self.elapsed_s

    @property
    def mean_loss(self) -> float | None:
        """Mean training loss since the last report."""
        return self.loss_sum / self.loss_steps if self.loss_steps else None

    def advance(self, position: Position, chars: int) -> None:
        """A step over ``chars`` characters is done; ``position`` comes next."""
        self.epoch, self.window = position.epoch, position.window
        self.step += 1
        self.chars += chars

    def judge(self, val_nats: float | None) -> bool:
        """Take note of a validation; whether it is the best so far (without one: always)."""
        if val_nats is None or self.best_val is None or val_nats < self.best_val:
            self.best_val, self.worse = val_nats, 0
            return True
        self.worse += 1
        return False
