"""A run as checkpoints, and checkpoints as a run again."""

from __future__ import annotations

import dataclasses
import datetime
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import charrnn
from charrnn.checkpoint import Checkpoint, Tensors
from charrnn.config import ModelConfig, Split, TrainConfig
from charrnn.errors import CheckpointError
from charrnn.model.network import State
from charrnn.text.corpus import Corpus
from charrnn.text.splits import Parts
from charrnn.text.streams import Position
from charrnn.training.step import Stepper

LICENCE = "The weights were learned from the corpus named here; its terms may apply to them."


@dataclass(frozen=True)
class Cut:
    """How the corpus was split."""

    kind: Split
    val_frac: float
    test_frac: float


@dataclass(frozen=True)
class Setting:
    """What does not change while a run lasts."""

    model: ModelConfig
    training: TrainConfig
    corpus: Corpus
    cut: Cut
    parts: Parts


@dataclass
class Tally:
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
    best_step: int = 0
    worse: int = 0
    validated_step: int = -1
    loss_sum: float = 0.0
    loss_steps: int = 0
    train_nats: float | None = None

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
            self.best_val, self.best_step, self.worse = val_nats, self.step, 0
            return True
        self.worse += 1
        return False


def environment(stepper: Stepper) -> dict[str, Any]:
    """What an exact repetition depends on besides the checkpoint."""
    return {
        "torch": torch.__version__,
        "device": stepper.place.device.type,
        "threads": stepper.place.threads,
        "precision": str(stepper.place.dtype or torch.float32).removeprefix("torch."),
    }


def _card(setting: Setting, tally: Tally, test: float | None = None) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    corpus = setting.corpus
    return {
        "corpus": {
            "name": corpus.name,
            "sha256": corpus.sha256,
            "encoding": corpus.encoding,
            "chars": len(corpus),
            "lines": setting.training.lines,
            "split": dataclasses.asdict(setting.cut),
        },
        "losses": {"train": tally.train_nats, "val": tally.best_val, "test": test},
        "training": setting.training.to_dict(),
        "progress": {
            "step": tally.step,
            "epoch": tally.epoch,
            "chars": tally.chars,
            "elapsed_s": round(tally.elapsed_s, 1),
        },
        "made": {
            "by": f"charrnn {charrnn.__version__}",
            "torch": torch.__version__,
            "python": platform.python_version(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
        "licence": LICENCE,
    }


def best_checkpoint(setting: Setting, stepper: Stepper, tally: Tally) -> Checkpoint:
    """The file to share: the averaged weights and the card."""
    with stepper.averaged_weights():
        weights: Tensors = dict(stepper.network.to_numpy())
    return Checkpoint(setting.model, setting.corpus.vocab, weights, _card(setting, tally))


def last_checkpoint(setting: Setting, stepper: Stepper, tally: Tally, state: State) -> Checkpoint:
    """All that resuming needs."""
    hx, cx = state
    extra = {
        "optimizer.exp_avg": stepper.exp_avg,
        "optimizer.exp_avg_sq": stepper.exp_avg_sq,
        "state.hx": hx,
        "state.cx": cx,
    }
    if setting.training.ema:
        extra["averaged"] = stepper.averaged
    meta = _card(setting, tally) | {
        "resume": {"tally": dataclasses.asdict(tally), "environment": environment(stepper)}
    }
    weights: Tensors = dict(stepper.network.to_numpy())
    tensors = {name: value.cpu().numpy().copy() for name, value in extra.items()}
    return Checkpoint(setting.model, setting.corpus.vocab, weights, meta, tensors)


def restore(checkpoint: Checkpoint, stepper: Stepper) -> tuple[Tally, State]:
    """Set ``stepper`` to where ``checkpoint`` stands; its tally and carried state.

    Raises:
        CheckpointError: it lacks what resuming needs.

    """
    try:
        tally = Tally(**checkpoint.meta["resume"]["tally"])
        extra = checkpoint.extra
        stepper.network.load_numpy(checkpoint.weights)
        targets = {
            "optimizer.exp_avg": stepper.exp_avg,
            "optimizer.exp_avg_sq": stepper.exp_avg_sq,
        }
        if stepper.config.ema:
            targets["averaged"] = stepper.averaged
        for name, target in targets.items():
            target.copy_(torch.from_numpy(np.array(extra[name])))
        stepper.done = tally.step
        device = stepper.place.device
        hx, cx = (torch.from_numpy(np.array(extra[f"state.{n}"])).to(device) for n in ("hx", "cx"))
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the last checkpoint cannot be resumed: it lacks {error}") from None
    return tally, (hx, cx)
