"""Validation losses are those of the kept weights, comparable, and cost little of a time budget."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.generation.scoring import Score
from charrnn.text.splits import length
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.events import Report
from charrnn.training.loop import trainer as loop
from charrnn.training.loop import validation
from charrnn.training.loop.optimizer import Stepper, StepResult
from charrnn.training.loop.schedule import LEAST_SAMPLE, Budget, sample_chars
from charrnn.training.state import TrainingState
from tests.support.networks import drawn_text
from tests.support.runs import SMALL, Notes, SlowClock, run


@pytest.fixture
def long_text(tmp_path: Path) -> Path:
    """40,000 characters that nobody can learn."""
    path = tmp_path / "long.txt"
    path.write_text("".join("abcdefghijkl"[i] for i in drawn_text(12, 40_000)[0]))
    return path


def losses(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = checkpoint.load(folder / "best.safetensors").about("losses")
    return found


@pytest.mark.parametrize("fit", [False, True])
def test_the_loss_of_a_bfloat16_run_is_that_of_its_weights(
    long_text: Path, tmp_path: Path, fit: bool
) -> None:
    """Measured in bfloat16 it would be 1e-4 and more away."""
    settings = {"precision": "bfloat16", "steps": 40, "lr": 0.05, "hidden": 32, "eval_every": 20}
    result = run(long_text, tmp_path / "run", **settings, fit_temperature=fit)
    scored = charrnn.load(result.best).score_split("val", long_text).nats_per_char
    assert result.best_val == pytest.approx(scored, abs=2e-6)
    assert losses(tmp_path / "run")["val"] == result.best_val
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    best = min(line["val_nats"] for line in lines[:-1] if line["val_nats"] is not None)
    assert losses(tmp_path / "run").get("unfitted_val", result.best_val) == best


# --- time budgets


class Timed:
    """A clock for a machine that trains 1,000 characters a second, and reads twice as many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[int] = []
        self.seconds = 0.0
        step = Stepper.step

        def slow_step(*args: Any) -> StepResult:
            SlowClock.seconds += SMALL["batch"] * SMALL["window"] / 1000
            return step(*args)

        def slow_evaluation(network: Any, ids: Any, ranges: Any, **settings: Any) -> Score:
            self.read.append(length(ranges))
            self.seconds += length(ranges) / 2000
            SlowClock.seconds += length(ranges) / 2000
            return evaluate(network, ids, ranges, **settings)

        monkeypatch.setattr(loop, "Clock", SlowClock)
        monkeypatch.setattr(Stepper, "step", slow_step)
        monkeypatch.setattr(validation, "evaluate", slow_evaluation)
        monkeypatch.setattr("charrnn.training.loop.schedule.LEAST_SAMPLE", 100)


