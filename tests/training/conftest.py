"""A clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from charrnn.generation.scoring import Score
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.loop import trainer as loop
from charrnn.training.loop import validation
from charrnn.training.loop.optimizer import Stepper, StepResult
from tests.support.runs import SlowClock


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """``slowly(step_s, validation_s)``: how long a step and a validation last from now on."""

    def begin(step_s: float, validation_s: float) -> None:
        step = Stepper.step

        def slow_step(*args: Any) -> StepResult:
            SlowClock.seconds += step_s
            return step(*args)

        def slow_evaluation(*args: Any, **settings: Any) -> Score:
            SlowClock.seconds += validation_s
            return evaluate(*args, **settings)

        monkeypatch.setattr(loop, "Clock", SlowClock)
        monkeypatch.setattr(Stepper, "step", slow_step)
        monkeypatch.setattr(validation, "evaluate", slow_evaluation)

    return begin
