"""Steps of a run that are timed and not kept."""

from __future__ import annotations

import statistics
import time

import torch

from charrnn.model.network import CharNetwork
from charrnn.training.distributed import World
from charrnn.training.events import Silence
from charrnn.training.hardware.device import Hardware
from charrnn.training.machinery import stepper_of
from charrnn.training.state import RunSpec

TRIAL_S, MOST_STEPS = 1.0, 100  # whichever comes first


def step_seconds(spec: RunSpec, hardware: Hardware, world: World) -> float:
    """The median time of a training step on this machine, in seconds.

    The network has random weights and reads random symbols; its weights do not change. The first
    step, in which memory is allocated, counts only if there is no time for another.
    """
    config = spec.training
    stepper = stepper_of(CharNetwork(spec.model, config.seed), config, hardware, Silence(), world)
    rows = world.rows(config.batch)
    size = rows.stop - rows.start, config.window + 1
    text = torch.randint(spec.model.vocab_size, size, generator=torch.Generator().manual_seed(0))
    x, y = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    state = stepper.network.zero_state(size[0])
    taken: list[float] = []
    end = time.perf_counter() + TRIAL_S
    while world.broadcast(len(taken) < MOST_STEPS and time.perf_counter() < end):
        world.check_signals()
        began = time.perf_counter()
        result = stepper.step(x, y, state, 0.0)
        result.loss.item()
        taken.append(time.perf_counter() - began)
        state = result.state
    return statistics.median(taken[1:] or taken)
