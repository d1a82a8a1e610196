"""Checkpoints of a run, and runs restored from checkpoints."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

import charrnn
from charrnn.checkpoint.file import Checkpoint, Tensors
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, ConfigError
from charrnn.model.layers import kernels
from charrnn.model.network import State
from charrnn.training.hardware.throughput import machine
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.rundir.discovery import LAUNCH
from charrnn.training.rundir.model_card import card
from charrnn.training.state import RunSpec, TrainingState

TALLY = "tally"  # the training state's key in the file, since the first version


def cannot_resume(reason: str) -> CheckpointError:
    """The error of a last checkpoint that cannot be resumed."""
    return CheckpointError(f"the last checkpoint cannot be resumed: {reason}")


def environment(stepper: Stepper) -> dict[str, Any]:
    """What an exact continuation depends on besides the checkpoint."""
    hardware, shape = stepper.hardware, stepper.network.config
    dtype = hardware.dtype or torch.float32
    return {
        "charrnn": charrnn.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": hardware.device.type,
        "machine": machine(hardware.device),
        "threads": hardware.threads if hardware.device.type == "cpu" else None,
        "processes": stepper.world.size,
        "kernels": kernels(shape.definition, shape.hidden, hardware.device, dtype),
        "precision": str(dtype).removeprefix("torch."),
    }


def best_checkpoint(spec: RunSpec, stepper: Stepper, progress: TrainingState) -> Checkpoint:
    """The file to share: the averaged weights and the metadata."""
    with stepper.averaged_weights():
        weights: Tensors = dict(stepper.network.to_numpy())
    return Checkpoint(
        spec.model, spec.corpus.vocab, weights, card(spec, progress, torch.__version__)
    )


def last_checkpoint(
    spec: RunSpec, stepper: Stepper, progress: TrainingState, state: State
) -> Checkpoint:
    """Everything that resuming needs."""
    extra = {
        "optimizer.exp_avg": stepper.exp_avg,
        "optimizer.exp_avg_sq": stepper.exp_avg_sq,
        **_stacked(spec.model, state, stepper),
    }
    if spec.training.ema:
        extra["averaged"] = stepper.averaged
    meta = card(spec, progress, torch.__version__) | {
        "resume": {
            TALLY: dataclasses.asdict(progress),
            "environment": environment(stepper),
            LAUNCH: stepper.world.launch,
        }
    }
    weights: Tensors = dict(stepper.network.to_numpy())
    tensors = {name: value.cpu().numpy().copy() for name, value in extra.items()}
    return Checkpoint(spec.model, spec.corpus.vocab, weights, meta, tensors)


def restore(checkpoint: Checkpoint, stepper: Stepper) -> tuple[TrainingState, State]:
    """Load ``checkpoint`` into ``stepper``; returns its training state and recurrent state.

    Raises:
        CheckpointError: it lacks what resuming needs.

    """
    try:
        progress = TrainingState(**checkpoint.meta["resume"][TALLY])
        extra = checkpoint.extra
        stepper.network.load_numpy(checkpoint.weights)
        targets = {
            "optimizer.exp_avg": stepper.exp_avg,
            "optimizer.exp_avg_sq": stepper.exp_avg_sq,
        }
        if stepper.config.ema:
            targets["averaged"] = stepper.averaged
        for name, target in targets.items():
            target.copy_(_tensor(extra, name, target.shape))
        stepper.done = progress.step
        state = _unstacked(checkpoint, stepper)
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, RuntimeError) as error:
        raise cannot_resume(f"it lacks {error}") from None
    except ConfigError as error:
        raise cannot_resume(str(error)) from None
    return progress, state


def _stacked(model: ModelConfig, state: State, stepper: Stepper) -> dict[str, torch.Tensor]:
    """The recurrent state as ``state.PART (L, B, width)``: a tensor for each part, of all layers.

    The reader of checkpoints allows few tensors.
    """
    parts = zip(model.state_widths, zip(*state, strict=True), strict=True)
    return {f"state.{name}": _gathered(torch.stack(layers), stepper) for name, layers in parts}


def _gathered(part: torch.Tensor, stepper: Stepper) -> torch.Tensor:
    """``part (L, rows, width)`` of every process, as one ``(L, B, width)``."""
    world, B = stepper.world, stepper.config.batch
    if world.size == 1:
        return part
    whole = part.new_zeros(part.shape[0], B, part.shape[2])
    whole[:, world.rows(B)] = part
    world.all_reduce(whole.view(torch.uint8))  # as bytes: in a sum, -0 would become 0
    return whole


def _unstacked(checkpoint: Checkpoint, stepper: Stepper) -> State:
    """The recurrent state in ``checkpoint`` of this process's streams, on its device."""
    model, B = checkpoint.config, stepper.config.batch
    parts = [
        _tensor(checkpoint.extra, f"state.{name}", (model.layers, B, width))
        for name, width in model.state_widths.items()
    ]
    for name, part in zip(model.state_widths, parts, strict=True):
        _check_clock(name, part, model.definition.cycles.get(name))
    rows, device = stepper.world.rows(B), stepper.hardware.device
    return tuple(
        tuple(part[layer, rows].to(device) for part in parts) for layer in range(model.layers)
    )


def _check_clock(name: str, part: torch.Tensor, cycle: int | None) -> None:
    """Check that a part of the state that counts time steps holds such numbers.

    With others, some units would never be updated again, and nothing would say so.
    """
    counts = cycle is None or ((part == part.floor()) & (part >= 0) & (part < cycle)).all()
    if not counts:
        raise cannot_resume(f"state.{name} must hold whole numbers from 0 to {(cycle or 1) - 1}")


def _tensor(extra: Tensors, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor of a checkpoint from anywhere, validated: compiled kernels trust its shape."""
    value = extra[name]
    if value.shape != tuple(shape) or value.dtype != np.float32:
        found = f"{value.dtype} {value.shape}"
        raise cannot_resume(f"{name} is {found}, not float32 {tuple(shape)}")
    return torch.from_numpy(value.copy())
