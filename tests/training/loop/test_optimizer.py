"""A loss or a gradient that is not finite changes no weight."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from charrnn.config import Clip, ModelConfig, TrainConfig
from charrnn.model.network import CharNetwork, State
from charrnn.training.hardware.device import choose_hardware
from charrnn.training.loop.optimizer import LOSS_SCALE, Stepper
from tests.support.runs import Notes, run


def test_weights_are_untouched_by_a_step_whose_loss_is_not_finite(corpus: Path) -> None:
    config = TrainConfig(steps=1, batch=2, window=3, precision="float32")
    stepper = Stepper(CharNetwork(ModelConfig(5, hidden=4, embedding=3)), config,
                      choose_hardware(config))  # fmt: skip
    before = stepper.flat.values.clone()
    x = torch.zeros(2, 3, dtype=torch.long)
    (h, c), *rest = stepper.network.zero_state(2)
    result = stepper.step(x, x, ((h + float("nan"), c), *rest), 0.1)
    assert not torch.isfinite(result.loss)
    assert torch.equal(stepper.flat.values, before)
    assert not stepper.exp_avg.any()


def test_steps_whose_gradients_overflow_are_skipped_and_counted(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_of, seen, notes = Stepper.loss, list[Tensor](), Notes()

    def overflowing(self: Stepper, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        loss, state = loss_of(self, x, y, state)
        seen.append(self.flat.values.clone())
        if len(seen) in (7, 8, 30):  # a root at zero: the loss is finite, its gradient is not
            loss = loss + (self.network.head.bias.sum() * 0).sqrt()
        return loss, state

    monkeypatch.setattr(Stepper, "loss", overflowing)
    run(corpus, tmp_path / "run", listener=notes, eval_every=20)
    assert [note.split(" skipped")[0] for note in notes.said] == ["2 steps", "1 step"]
    still = [k for k in range(1, 60) if torch.equal(seen[k], seen[k - 1])]
    assert still == [7, 8, 30]  # nothing but those three changed nothing


@pytest.mark.parametrize("clip_by", get_args(Clip))
def test_the_loss_scale_changes_no_bit_where_nothing_underflows(clip_by: Clip) -> None:
    """It is a power of two, and is undone before the norm is told and the weights are updated."""
    config = TrainConfig(steps=3, batch=2, window=3, precision="float32", clip=0.1, clip_by=clip_by)
    ends, norms = [], []
    for scale in (1.0, LOSS_SCALE):
        stepper = Stepper(CharNetwork(ModelConfig(5, hidden=4, embedding=3)), config,
                          choose_hardware(config))  # fmt: skip
        stepper._loss_scale = scale
        x = torch.tensor([[0, 1, 2], [3, 4, 0]])
        state = stepper.network.zero_state(2)
        for _ in range(3):
            result = stepper.step(x, x, state, 0.1)
            state = result.state
        ends.append(stepper.flat.values)
        norms.append(float(result.grad_norm))
    assert torch.equal(*ends)
    assert norms[0] == norms[1] > config.clip


@pytest.mark.parametrize("at", [1e-3, 1e3])
@pytest.mark.parametrize("clip_by", get_args(Clip))
def test_gradients_are_clipped_by_norm_or_by_value_or_not(clip_by: Clip, at: float) -> None:
    config = TrainConfig(steps=1, batch=2, window=3, precision="float32", clip=at, clip_by=clip_by)
    stepper = Stepper(
        CharNetwork(ModelConfig(5, hidden=4, embedding=3)), config, choose_hardware(config)
    )
    x = torch.tensor([[0, 1, 2], [3, 4, 0]])
    loss, _ = stepper.loss(x, x, stepper.network.zero_state(2))
    torch.autograd.backward(loss)
    whole = stepper.flat.grads.clone()
    stepper.flat.grads.zero_()
    result = stepper.step(x, x, stepper.network.zero_state(2), 0.1)
    assert float(result.grad_norm) == pytest.approx(float(whole.norm()))
    if clip_by == "norm":
        wanted = whole * min(1.0, at / float(whole.norm()))
    else:
        wanted = whole.clamp(-at, at) if clip_by == "value" else whole
    torch.testing.assert_close(stepper.flat.grads, wanted, rtol=1e-3, atol=0)
    assert torch.equal(wanted, whole) == (at > 1 or clip_by == "none")
