"""Small runs: begun, stopped, resumed and compared."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.errors import Interrupted
from charrnn.generation.scoring import Score
from charrnn.hints import Hint
from charrnn.training.events import Result, Silence

SMALL: dict[str, Any] = {
    "hidden": 8, "embedding": 6, "layers": 2, "batch": 4, "window": 10, "lr": 0.01, "seed": 7,
    "threads": 1, "dropout": 0.2, "ema": 0.9, "patience": 0,
}  # fmt: skip


def run(corpus: Path, out: Path | None, **settings: Any) -> Result:
    """A small run of 60 steps, except where ``settings`` say otherwise."""
    return charrnn.train(corpus, out=out, **({"steps": 60} | SMALL | settings))


def tensors(folder: Path, name: str = "last.safetensors") -> dict[str, NDArray[np.generic]]:
    """Every array of a checkpoint, those that only resuming needs among them."""
    loaded = checkpoint.load(folder / name, extra=True)
    return {**loaded.weights, **loaded.extra}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("elapsed_s"), line.pop("chars_per_second", None)
    return lines


def same(one: dict[str, NDArray[np.generic]], other: dict[str, NDArray[np.generic]]) -> bool:
    """Whether all arrays agree to the last bit."""
    assert one.keys() == other.keys()
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


class Notes(Silence):
    """Remembers what was said, and calls ``then`` after so many steps."""

    def __init__(self, step: int = 0, then: Callable[[], object] = lambda: None) -> None:
        self.said: list[str] = []
        self.left, self.then = step, then

    def on_note(self, text: str, hint: Hint | None = None) -> None:
        self.said.append(f"{text}; {hint}" if hint else text)

    def on_step(self, progress: float, chars: int, loss: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            self.then()


class StopAt(Notes):
    """Interrupts the run after so many steps, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        super().__init__(step, lambda: signal.raise_signal(signal.SIGINT))


def stop_and_resume(corpus: Path, out: Path, step: int, **settings: Any) -> None:
    """A run that is interrupted after ``step`` steps, then resumed to its end."""
    with pytest.raises(Interrupted) as stopped:
        run(corpus, out, listener=StopAt(step), **settings)
    assert stopped.value.exit_code == 130
    charrnn.train(out=out, resume=True)


def resumes_exactly(corpus: Path, tmp_path: Path, stops: Iterable[int], **settings: Any) -> None:
    """Assert that a run stopped and resumed at each of ``stops`` ends as one never stopped."""
    run(corpus, tmp_path / "whole", **settings)
    for step in stops:
        out = tmp_path / f"parts-{step}"
        stop_and_resume(corpus, out, step, **settings)
        for name in ("last.safetensors", "best.safetensors"):
            assert same(tensors(tmp_path / "whole", name), tensors(out, name)), step
        assert metrics(tmp_path / "whole") == metrics(out), step


class SlowClock:
    """A run's clock on which seconds pass only where a test lets them."""

    seconds = 0.0

    def __init__(self, seconds: float = 0.0) -> None:
        SlowClock.seconds = seconds

    def now(self) -> float:
        return SlowClock.seconds


class Worse:
    """Validations that are each a little worse than the one before."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self) -> Score:
        self.seen += 1
        return Score(1000.0 + self.seen, 1000)
