"""What a run is trained with, on all its processes: hardware, how fast it is, and a stepper."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from charrnn import cells, interrupts
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.layers import kernels, must_compile
from charrnn.model.network import CharNetwork
from charrnn.settings import declared
from charrnn.training.distributed import World
from charrnn.training.events import Listener
from charrnn.training.hardware.device import Hardware, choose_hardware, training_flops
from charrnn.training.loop.captured import stepper_for
from charrnn.training.loop.optimizer import Stepper


def hardware_settings(settings: dict[str, Any]) -> TrainConfig:
    """What ``settings`` say about the hardware, before the rest is chosen."""
    names = ("device", "precision", "threads")
    return TrainConfig(steps=1, **{n: settings[n] for n in names if n in settings})


def hardware_of(config: TrainConfig, world: World) -> Hardware:
    """The hardware for ``config``; one process decides on the number format, which is measured."""
    hardware = world.agree(lambda: choose_hardware(config, world.local_rank, world.local_size))
    return dataclasses.replace(hardware, dtype=world.broadcast(hardware.dtype))


def flops_of(hardware: Hardware, settings: dict[str, Any], world: World) -> float:
    """An estimate of the operations a second that all processes achieve together."""
    [cell] = declared(ModelConfig, "cell")
    mine = training_flops(hardware, cells.get(settings.get("cell", cell.default)))
    return float(world.all_reduce(torch.tensor(mine, dtype=torch.float64)))


def stepper_of(
    network: CharNetwork,
    config: TrainConfig,
    hardware: Hardware,
    listener: Listener,
    world: World,
) -> Stepper:
    """A stepper; the main process compiles kernels that it may need, and the others wait."""
    shape, dtype = network.config, hardware.dtype or torch.float32

    def compile_kernels() -> None:
        if must_compile(shape.definition, hardware.device, dtype):
            listener.on_compiling()
        with interrupts.at_once():
            kernels(shape.definition, shape.hidden, hardware.device, dtype)

    world.decide(compile_kernels, slow=True)
    return world.agree(lambda: stepper_for(network, config, hardware, world))
