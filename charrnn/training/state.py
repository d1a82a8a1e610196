"""What a run is (``RunSpec``), and how far it has come (``TrainingState``)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from charrnn.config import ModelConfig, Split, TrainConfig
from charrnn.settings import check_int, check_real
from charrnn.text.corpus import Corpus
from charrnn.text.records import apart
from charrnn.text.reversal import turned
from charrnn.text.splits import Parts, Range
from charrnn.text.streams import Position
from charrnn.text.vocab import Ids

FURTHEST = 2**53  # steps, characters or windows: more than any run reaches


@dataclass(frozen=True)
class SplitSpec:
    """How the corpus is split; both fractions are parts of the whole text.

    ``rule`` is that of ``charrnn.text.splits``; a checkpoint that names none follows rule 1.
    """

    kind: Split
    val_frac: float
    test_frac: float
    rule: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        values = dataclasses.asdict(self)
        return values if self.rule != 1 else {k: v for k, v in values.items() if k != "rule"}


@dataclass(frozen=True)
class RunSpec:
    """What does not change during a run.

    ``max_bytes`` of the text were read (None: all); ``start_from`` is the checkpoint whose weights
    the run started from, as the user named it; ``skip_bad`` says whether files that are not texts
    were skipped.
    """

    model: ModelConfig
    training: TrainConfig
    corpus: Corpus
    split: SplitSpec
    parts: Parts
    max_bytes: int | None = None
    start_from: str | None = None
    skip_bad: bool = False

    @property
    def line_end(self) -> int | None:
        """The id of the line end if lines are records, else None."""
        return self.corpus.line_end if self.training.lines else None

    def chars(self, symbols: int) -> int:
        """About how many characters so many symbols of the corpus have; exact if they have one."""
        each = self.corpus.chars_per_symbol
        return symbols if each == 1 else round(symbols * each)

    def to_train(self) -> tuple[Ids, tuple[Range, ...]]:
        """The text as the network reads it, and the ranges of it to train on."""
        return self._as_read(self.parts.train)

    def to_score(self, part: tuple[Range, ...]) -> tuple[Ids, tuple[Range, ...]]:
        """The text as the network reads it, and ranges that are scored each from the zero state.

        They are ``part`` of the corpus, or the records in it.
        """
        if self.line_end is None:
            return self._as_read(part)
        return apart(self.corpus.ids, part, self.line_end)

    def _as_read(self, part: tuple[Range, ...]) -> tuple[Ids, tuple[Range, ...]]:
        return turned(self.corpus.ids, part) if self.model.reverse else (self.corpus.ids, part)


@dataclass
class TrainingState:
    """How far a run has come, tensors apart; all of it is saved in the last checkpoint.

    ``loss_sum`` and ``loss_steps`` are counted from the last report, ``worse`` is the number of
    validations since the best one. Losses are nats a character. Where symbols may have several
    characters, ``chars`` and ``val_chars`` count symbols.
    """

    step: int = 0
    chars: int = 0
    elapsed_s: float = 0.0
    epoch: int = 0
    window: int = 0
    best_val: float | None = None
    worse: int = 0
    validated_step: int = 0
    validated_s: float = 0.0  # when the last validation ended
    validation_s: float = 0.0  # how long it took
    val_chars: int = 0  # that validations read of the validation part; 0: all
    loss_sum: float = 0.0
    loss_steps: int = 0
    train_nats: float | None = None
    lr: float = 0.0  # of the last step
    grad_norm: float | None = None  # of the last step

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(field.default) is int:
                check_int(field.name, value, 0, FURTHEST)
            elif value is not None or field.default is not None:
                check_real(field.name, value, True, "a number")

    @property
    def position(self) -> Position:
        """The next window to train on."""
        return Position(self.epoch, self.window)

    @property
    def at(self) -> tuple[int, float]:
        """Characters and seconds until now."""
        return self.chars, self.elapsed_s

    @property
    def mean_loss(self) -> float | None:
        """Mean training loss since the last report."""
        return self.loss_sum / self.loss_steps if self.loss_steps else None

    def advance(self, position: Position, chars: int) -> None:
        """Count a step over ``chars`` characters; the next window is at ``position``."""
        self.epoch, self.window = position.epoch, position.window
        self.step += 1
        self.chars += chars

    def judge(self, val_nats: float | None) -> bool:
        """Record a validation; True if it is the best so far, or if there was none (None)."""
        if val_nats is None or self.best_val is None or val_nats < self.best_val:
            self.best_val, self.worse = val_nats, 0
            return True
        self.worse += 1
        return False
