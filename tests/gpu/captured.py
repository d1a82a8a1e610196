"""A training step as a CUDA graph: all its launches become one. An experiment (``experiments.py``).

A graph repeats the same kernels with the same numbers, so everything that changes from step to step
must lie on the device: window, state, learning rate, number of the step, decay of the average. Only
the seed of the masks is set from outside: a graph reads its generators' seeds when it is replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.model.network import CharNetwork, State, detached
from charrnn.model.torch_private import fused_adamw
from charrnn.training.hardware.device import Hardware
from charrnn.training.loop.optimizer import Stepper, StepResult

Work = Callable[[], None]


class Capture(Protocol):
    """Makes ``work`` repeatable; its random numbers come from the generator."""

    def __call__(self, work: Work, generator: torch.Generator) -> Work: ...


def repeated(work: Work, generator: torch.Generator) -> Work:
    """No graph: the same calls again. It shows on any device that the step is complete."""
    return work


def captured(work: Work, generator: torch.Generator) -> Work:
    """A CUDA graph of ``work``, which must have run before."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _side_stream(device: torch.device) -> Any:
    on_gpu = device.type == "cuda"
    return torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]


class CapturedStepper(Stepper):
    """A ``Stepper`` whose steps, after ``WARM`` of them, are replays of one that was captured."""

    WARM = 3

    def __init__(
        self, network: CharNetwork, config: TrainConfig, hardware: Hardware, capture: Capture
    ) -> None:
        super().__init__(network, config, hardware)
        device = hardware.device
        self._capture, self._replay = capture, self._work
        self._is_captured = False
        self._lr, self._number, self._kept = (torch.zeros((), device=device) for _ in range(3))
        self._x = torch.zeros(config.batch, config.window, dtype=torch.long, device=device)
        self._y = self._x.clone()
        self._state: State = network.zero_state(config.batch)
        self._told = torch.zeros(2, device=device)  # loss and norm
        self._stream = _side_stream(device)

    def step(self, x: Tensor, y: Tensor, state: State, lr: float) -> StepResult:
        """As ``Stepper.step``; what it returns is overwritten by the next step."""
        assert self.dropout.generator is not None
        self._x.copy_(x)
        self._y.copy_(y)
        for parts, given in zip(self._state, state, strict=True):
            for part, value in zip(parts, given, strict=True):
                if part is not value:
                    part.copy_(value)
        seed = (self.config.seed * 1_000_003 + self.done) % 2**63
        self.dropout.generator.manual_seed(seed)
        self.done += 1
        self._lr.fill_(lr)
        self._number.fill_(float(self.done))
        self._kept.fill_(1 - min(self.config.ema, (1 + self.done) / (10 + self.done)))
        if self.done > self.WARM and not self._is_captured:
            self._replay = self._capture(self._work, self.dropout.generator)
            self._is_captured = True
            self.dropout.generator.manual_seed(seed)
        self._run()
        return StepResult(self._told[0], self._told[1], self._state)

    def _run(self) -> None:
        if self._stream is None or self._is_captured:
            self._replay()
            return
        # what will be captured must have run on another stream than the default one
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._replay()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _work(self) -> None:
        loss, state = self.loss(self._x, self._y, self._state)
        self.flat.grads.zero_()
        torch.autograd.backward(loss * self._loss_scale)
        norm = self._clip()
        self._update_from_device(norm)
        for parts, new in zip(self._state, detached(state), strict=True):
            for part, value in zip(parts, new, strict=True):
                part.copy_(value)
        self._told[0].copy_(loss.detach())
        self._told[1].copy_(norm)

    @torch.no_grad()
    def _update_from_device(self, norm: Tensor) -> None:
        """``Stepper._update`` with its numbers on the device."""
        config, n = self.config, self.flat.decayed
        skip = (~torch.isfinite(norm)).to(torch.float32)
        self._skipped.add_(skip)
        for piece, decay in ((slice(None, n), config.weight_decay), (slice(n, None), 0.0)):
            fused_adamw(
                self.flat.values[piece],
                self.flat.grads[piece],
                self.exp_avg[piece],
                self.exp_avg_sq[piece],
                step=self._number,
                skip=skip,
                lr=self._lr,
                beta1=config.beta1,
                beta2=config.beta2,
                weight_decay=decay,
            )
        if config.ema:
            self.averaged.lerp_(self.flat.values, self._kept)
