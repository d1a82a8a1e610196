"""A run ends when its budget of steps, epochs or seconds is spent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.errors import Interrupted
from charrnn.training.loop import trainer as loop
from charrnn.training.loop.schedule import READING
from tests.support.processes import TEXT
from tests.support.runs import SMALL, SlowClock, StopAt, run


def test_the_budget_is_the_steps_or_the_epochs(corpus: Path, tmp_path: Path) -> None:
    windows = (int(len(TEXT) * 0.9)) // 4 // 10
    assert run(corpus, tmp_path / "two", steps=None, epochs=2).steps == 2 * windows


def test_a_time_budget_is_kept(
    corpus: Path, tmp_path: Path, slowly: Callable[[float, float], None]
) -> None:
    slowly(2, 0)
    result = run(corpus, tmp_path / "run", steps=None, seconds=100, val_frac=0.0)
    assert (result.steps, result.elapsed_s) == (50, 100)


def test_chars_per_second_exclude_validation(
    corpus: Path, tmp_path: Path, slowly: Callable[[float, float], None]
) -> None:
    slowly(2, 1000)
    run(corpus, tmp_path / "run", steps=200, eval_every=30)
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["chars_per_second"] for line in lines[:-1]]
    assert set(rates) == {SMALL["batch"] * SMALL["window"] / 2}


@pytest.mark.parametrize(("validation_s", "window"), [(1, 40), (20, 10), (200, 10)])
def test_time_is_set_aside_for_the_first_validation(
    validation_s: int,
    window: int,
    corpus: Path,
    tmp_path: Path,
    slowly: Callable[[float, float], None],
) -> None:
    """Reading alone takes less time than learning, which is all that is known."""
    val = len(corpus.read_text()) // 10
    slowly(READING * validation_s * SMALL["batch"] * window / val, validation_s)
    result = run(corpus, tmp_path / "run", steps=0, seconds=600, window=window)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert result.steps > 1
    assert 600 <= lines[-2]["elapsed_s"] < 600 + 2 * validation_s
    validations = [line for line in lines[:-1] if line["val_nats"] is not None]
    assert len(validations) == {1: 20, 20: 3, 200: 1}[validation_s]
    assert lines[-2]["lr"] < 0.2 * SMALL["lr"]


def test_a_timed_run_that_is_often_stopped_is_still_validated(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "Clock", SlowClock)

    class StopAfter(StopAt):
        def on_step(self, progress: float, chars: int, loss: float | None) -> None:
            SlowClock.seconds += 1  # a second a step
            super().on_step(progress, chars, loss)

    settings = {"steps": None, "seconds": 2000.0}  # due every hundred
    with pytest.raises(Interrupted):
        run(corpus, tmp_path / "run", listener=StopAfter(60), **settings)
    assert not (tmp_path / "run/best.safetensors").exists()
    with pytest.raises(Interrupted):
        charrnn.train(out=tmp_path / "run", resume=True, listener=StopAfter(60))
    assert checkpoint.load(tmp_path / "run/best.safetensors").meta["progress"]["step"] == 100
