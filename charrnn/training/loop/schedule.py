"""The budget of a run, in steps or in seconds, and the learning rate over it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.config import TrainConfig

WARMUP_AT_MOST = 0.1  # of the budget


@dataclass(frozen=True)
class Budget:
    """How long a run may train: in steps or in seconds, of which the other is 0."""

    total_steps: int
    seconds: float

    @classmethod
    def of(cls, config: TrainConfig, windows_per_epoch: int) -> Budget:
        """The budget of ``config``; epochs are counted in steps."""
        return cls(config.steps or config.epochs * windows_per_epoch, config.seconds)

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


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """The learning rate of step ``step`` (from 0), when ``fraction`` of the budget is used.

    It rises linearly for ``warmup`` steps (of a short budget, for a tenth of it), is constant until
    ``flat`` of the budget, and falls along half a cosine to 0 at the end. Ending at zero improves
    the loss here as much as a second layer does.
    """
    warm = min(1.0, max((step + 1) / (config.warmup + 1), fraction / WARMUP_AT_MOST))
    if fraction <= config.flat:
        return config.lr * warm
    falling = (fraction - config.flat) / (1 - config.flat)
    return config.lr * warm * 0.5 * (1 + math.cos(math.pi * falling))
