"""A training step as a CUDA graph: hundreds of launches become one.

A small step on a GPU takes less time than launching its kernels one by one. A graph repeats the
same kernels with the same addresses, so everything that changes from step to step lies on the
device: state, ``Numbers``, and the window or the place in the text from which the graph gathers it.
Only the seed of the masks is set from outside: a graph reads its generators' seeds when it is
replayed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.errors import LostProcessError
from charrnn.model.network import CharNetwork, State
from charrnn.text.streams import Position
from charrnn.training.distributed import ALONE, World
from charrnn.training.hardware.device import Hardware
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.optimizer import Numbers, Stepper, StepResult
from charrnn.training.loop.schedule import Exchange

Work = Callable[[], None]
# makes ``work`` repeatable; its random numbers come from the generator
Capture = Callable[[Work, torch.Generator], Work]


def stepper_for(
    network: CharNetwork, config: TrainConfig, hardware: Hardware, world: World = ALONE
) -> Stepper:
    """The stepper that suits the hardware: on a GPU, steps are captured."""
    if hardware.device.type == "cuda":
        return CapturedStepper(network, config, hardware, world=world)
    return Stepper(network, config, hardware, world)


def captured(work: Work, generator: torch.Generator) -> Work:
    """A CUDA graph of ``work``, which must have run before on another stream than the default."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    torch.cuda.empty_cache()  # a graph has memory of its own
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def repeated(work: Work, generator: torch.Generator) -> Work:
    """No graph: the same calls again. It shows on any device that the step is complete."""
    return work


class CapturedStepper(Stepper):
    """A ``Stepper`` whose steps, after ``WARM`` of them, are replays of one that was captured.

    Where a step cannot be captured, all of them are made of calls; ``failure`` says why.
    """

    WARM = 3

    def __init__(
        self,
        network: CharNetwork,
        config: TrainConfig,
        hardware: Hardware,
        capture: Capture = captured,
        world: World = ALONE,
    ) -> None:
        super().__init__(network, config, hardware, world)
        device = hardware.device
        self.failure: Exception | None = None
        self._capture, self._run, self._warmed = capture, self._work, 0
        self._numbers = Numbers(*(torch.zeros((), device=device) for _ in range(4)))
        rows = world.rows(config.batch)
        B = rows.stop - rows.start
        self._x = torch.zeros(B, config.window, dtype=torch.long, device=device)
        self._y = self._x.clone()
        self._windows: Windows | None = None
        self._start = torch.zeros((), dtype=torch.long, device=device)
        self._state: State = network.zero_state(B)
        self._told = torch.zeros(2, device=device)  # loss and norm
        self._stream = _side_stream(device)

    def step(
        self, x: Tensor, y: Tensor, state: State, lr: float, exchange: Exchange = "gradient"
    ) -> StepResult:
        """As ``Stepper.step``; the next step overwrites the state that it returns."""
        self._prepare(None, exchange)
        self._x.copy_(x)
        self._y.copy_(y)
        return self._exchanged(self._taken(state, lr), exchange)

    def step_at(
        self,
        windows: Windows,
        position: Position,
        state: State,
        lr: float,
        exchange: Exchange = "gradient",
    ) -> StepResult:
        """As ``Stepper.step_at``; the next step overwrites the state that it returns."""
        self._prepare(windows, exchange)
        self._start.fill_(windows.start(position))
        return self._exchanged(self._taken(state, lr), exchange)

    def _prepare(self, windows: Windows | None, exchange: Exchange) -> None:
        """Let ``_work`` gather from ``windows`` (None: it is given) and sum gradients, or not."""
        now = windows, exchange == "gradient"
        if now != (self._windows, self._sums_gradient):
            self._run, self._warmed = self._work, 0
            self._windows, self._sums_gradient = now

    def _taken(self, state: State, lr: float) -> StepResult:
        _copy(state, self._state)
        self._seed()
        self.done += 1
        values = self.done, lr, self._renewed(), self._loss_scale
        for place, value in zip(vars(self._numbers).values(), values, strict=True):
            place.fill_(value)
        if self._warmed < self.WARM:
            self._warm_up()
        else:
            if self._warmed == self.WARM:
                self._try_capture()
            self._run()
        loss, norm = self._told.clone()
        return StepResult(loss, norm, self._state)

    def _warm_up(self) -> None:
        self._warmed += 1
        if self._stream is None:
            self._work()
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._work()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _try_capture(self) -> None:
        assert self.dropout.generator is not None
        seed = self.dropout.generator.initial_seed()
        self._warmed += 1
        try:
            self._run = self._capture(self._work, self.dropout.generator)
        except (RuntimeError, LostProcessError) as error:  # NCCL's may look like the latter
            self.failure = error
            # the old one goes on believing that a graph is being captured, and refuses to draw
            self.dropout.generator = torch.Generator(self.hardware.device)
        self.dropout.generator.manual_seed(seed)

    def _work(self) -> None:
        x, y, state = self._x, self._y, self._state
        if self._windows is not None:
            x, y = self._windows.gather(self._start)
            state = self._windows.begun(x, state)
        result = self._take(x, y, state, self._numbers)
        _copy(result.state, self._state)
        self._told[0].copy_(result.loss)
        self._told[1].copy_(result.grad_norm)


def _copy(source: State, target: State) -> None:
    for parts, places in zip(source, target, strict=True):
        for part, place in zip(parts, places, strict=True):
            if part is not place:
                place.copy_(part)


@functools.cache
def _side_stream(device: torch.device) -> Any:
    """One for all runs of a process: cuBLAS keeps 65 MiB for each stream that has used it."""
    on_gpu = device.type == "cuda"
    return torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
