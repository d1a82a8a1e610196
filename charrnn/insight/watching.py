"""What a network does inside a step while it reads: its gates, and every part of its state."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.cells import States, step_layers
from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import CheckpointError
from charrnn.generation.numpy_engine import NumpyNamespace, Weights, zero_state
from charrnn.text.vocab import Ids

LENGTH = 4000  # the most characters that are read
VALUES = 4 * 10**7  # the most values that are kept
CLOSED, OPEN = 0.1, 0.9  # a gate below and above counts as closed and open, as in the 2015 paper

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


def watch(checkpoint: Checkpoint, ids: Ids) -> Watched:
    """Read the first characters of ``ids``, fewer with a very large network, from the zero state.

    The network must not read its own output.

    Raises:
        CheckpointError: the network's numbers overflow.

    """
    config, xp = checkpoint.config, NumpyNamespace()
    cell, weights = config.definition, Weights.prepare(config, checkpoint.weights)
    layers = [layer.prepared for layer in weights.layers]
    gates: dict[str, list[Any]] = defaultdict(list)
    states: dict[str, list[Any]] = defaultdict(list)
    width = 4 * config.hidden + sum(config.state_widths.values())
    state: States = zero_state(config, 1)
    with np.errstate(all="ignore"):  # untrusted weights may overflow, which is checked below
        for index in ids[: min(LENGTH, max(2, VALUES // (config.layers * width)))]:
            interrupts.check()
            inputs: list[Any] = [weights.table[[index]]]

            def between(layer: int, y: Any, inputs: list[Any] = inputs) -> Any:
                if layer + 1 < len(layers):
                    inputs.append(cell.project(xp, y, layers[layer + 1]))
                return y

            before = state
            sums = config.sum_layers
            _, state = step_layers(
                xp, cell, inputs[0], state, layers, sum_layers=sums, between=between
            )
            if cell.gates is not None:
                steps = zip(inputs, before, layers, strict=True)
                values = [cell.gates(xp, z, parts, w) for z, parts, w in steps]
                for name in values[0]:
                    gates[name].append([each[name][0].astype(np.float16) for each in values])
            for n, name in enumerate(config.state_widths):
                states[name].append([parts[n][0].astype(np.float16) for parts in state])
    found = Watched(_arrays(gates), _arrays(states))
    if not all(np.isfinite(values).all() for values in found.gates.values()):
        raise CheckpointError("the network's numbers overflow: use another checkpoint")
    return found


def _arrays(rows: dict[str, list[Any]]) -> dict[str, Values]:
    return {name: np.array(values, np.float16) for name, values in rows.items()}


def saturation(gate: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parts of the time in which each unit of ``gate (N, L, H)`` is closed, and is open.

    Returns:
        Both ``(L, H)``. Karpathy, Johnson & Fei-Fei 2015 draw one against the other.

    """
    return (gate < CLOSED).mean(axis=0), (gate > OPEN).mean(axis=0)
