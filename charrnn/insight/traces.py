"""The values of all units of a network while it reads a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.numpy_engine import Array
from charrnn.generation.scoring import position_nats
from charrnn.text import lanes
from charrnn.text.vocab import Ids

LANES = 64  # the most pieces of the text that are read in parallel
WINDOW = 64
LENGTH = 20_000  # the most characters of a text that are traced
VALUES = 10**8  # the most values of units that are kept


@dataclass(frozen=True)
class Trace:
    """A network reading a text of N characters.

    Attributes:
        ids: the text ``(N,)``.
        nats: the loss of each character ``(N,)``; NaN for the first.
        units: the value of each unit after each character, ``(N, L·H)``, within ±1: for cells with
            a part ``c`` its tanh, for others ``h`` (divided by its largest value if that is above
            1, as with ReLU).

    """

    ids: Ids
    nats: Array
    units: NDArray[np.float16]


def longest(config: ModelConfig) -> int:
    """The most characters of a text that are traced: fewer for a network of very many units."""
    return min(LENGTH, VALUES // (config.layers * config.hidden))


def trace(checkpoint: Checkpoint, ids: Ids) -> Trace:
    """Trace the network in ``checkpoint`` while it reads ``ids (N,)``.

    Needs memory for N · L · H float16.

    Raises:
        CorpusError: there are fewer than two characters.
        CheckpointError: the network's numbers overflow.

    """
    config = checkpoint.config
    with np.errstate(all="ignore"):  # untrusted weights may overflow, which is checked below
        nats = position_nats(config, checkpoint.weights, ids)
        # lanes end at a target, so another character makes them reach the last state
        read = np.append(ids, ids[-1:])
        layout = lanes.lay(((0, len(read)),), LANES)
        engine = open_engine(config, checkpoint.weights, len(layout), batched=True)
        units = np.zeros((len(ids), config.layers * config.hidden), np.float16)
        for block in lanes.blocks(read, layout, WINDOW):
            interrupts.check()
            for x, places, counts in zip(block.x.T, block.places.T, block.mask.T, strict=True):
                engine.step(x)
                units[places[counts] - 1] = _held(engine)[counts]
        largest = np.abs(units).max(initial=1)
        if not np.isfinite(largest):
            raise CheckpointError("the network's numbers overflow: use another checkpoint")
        if largest > 1:
            units /= largest
        return Trace(ids, nats, units)


def _held(engine: AnyEngine) -> NDArray[Any]:
    """The value of each unit of each stream, ``(N, L·H)``."""
    names = list(engine.config.state_widths)
    layers = (dict(zip(names, parts, strict=True)) for parts in engine.state)
    return np.concatenate(
        [np.tanh(parts["c"]) if "c" in parts else parts["h"] for parts in layers], axis=1
    )
