"""A text to train on, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.generation.scoring import Score
from charrnn.training.loop import trainer as loop
from charrnn.training.loop.optimizer import Stepper, StepResult
from tests.support.processes import TEXT


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "novel.txt"
    path.write_text(TEXT)
    return path


class SlowClock:
    """Seconds that pass only where a test lets them."""

    seconds = 0.0

    def __init__(self, seconds: float = 0.0) -> None:
        SlowClock.seconds = seconds

    def now(self) -> float:
        return SlowClock.seconds


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """``slowly(step_s, validation_s)``: how long a step and a validation last from now on."""

    def begin(step_s: float, validation_s: float) -> None:
        step, evaluate = Stepper.step, loop.evaluate

        def slow_step(*args: Any) -> StepResult:
            SlowClock.seconds += step_s
            return step(*args)

        def slow_evaluation(*args: Any, **settings: Any) -> Score:
            SlowClock.seconds += validation_s
            return evaluate(*args, **settings)

        monkeypatch.setattr(loop, "Clock", SlowClock)
        monkeypatch.setattr(Stepper, "step", slow_step)
        monkeypatch.setattr(loop, "evaluate", slow_evaluation)

    return begin
