"""The learning rate over the whole budget, whatever the budget is measured in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.config import TrainConfig

WARMUP_AT_MOST = 0.1  # of the budget


@dataclass(frozen=True)
class Budget:
    """How far a run has come: ``fraction`` in [0, 1] from steps done or seconds spent."""

    total_steps: int  # 0 where seconds decide
    seconds: float  # 0 where steps decide

    @classmethod
    def of(cls, config: TrainConfig, windows_per_epoch: int) -> Budget:
        """The budget that ``config`` sets."""
        return cls(config.steps or config.epochs * windows_per_epoch, config.seconds)

    def fraction(self, step: int, elapsed_s: float, reserve_s: float = 0.0) -> float:
        """The part of the budget that is used before step number ``step`` (from 0).

        ``reserve_s`` of a time budget is set aside for what follows the last step.
        """
        seconds = max(self.seconds - reserve_s, 1e-9)
        done = step / self.total_steps if self.total_steps else elapsed_s / seconds
        return min(max(done, 0.0), 1.0)

    def spent(self, step: int, elapsed_s: float) -> bool:
        """Whether no further step may begin."""
        return step >= self.total_steps if self.total_steps else elapsed_s >= self.seconds


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """The rate of step number ``step`` (from 0) at ``fraction`` in [0, 1].

    A linear warm-up over ``warmup`` steps, or a tenth of a shorter budget, flat until ``flat`` of
    the budget, then half a cosine down to 0 at its end. A schedule that ends at zero is worth as
    much as a second layer here.
    """
    warm = min(1.0, max((step + 1) / (config.warmup + 1), fraction / WARMUP_AT_MOST))
    if fraction <= config.flat:
        return config.lr * warm
    falling = (fraction - config.flat) / (1 - config.flat)
    return config.lr * warm * 0.5 * (1 + math.cos(math.pi * falling))
