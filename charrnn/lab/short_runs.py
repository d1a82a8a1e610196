"""Short training runs that stay in memory and remember the norm of every gradient."""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.config import TrainConfig
from charrnn.model.network import CharNetwork
from charrnn.text.splits import Range
from charrnn.text.streams import Position, Streams
from charrnn.text.vocab import Ids
from charrnn.training.hardware.device import choose_hardware, own_torch_settings
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.schedule import learning_rate


@dataclass(frozen=True)
class ShortRun:
    """A network after training, and the course of it.

    Attributes:
        network: on the CPU.
        losses: mean nats a character of each step, ``(steps,)``.
        norms: the norm of each step's gradient before clipping, ``(steps,)``.

    """

    network: CharNetwork
    losses: NDArray[np.float64]
    norms: NDArray[np.float64]


def short_run(
    network: CharNetwork, training: TrainConfig, ids: Ids, ranges: tuple[Range, ...]
) -> ShortRun:
    """Train a copy of ``network`` for the steps of ``training`` on the ``ranges`` of ``ids``.

    It neither validates nor stops at a loss that is not finite: that is something to see.

    Raises:
        CorpusError: the ranges are too short.
        Interrupted: a signal arrived.

    """
    with own_torch_settings():
        stepper = Stepper(copy.deepcopy(network), training, choose_hardware(training))
        streams = Streams(ids, ranges, training.batch, training.window, seed=training.seed)
        windows = Windows(streams, stepper.hardware.device)
        position, told = Position(), list[torch.Tensor]()
        for step in range(training.steps):
            interrupts.check()
            if position.window == 0:
                state = stepper.network.zero_state(streams.rows)
            rate = learning_rate(training, step, step / training.steps)
            result = stepper.step_at(windows, position, state, rate)
            state, position = result.state, streams.after(position)
            told.append(torch.stack([result.loss.float(), result.grad_norm.float()]))
        both = torch.stack(told).cpu().double().numpy()
        return ShortRun(stepper.network.cpu(), both[:, 0], both[:, 1])
