"""Memory: how much there is, and what to make smaller where it runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import TrainingError, counted, is_out_of_memory

# numbers kept for each weight: itself, its gradient, two moments and the average
PER_WEIGHT = 5
# and, roughly, for each unit at each position: gates, their gradients, states and outputs
PER_UNIT = 12
LIMIT = Path("/sys/fs/cgroup/memory.max")  # what a container may take, or "max"


def memory_of(device: torch.device) -> int:
    """The bytes of memory that ``device`` has, free or not; 0 if that is unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type != "cpu":
        return 0
    found = 0
    with suppress(OSError, ValueError, AttributeError):  # not every system tells
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        found = min(found, int(LIMIT.read_text()))
    return max(found, 0)


@contextmanager
def naming_what_is_too_large(
    model: ModelConfig, config: TrainConfig, device: torch.device, unit: str = "character"
) -> Iterator[None]:
    """Raise ``out_of_memory`` in place of torch's own errors of a block that runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        raise out_of_memory(error, model, config, device, unit) from error


def out_of_memory(
    error: Exception,
    model: ModelConfig,
    config: TrainConfig,
    device: torch.device,
    unit: str = "character",
) -> TrainingError:
    """What to raise for ``error``: its hint lowers what takes the most memory.

    ``unit`` is what a symbol of the text is called. Frees what the failed step held, so
    that the run can still be saved.

    Raises:
        Exception: ``error`` itself, if it is about something else.

    """
    if not is_out_of_memory(error):
        raise error
    error.__traceback__ = None  # its frames hold the step's tensors
    if device.type == "cuda":
        torch.cuda.empty_cache()
    full = "out of memory" if device.type == "cpu" else "out of GPU memory"
    layers = model.layers * len(model.stacks)
    units = model.embedding + layers * model.hidden + model.vocab_size
    if PER_WEIGHT * model.parameters > PER_UNIT * units * config.batch * config.window:
        network = f"a network of {model.parameters / 1e6:,.1f} M weights does not fit"
        hint = "try {hidden}, or fewer {layers}"
        return TrainingError(f"{full}: {network}", hint, hidden=max(1, model.hidden // 2))
    step = f"{full}: a step of {config.batch:,} x {counted(config.window, unit)} does not fit"
    if config.batch > 1:
        hint = "try {batch}, or a smaller {window} or {hidden}"
        return TrainingError(step, hint, batch=config.batch // 2)
    hint = "try {window}, or a smaller {hidden}"
    return TrainingError(step, hint, window=max(1, config.window // 2))
