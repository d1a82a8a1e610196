"""What every unit of a network does while it reads a text."""

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

LANES = 64  # pieces of the text that are read at once, at most
WINDOW = 64
LENGTH = 20_000  # characters of a text that are traced
VALUES = 10**8  # of units that are kept, at most


@dataclass(frozen=True)
class Trace:
    """A text of N characters as a network reads it.

    ``ids (N,)``; ``nats (N,)`` what each character cost, NaN for the first; ``units (N, L·H)`` what
    each unit holds once the character is read, within ±1: an LSTM's tanh of the cell, of other
    cells the state (a relu's as part of its largest).
    """

    ids: Ids
    nats: Array
    units: NDArray[np.float16]


def longest(config: ModelConfig) -> int:
    """How many characters of a text are traced: fewer for a network of very many units."""
    return min(LENGTH, VALUES // (config.layers * config.hidden))


def trace(checkpoint: Checkpoint, ids: Ids) -> Trace:
    """The network in ``checkpoint`` reading ``ids (N,)``; memory for N · L · H float16.

    Raises:
        CorpusError: there are fewer than two characters.
        CheckpointError: the network's numbers overflow.

    """
    config = checkpoint.config
    with np.errstate(all="ignore"):  # weights may be anybody's; an overflow is found and said
        nats = position_nats(config, checkpoint.weights, ids)
        # the state after the last character is none that a target follows
        read = np.append(ids, ids[-1:])
        layout = lanes.lay(((0, len(read)),), LANES)
        engine = open_engine(config, checkpoint.weights, len(layout), together=True)
        units = np.zeros((len(ids), config.layers * config.hidden), np.float16)
        for block in lanes.blocks(read, layout, WINDOW):
            interrupts.check()
            for x, places, counts in zip(block.x.T, block.places.T, block.mask.T, strict=True):
                engine.step(x)
                units[places[counts] - 1] = _held(engine)[counts]
        largest = np.abs(units).max(initial=1)
        if not np.isfinite(largest):
            raise CheckpointError("the network's numbers overflow: take another checkpoint")
        if largest > 1:
            units /= largest
        return Trace(ids, nats, units)


def _held(engine: AnyEngine) -> NDArray[Any]:
    """What each unit of each stream holds, ``(N, L·H)``."""
    names = list(engine.config.state_widths)
    layers = (dict(zip(names, parts, strict=True)) for parts in engine.state)
    return np.concatenate(
        [np.tanh(parts["c"]) if "c" in parts else parts["h"] for parts in layers], axis=1
    )
