"""float16 and its loss scale: steps that overflow are skipped, and quality is that of float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.network import CharNetwork
from charrnn.training.hardware.device import choose_hardware, own_torch_settings
from charrnn.training.loop.captured import CapturedStepper, stepper_for
from charrnn.training.loop.optimizer import Stepper, StepResult
from tests.gpu.device import DEVICE, ON_GPU, PRECISIONS, on_device
from tests.support.processes import corpus_in
from tests.support.runs import Notes, run

pytestmark = on_device

TOO_LARGE = 2.0**127  # a scale with which gradients overflow in every type


@pytest.mark.parametrize("before", [0, CapturedStepper.WARM + 1], ids=["first", "captured"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_that_overflows_changes_nothing(precision: Any, before: int) -> None:
    config = TrainConfig(steps=1, batch=16, window=20, device=DEVICE.type, precision=precision)  # type: ignore[arg-type]
    with own_torch_settings():
        hardware = choose_hardware(config)
        stepper = stepper_for(CharNetwork(ModelConfig(11, hidden=128)), config, hardware)
        x = torch.randint(11, (16, 20), generator=torch.Generator().manual_seed(1)).to(DEVICE)
        state = stepper.network.zero_state(16)
        for _ in range(before):
            stepper.step(x, x, state, 0.01)
        scale, weights = stepper._loss_scale, stepper.flat.values.clone()
        means = stepper.exp_avg.clone()
        stepper._loss_scale = TOO_LARGE
        result = stepper.step(x, x, state, 0.01)
    assert torch.isfinite(result.loss)
    assert not torch.isfinite(result.grad_norm)
    assert torch.equal(stepper.flat.values, weights)
    assert torch.equal(stepper.exp_avg, means)
    assert stepper.take_skipped() == 1
    assert stepper.take_skipped() == 0
    stepper._loss_scale = scale
    stepper.step(x, x, state, 0.01)
    assert not torch.equal(stepper.flat.values, weights)
    assert torch.isfinite(stepper.flat.values).all()


def test_steps_that_overflow_are_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = CapturedStepper if ON_GPU else Stepper
    step_at, seen, notes = kind.step_at, list[bool](), Notes()

    def overflowing(self: Any, *given: Any) -> StepResult:
        seen.append(len(seen) + 1 in (7, 8, 30))
        usual = self._loss_scale
        self._loss_scale = TOO_LARGE if seen[-1] else usual
        try:
            return step_at(self, *given)
        finally:
            self._loss_scale = usual

    monkeypatch.setattr(kind, "step_at", overflowing)
    result = run(
        corpus_in(tmp_path), tmp_path / "run", listener=notes, eval_every=20, hidden=128,
        embedding=128, batch=16, device=DEVICE.type, precision=PRECISIONS[-1],
    )  # fmt: skip
    assert [note.split(" skipped")[0] for note in notes.said] == ["2 steps", "1 step"]
    assert result.best_val is not None
    assert result.best_val < 2.0


@pytest.mark.long
@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_3000_steps_end_where_those_in_float32_do(precision: str, tmp_path: Path) -> None:
    """Nats a character on the validation part of the bundled novel, within 0.01."""
    settings: dict[str, Any] = {
        "steps": 3_000, "hidden": 256, "embedding": 128, "layers": 2, "batch": 32, "window": 64,
        "dropout": 0.3, "lr": 4e-3, "seed": 1, "device": DEVICE.type, "patience": 0,
    }  # fmt: skip
    ends = {}
    for name in ("float32", precision):
        result = charrnn.train(out=tmp_path / name, precision=name, **settings)
        ends[name] = result.best_val
    print(ends)
    assert ends[precision] == pytest.approx(ends["float32"], abs=0.01)
