"""A run learns, nothing but its steps changes it, and what stops it loses nothing."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

import charrnn
from charrnn import interrupts
from charrnn.checkpoint import file as checkpoint
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import Interrupted, NonFiniteLossError
from charrnn.generation.scoring import Score
from charrnn.model.network import State
from charrnn.training.distributed import ALONE
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.events import Report, Silence
from charrnn.training.loop import trainer as loop
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.rundir.directory import RunFolder
from charrnn.training.state import RunSpec, TrainingState
from tests.support.processes import TEXT
from tests.support.runs import metrics, run, same, tensors

EVALUATE = "charrnn.training.loop.validation.evaluate"


def test_training_learns(corpus: Path, tmp_path: Path) -> None:
    result = run(corpus, tmp_path / "run", steps=400, hidden=32, dropout=0.0)
    uniform = np.log(len(set(TEXT)))
    assert result.best_val < uniform / 3
    assert result.steps == 400


def test_evaluating_saving_and_sampling_change_nothing(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "often", eval_every=1)
    run(corpus, tmp_path / "once", eval_every=1000)
    often, once = tensors(tmp_path / "often"), tensors(tmp_path / "once")
    assert same(often, once)


def test_the_same_seed_is_the_same_run_and_another_is_not(corpus: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(corpus, tmp_path / name, seed=seed, steps=5)
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert not same(tensors(tmp_path / "a"), tensors(tmp_path / "c"))


def test_a_signal_while_validating_saves_the_run(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        interrupts.check()

    with monkeypatch.context() as patch:
        patch.setattr(EVALUATE, interrupted)
        with pytest.raises(Interrupted) as stopped:
            run(corpus, tmp_path / "parts")
    assert stopped.value.exit_code == 143
    charrnn.train(out=tmp_path / "parts", resume=True)
    run(corpus, tmp_path / "whole")
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    step, seen = Stepper.loss, list[Tensor]()

    def poisoned(self: Stepper, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        loss, state = step(self, x, y, state)
        seen.append(self.flat.values.clone())
        return (loss * bad if len(seen) == 13 else loss), state

    monkeypatch.setattr(Stepper, "loss", poisoned)
    with pytest.raises(NonFiniteLossError, match="near step 13"):
        run(corpus, tmp_path / "run", eval_every=5)
    kept = checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert kept.meta["resume"]["tally"]["step"] == 10
    assert len(seen) == 13


def test_what_explodes_by_weight_dropout_is_told_so(corpus: Path, tmp_path: Path) -> None:
    """Dropout multiplies the weights that it keeps, and an IRNN's state by them at each step."""
    settings: dict[str, Any] = {"cell": "irnn", "window": 64, "steps": 30, "lr": 1e-4}
    said = r"new run with weight_dropout=0, or with lr=3e-05$"
    with pytest.raises(NonFiniteLossError, match=said):
        run(corpus, tmp_path / "dropped", weight_dropout=0.3, **settings)
    result = run(corpus, tmp_path / "kept", weight_dropout=0.0, **settings)
    assert (result.best_val or np.inf) < 10


def test_an_unread_loss_that_is_not_finite_does_not_hide_a_signal() -> None:
    """On a GPU it is read once in a while; then it is too late to keep anything."""
    trainer = object.__new__(loop.Trainer)
    trainer._losses, trainer.progress = [(torch.tensor(float("nan")), 1)], TrainingState(step=7)
    trainer.listener, trainer.config = Silence(), TrainConfig(steps=9)
    trainer.spec = cast(RunSpec, SimpleNamespace(training=trainer.config, model=ModelConfig(5)))
    trainer.world = ALONE
    trainer.folder = cast(RunFolder, SimpleNamespace(path=Path("run"), has=lambda name: True))
    left = trainer._stopped(Interrupted.by(signal.SIGTERM))
    assert isinstance(left, Interrupted)
    assert left.exit_code == 128 + signal.SIGTERM
    assert "stopped at step 7, which could not be saved" in str(left)


