"""A captured step is the usual one: here with calls in place of a CUDA graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.network import CharNetwork
from charrnn.text.streams import Position, Streams
from charrnn.training.hardware.device import Hardware
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.captured import Capture, CapturedStepper, repeated, stepper_for
from charrnn.training.loop.optimizer import Stepper

CPU = Hardware(torch.device("cpu"), None, 1)
CONFIG = TrainConfig(
    steps=1, batch=3, window=5, dropout=0.2, input_dropout=0.1, weight_dropout=0.3, ema=0.9
)


def network() -> CharNetwork:
    return CharNetwork(ModelConfig(7, hidden=6, embedding=4, layers=2), seed=1)


def trained(stepper: Stepper, steps: int = 8) -> list[torch.Tensor]:
    """Weights, average, losses and norms after some steps on different windows."""
    rng, told = torch.Generator().manual_seed(2), []
    state = stepper.network.zero_state(3)
    for number in range(steps):
        x, y = torch.randint(7, (2, 3, 5), generator=rng)
        result = stepper.step(x, y, state, 0.01 / (number + 1))
        state = result.state
        told += [result.loss, result.grad_norm]
    return [stepper.flat.values, stepper.averaged, *told, *state[0], *state[1]]


def read_on(stepper: Stepper, line_end: int | None, steps: int = 9) -> list[torch.Tensor]:
    """The same of steps that cut their windows, over several epochs."""
    ids = np.random.default_rng(3).integers(7, size=70).astype(np.uint8)
    streams = Streams(ids, ((0, 70),), 3, 5, line_end=line_end)
    windows, position, told = Windows(streams, CPU.device), Position(), []
    state = stepper.network.zero_state(3)
    for number in range(steps):
        result = stepper.step_at(windows, position, state, 0.01 / (number + 1))
        state, position = result.state, streams.after(position)
        told += [result.loss, result.grad_norm]
    assert position.epoch > 1
    return [stepper.flat.values, stepper.averaged, *told, *state[0], *state[1]]


def failing(work: Any, generator: torch.Generator) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("capture", [repeated, failing])
def test_captured_steps_are_the_usual_ones(capture: Capture) -> None:
    """Also where the device cannot capture them."""
    stepper = CapturedStepper(network(), CONFIG, CPU, capture)
    for one, other in zip(trained(stepper), trained(Stepper(network(), CONFIG, CPU)), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)
    assert (stepper.failure is None) == (capture is repeated)


@pytest.mark.parametrize("line_end", [None, 2])
@pytest.mark.parametrize("capture", [repeated, failing])
def test_captured_steps_cut_the_usual_windows(capture: Capture, line_end: int | None) -> None:
    """Records begin with zeros there, too."""
    stepper = CapturedStepper(network(), CONFIG, CPU, capture)
    usual = read_on(Stepper(network(), CONFIG, CPU), line_end)
    for one, other in zip(read_on(stepper, line_end), usual, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_window_that_is_given_may_follow_one_that_is_cut() -> None:
    steppers = CapturedStepper(network(), CONFIG, CPU, repeated), Stepper(network(), CONFIG, CPU)
    both = []
    for stepper in steppers:
        read_on(stepper, None)
        both.append([part.clone() for part in trained(stepper)] + read_on(stepper, None))
    for one, other in zip(*both, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_losses_stay_when_the_next_step_is_taken() -> None:
    stepper = CapturedStepper(network(), CONFIG, CPU, repeated)
    losses = trained(stepper)[2:18:2]
    assert len({float(loss) for loss in losses}) > 4


def test_a_processor_needs_no_capture() -> None:
    assert type(stepper_for(network(), CONFIG, CPU)) is Stepper