def test_under_a_time_budget_validations_take_a_small_share(
    long_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the validation part would take a sixth of the time, each time."""
    timed, notes, seen = Timed(monkeypatch), Notes(), []

    def look(report: Report) -> None:
        if report.step and (tmp_path / "run/best.safetensors").exists():
            seen.append(losses(tmp_path / "run").get("val_chars"))

    notes.on_report = look  # type: ignore[method-assign]
    settings = {"steps": None, "seconds": 60.0, "val_frac": 0.5, "lr": 0.03}
    result = run(long_text, tmp_path / "run", listener=notes, **settings)
    sample, *others = sorted(set(timed.read))
    assert others == [20_000]
    assert timed.read.count(20_000) == 1  # at the end, of the network that is kept
    validations = timed.read.count(sample)
    assert 5 <= validations <= 20
    assert (timed.seconds - 10) / 60 < 0.06
    assert result.elapsed_s < 62
    assert notes.said[0].startswith(f"validations read {sample:,} of 20,000 characters")
    assert set(seen[1:]) == {sample}
    kept = losses(tmp_path / "run")
    assert "val_chars" not in kept
    assert kept["val"] == result.best_val
    assert kept["unfitted_val"] != result.best_val
    scored = charrnn.load(result.best).score_split("val", long_text)
    assert scored.chars == 20_000
    assert scored.nats_per_char == pytest.approx(result.best_val, abs=2e-6)


def test_a_resumed_run_reads_the_same_sample(
    long_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = Timed(monkeypatch)
    settings = {"steps": None, "seconds": 60.0, "val_frac": 0.5, "fit_temperature": False}
    first = run(long_text, tmp_path / "run", **settings)
    before = set(timed.read)
    chosen = losses(tmp_path / "run")["unfitted_val"]
    again = charrnn.train(out=tmp_path / "run", resume=True, seconds=80, lr=1e-9)
    assert set(timed.read) == before
    if again.best_val == first.best_val:  # no better network was found
        assert losses(tmp_path / "run")["unfitted_val"] == chosen
    else:
        assert losses(tmp_path / "run")["unfitted_val"] < chosen
    assert losses(tmp_path / "run")["val"] == again.best_val


def test_how_much_is_read_depends_on_time_and_speed() -> None:
    trained = TrainingState(chars=100_000, elapsed_s=10.0)
    assert sample_chars(Budget(0, 60.0), trained, 500_000) == 4_500
    assert sample_chars(Budget(0, 20.0), trained, 500_000) == LEAST_SAMPLE
    assert sample_chars(Budget(0, 600.0), trained, 500_000) == 45_000
    assert sample_chars(Budget(0, 600.0), trained, 60_000) == 0  # a little more: all of it
    assert sample_chars(Budget(0, 36_000.0), trained, 500_000) == 0
    assert sample_chars(Budget(0, 60.0), TrainingState(), 500_000) == LEAST_SAMPLE
    assert sample_chars(Budget(100, 0.0), trained, 500_000) == 0


# --- runs of before


def as_of_before(folder: Path, val: float) -> None:
    """Let the best network in ``folder`` have the loss ``val``, measured in another way."""
    for name in ("best.safetensors", "last.safetensors"):
        made = checkpoint.load(folder / name, extra=True)
        meta = {key: value for key, value in made.meta.items() if key != "validation"}
        meta["losses"] = made.about("losses") | {"val": val}
        meta["losses"].pop("unfitted_val", None)
        if "resume" in meta:
            tally = meta["resume"]["tally"] | {"best_val": val}
            tally.pop("val_chars")
            meta["resume"] = meta["resume"] | {"tally": tally}
        dataclasses.replace(made, meta=meta).save(folder / name)


@pytest.mark.parametrize("fit", [False, True])
def test_the_best_network_of_an_older_version_is_measured_again(
    corpus: Path, tmp_path: Path, fit: bool
) -> None:
    """Its loss was measured in the number format of training: too low by as much as that errs."""
    folder = tmp_path / "run"
    settings = {"steps": 20, "lr": 0.03, "fit_temperature": fit, "precision": "float32"}
    true = run(corpus, folder, **settings)
    assert true.best_val is not None
    before = losses(folder).get("unfitted_val", true.best_val)
    as_of_before(folder, 0.5)
    worse = charrnn.train(out=folder, resume=True, steps=21, lr=1e-9)
    assert worse.best_val == pytest.approx(true.best_val, abs=0.01)
    found = losses(folder)
    assert found.get("unfitted_val", found["val"]) <= before + 1e-6
    as_of_before(folder, 0.5)
    better = charrnn.train(out=folder, resume=True, steps=120, lr=0.03)
    assert better.best_val is not None
    assert better.best_val < true.best_val
    assert checkpoint.load(folder / "best.safetensors").about("progress")["step"] > 21
    scored = charrnn.load(better.best).score_split("val", corpus)
    assert scored.nats_per_char == pytest.approx(better.best_val, abs=2e-6)


def test_measuring_again_leaves_the_run_s_own_weights_alone(corpus: Path, tmp_path: Path) -> None:
    settings = {"steps": 20, "lr": 0.03, "precision": "float32", "eval_every": 20}
    for name in ("old", "new"):
        run(corpus, tmp_path / name, **settings)
    as_of_before(tmp_path / "old", 9.0)
    for name in ("old", "new"):
        charrnn.train(out=tmp_path / name, resume=True, steps=40)
    one, other = (checkpoint.load(tmp_path / n / "last.safetensors") for n in ("old", "new"))
    assert all(np.array_equal(one.weights[k], other.weights[k]) for k in one.weights)
