"""A clock that a test moves, and runs of several processes that threads play."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.generation.scoring import Score
from charrnn.training import api
from charrnn.training.distributed import World
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.events import Result
from charrnn.training.loop import trainer as loop
from charrnn.training.loop import validation
from charrnn.training.loop.optimizer import Stepper, StepResult
from tests.support.runs import SlowClock, run
from tests.support.worlds import HERE, Train, together


@pytest.fixture
def train(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """``run`` by several ranks; ``listeners`` has one for each of them."""
    monkeypatch.setattr(api, "join_world", lambda: HERE.world)

    def trained(
        out: Path | None, size: int = 2, listeners: list[Any] | None = None, **settings: Any
    ) -> list[Result | BaseException]:
        def one(world: World) -> Result:
            HERE.world = world
            listener = listeners[world.rank] if listeners else None
            settings_here = {"precision": "float32"} | settings
            result: Result = run(corpus, out, listener=listener, **settings_here)
            return result

        return together(size, one)

    return trained


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