def test_a_run_whose_metrics_lose_their_reader_is_saved(corpus: Path, tmp_path: Path) -> None:
    class Gone(Silence):
        def on_report(self, report: Report) -> None:
            if report.step == 50:
                raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(corpus, tmp_path / "parts", listener=Gone(), eval_every=1000)
    assert checkpoint.load(tmp_path / "parts/last.safetensors").meta["progress"]["step"] == 50
    charrnn.train(out=tmp_path / "parts", resume=True)
    run(corpus, tmp_path / "whole", eval_every=1000)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))


def test_a_signal_in_the_middle_of_a_run_s_validation_changes_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(corpus, tmp_path / "whole", eval_every=10)
    calls = []

    def interrupted(*args: Any, **settings: Any) -> Score:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGHUP)
        return evaluate(*args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(EVALUATE, interrupted)
        with pytest.raises(Interrupted) as stopped:
            run(corpus, tmp_path / "parts", eval_every=10)
    assert stopped.value.exit_code == 129
    assert "step 30" in str(stopped.value)
    charrnn.train(out=tmp_path / "parts", resume=True)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def test_every_validation_reports_the_training_loss_since_the_last(
    corpus: Path, tmp_path: Path
) -> None:
    run(corpus, tmp_path / "run", steps=100, eval_every=50)
    lines = metrics(tmp_path / "run")[:-1]
    assert [line["step"] for line in lines] == [50, 100]
    assert all(line["train_nats"] and line["val_nats"] for line in lines)


def test_a_few_steps_are_no_reason_to_lose_patience(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = itertools.count(100)
    monkeypatch.setattr(EVALUATE, lambda *_, **__: Score(float(next(losses)), 10))
    result = run(corpus, tmp_path / "run", steps=24, patience=8, val_frac=0.01)
    assert (result.steps, result.early) == (24, False)
    validated = [line["step"] for line in metrics(tmp_path / "run") if "final" not in line]
    assert validated == [11, 22, 24]


def test_without_a_validation_part_the_loss_is_still_reported(corpus: Path, tmp_path: Path) -> None:
    result = run(corpus, tmp_path / "run", steps=4, val_frac=0.0)
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines[-2:]] == [4, 4]
    assert result.train == lines[-2]["train_nats"] > 0


@pytest.mark.parametrize("lines", [True, False])
def test_a_window_that_begins_a_record_begins_with_the_zero_state(
    lines: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, seen, step = tmp_path / "records.txt", [], Stepper.step
    corpus.write_text("ab\nabb\na\n" * 100)

    def spy(self: Stepper, x: Tensor, y: Tensor, state: State, *rest: Any) -> Any:
        held = torch.cat([part for layer in state for part in layer], dim=1).abs().sum(dim=1)
        seen.append((x[:, 0] == 0, held == 0))  # 0 is the line end
        return step(self, x, y, state, *rest)

    monkeypatch.setattr(Stepper, "step", spy)
    run(corpus, tmp_path / "run", steps=15, lines=lines)
    begins, zero = (torch.cat(rows) for rows in zip(*seen[1:], strict=True))
    assert 5 < begins.sum() < len(begins) / 2
    assert torch.equal(zero, begins if lines else torch.zeros_like(begins))


def test_records_show_as_lines_of_their_own(corpus: Path, tmp_path: Path) -> None:
    """As ``sample`` draws them: the preview of a run of records is several of them."""
    shown: list[str] = []
    listener = Silence()
    listener.on_sample = shown.append  # type: ignore[method-assign,assignment]
    corpus.write_text("ab\nabb\na\n" * 300)
    made = run(corpus, tmp_path / "run", steps=60, lines=True, listener=listener, ema=0.0)
    model = charrnn.load(made.folder, weight_dtype="float32")
    config = charrnn.SampleConfig(length=150, seed=7, count=4)
    assert len(shown[-1].split("\n")) == 4
    assert shown[-1] == "\n".join(model.samples("", config))
