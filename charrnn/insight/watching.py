"""What a network does inside a step while it reads: its gates, and every part of its state."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.cells import State
from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import CheckpointError
from charrnn.generation.numpy_engine import NumpyNamespace, Weights
from charrnn.insight.traces import Trace
from charrnn.model_config import ModelConfig
from charrnn.text.vocab import Ids

CLOSED, OPEN = 0.1, 0.9  # a gate below and above counts as closed and open, as in the 2015 paper
CHUNK = 500  # characters of which the products are computed at once

Values = NDArray[np.float16]


@dataclass(frozen=True)
class Watched:
    """A network reading N characters.

    Attributes:
        gates: the values of each gate by its name, ``(N, L, H)``; empty if the cell has none.
        states: those of each part of the state after each character, ``(N, L, width)``.

    """

    gates: dict[str, Values]
    states: dict[str, Values]


def watch(checkpoint: Checkpoint, trace: Trace) -> Watched:
    """What happens inside the steps of which ``trace`` has the states before.

    The steps need not wait for one another, because these states are known. The network must not
    read its own output.

    Raises:
        CheckpointError: the network's numbers overflow.

    """
    config, before = checkpoint.config, trace.before
    weights = Weights.prepare(config, checkpoint.weights)
    gates: dict[str, list[Values]] = defaultdict(list)
    states: dict[str, list[Values]] = defaultdict(list)
    watched = len(next(iter(before.values())))
    with np.errstate(all="ignore"):  # untrusted weights may overflow, which is checked below
        for first in range(0, watched, CHUNK):
            interrupts.check()
            here = slice(first, min(first + CHUNK, watched))
            parts = [values[here].swapaxes(0, 1) for values in before.values()]
            _watch(config, weights, trace.ids[here], list(zip(*parts, strict=True)), gates, states)
    found = Watched(_joined(gates), _joined(states))
    if not all(np.isfinite(values).all() for values in found.gates.values()):
        raise CheckpointError("the network's numbers overflow: use another checkpoint")
    return found


def _watch(
    config: ModelConfig,
    weights: Weights,
    ids: Ids,
    before: list[State],
    gates: dict[str, list[Values]],
    states: dict[str, list[Values]],
) -> None:
    """Append gates and states of the steps that read ``ids (n,)`` after ``before``, by layer."""
    xp, cell = NumpyNamespace(batched=True), config.definition
    layers = [layer.prepared for layer in weights.layers]
    z: Any = weights.table[ids]
    inside: dict[str, list[Any]] = defaultdict(list)
    after: list[State] = []
    for layer, parts, above in zip(layers, before, [*layers[1:], None], strict=True):
        if cell.gates is not None:
            for name, values in cell.gates(xp, z, parts, layer).items():
                inside[name].append(values)
        y, state = cell.step(xp, z, parts, layer)
        after.append(state)
        if above is not None:
            z = cell.project(xp, y, above)
    for name, of_layers in inside.items():
        gates[name].append(np.stack(of_layers, axis=1).astype(np.float16))
    for name, part in zip(config.state_widths, zip(*after, strict=True), strict=True):
        states[name].append(np.stack(part, axis=1).astype(np.float16))


def _joined(pieces: dict[str, list[Values]]) -> dict[str, Values]:
    return {name: np.concatenate(values) for name, values in pieces.items()}


def saturation(gate: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parts of the time in which each unit of ``gate (N, L, H)`` is closed, and is open.

    Returns:
        Both ``(L, H)``. Karpathy, Johnson & Fei-Fei 2015 draw one against the other.

    """
    return (gate < CLOSED).mean(axis=0), (gate > OPEN).mean(axis=0)
