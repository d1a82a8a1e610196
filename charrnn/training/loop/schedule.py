"""The budget of a run, in steps or seconds, and over it the learning rate and validations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from charrnn.config import TrainConfig
from charrnn.training.state import TrainingState

WARMUP_AT_MOST = 0.1  # of the budget
VALIDATIONS = 20  # in a run, about
VALIDATION_SHARE = 0.04  # of a time budget, at most
# A short budget in steps has fewer validations, so that they take at most so much of the time of
# its steps; but they are at most so many steps apart, unless that is what a long budget has anyway.
SHORT_SHARE, MOST_APART = 0.5, 100
# steps that saving, a sample and getting up to speed again take, besides reading: with it, the
# default networks for 60,000, 300,000 and 1.1 million characters validate for 4.6, 7 and 16 steps,
# measured on two cores of a Zen 5: 6, 7 and 16
SAVING = 4
# of a time budget, for one validation: if all of the validation part takes longer, a sample is read
SAMPLE_SHARE = 0.005
LEAST_SAMPLE = 4096  # characters
Exchange = Literal["gradient", "weights", "nothing"]  # of the processes, in a step
READING = 1.5  # times as fast as training: without gradients, but in float32


@dataclass(frozen=True)
class Budget:
    """How long a run may train: in steps or in seconds, of which the other is 0.

    ``validated`` is about how many steps take as long as a validation; it follows from sizes alone,
    so that a run in steps is the same on every machine.
    """

    total_steps: int
    seconds: float
    validated: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig, windows_per_epoch: int, val_chars: int = 0) -> Budget:
        """The budget of ``config``; epochs are counted in steps."""
        steps = config.steps or config.epochs * windows_per_epoch
        reading = val_chars / READING / (config.batch * config.window)
        return cls(steps, config.seconds, reading + SAVING)

    def fraction(self, step: int, elapsed_s: float, reserve_s: float = 0.0) -> float:
        """The fraction of the budget, in [0, 1], that is used before step ``step`` (from 0).

        ``reserve_s`` seconds of a time budget are reserved for what follows the last step.
        """
        seconds = max(self.seconds - reserve_s, 1e-9)
        done = step / self.total_steps if self.total_steps else elapsed_s / seconds
        return min(max(done, 0.0), 1.0)

    def spent(self, step: int, elapsed_s: float) -> bool:
        """Whether the budget leaves no time for another step."""
        return step >= self.total_steps if self.total_steps else elapsed_s >= self.seconds

    @property
    def validation_steps(self) -> int:
        """How many steps lie between two validations; 0 for a time budget."""
        if not self.total_steps:
            return 0
        short = min(MOST_APART, math.ceil(self.validated / SHORT_SHARE))
        return max(1, self.total_steps // VALIDATIONS, short)

    def validation_pause_s(self, validation_s: float, is_first: bool) -> float:
        """How many seconds of a time budget lie between two validations of ``validation_s``.

        The first one comes early, unless it would take too much of the budget.
        """
        pause = validation_s / VALIDATION_SHARE
        if is_first and pause < self.seconds:
            pause = 0.0
        return max(self.seconds / VALIDATIONS, pause)


def sample_chars(budget: Budget, progress: TrainingState, val_chars: int) -> int:
    """How many characters of a validation part of ``val_chars`` to read; 0 stands for all."""
    if budget.total_steps:
        return 0  # such a run does not depend on how fast the machine is
    speed = READING * progress.chars / progress.elapsed_s if progress.elapsed_s else 0.0
    most = max(LEAST_SAMPLE, int(SAMPLE_SHARE * budget.seconds * speed))
    # a part that is not much longer is read as a whole
    return most if 1.5 * most < val_chars else 0


def expected_validation_s(budget: Budget, progress: TrainingState, val_chars: int) -> float:
    """How long the next validation takes: as the last one; before the first, an estimate."""
    if progress.validation_s or not progress.chars:
        return progress.validation_s
    chars = sample_chars(budget, progress, val_chars) or val_chars
    return min(chars * progress.elapsed_s / progress.chars / READING, budget.seconds / 4)


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """The learning rate of step ``step`` (from 0), when ``fraction`` of the budget is used.

    It rises linearly for ``warmup`` steps (of a short budget, for a tenth of it), is constant until
    ``flat`` of the budget, and falls along half a cosine to 0 at the end. Ending at zero improves
    the loss here as much as a second layer does.
    """
    warm = _warm(config, step, fraction)
    if fraction <= config.flat:
        return config.lr * warm
    falling = (fraction - config.flat) / (1 - config.flat)
    return config.lr * warm * 0.5 * (1 + math.cos(math.pi * falling))


def _warm(config: TrainConfig, step: int, fraction: float) -> float:
    """How far the warm-up has come at step ``step`` (from 0); 1 after it."""
    return min(1.0, max((step + 1) / (config.warmup + 1), fraction / WARMUP_AT_MOST))


def exchange(config: TrainConfig, budget: Budget, step: int, fraction: float) -> Exchange:
    """What several processes exchange in step ``step`` (from 0) at ``fraction`` of the budget.

    Their gradients, or after the warm-up, if ``sync_every`` is above 1, their weights, but only
    every so many steps (post-local SGD: Lin et al. 2018, "Don't use large mini-batches, use local
    SGD"). Where a run of so many steps is validated or ends, all have the same weights. It depends
    on the step alone, so that a resumed run repeats it.
    """
    if config.sync_every == 1 or _warm(config, step, fraction) < 1:
        return "gradient"
    stops = config.sync_every, config.eval_every or budget.validation_steps, budget.total_steps
    return "weights" if any(n and (step + 1) % n == 0 for n in stops) else "nothing"
