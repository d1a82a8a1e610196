"""The values of all units of a network while it reads a text.

Characters here are the symbols that the network reads, whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, CorpusError
from charrnn.generation.factory import AnyEngine
from charrnn.generation.numpy_engine import Array, Engine
from charrnn.generation.scoring import position_nats
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids

LENGTH = 20_000  # the most characters of a text that are traced
VALUES = 10**8  # the most values of units that are kept
WATCHED = 4000  # the most characters before which the whole state is kept
STATE_VALUES = 4 * 10**7  # the most values of it


@dataclass(frozen=True)
class Trace:
    """A network reading a text of N characters.

    Attributes:
        ids: the text ``(N,)``.
        nats: the loss of each character ``(N,)``; NaN for the first.
        units: the value of each unit after each character, ``(N, L·width)``, within ±1: for cells
            with a part ``c`` its tanh, for cells whose state comes from the head (Jordan's) the
            output, for others the first part of the state (divided by the largest value if that is
            above 1, as with ReLU).
        width: the units of one layer.
        before: each part of the state by its name, before each of the first n characters,
            ``(n, L, width)``; empty if not kept.

    """

    ids: Ids
    nats: Array
    units: NDArray[np.float16]
    width: int
    before: dict[str, Array] = field(default_factory=dict)


def _traced(config: ModelConfig) -> tuple[str, int]:
    """Name and width of the part of the state whose units are traced; no name: the output."""
    if config.definition.after_head is not None:
        return "", config.features
    widths = config.state_widths
    name = "c" if "c" in widths else next(iter(widths))
    return name, widths[name]


def longest(config: ModelConfig) -> int:
    """The most characters of a text that are traced: fewer for a network of very many units."""
    return min(LENGTH, VALUES // (config.layers * _traced(config)[1]))


def trace(
    checkpoint: Checkpoint,
    ids: Ids,
    ranges: tuple[Range, ...] | None = None,
    *,
    on_read: Callable[[int], object] = lambda done: None,
) -> Trace:
    """Trace the network in ``checkpoint`` while it reads ``ids (N,)``.

    With ``ranges``, each of them begins with the zero state, in which the character before it is
    read; the last one ends with the text. Needs memory for N · L · width float16. ``on_read`` is
    called after each step with how many symbols were read.

    Raises:
        CorpusError: there are fewer than two symbols.
        CheckpointError: the network's numbers overflow.

    """
    config, (part, width) = checkpoint.config, _traced(checkpoint.config)
    units = np.zeros((len(ids), config.layers * width), np.float16)
    before = _states(config, len(ids))
    watched, done = len(next(iter(before.values()))), 0

    def hold(engine: AnyEngine, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> None:
        nonlocal done
        units[targets[counted] - 1] = _held(engine, part)[counted]
        if (early := counted & (targets < watched)).any():
            for values, *layers in zip(before.values(), *engine.state, strict=True):
                values[targets[early]] = np.stack(layers, axis=1)[early]
        done += int(np.count_nonzero(counted))
        on_read(done)

    if len(ids) < 2:
        raise CorpusError(f"the text to read needs at least two {checkpoint.vocab.unit}s")
    with np.errstate(all="ignore"):  # untrusted weights may overflow, which is checked below
        # the last character is read to predict another one
        read, last = np.append(ids, ids[-1:]), (len(ids), len(ids) + 1)
        ranges = (*ranges, last) if ranges else ((0, len(read)),)
        nats, _ = position_nats(config, checkpoint.weights, read, ranges=ranges, observe=hold)
        for values in before.values():
            values[[start - 1 for start, _ in ranges if 0 < start <= watched]] = 0
        largest = np.abs(units).max(initial=1)
        if not np.isfinite(largest):
            raise CheckpointError("the network's numbers overflow: use another checkpoint")
        if largest > 1:
            units /= largest
        return Trace(ids, nats[:-1], units, width, before)


def _states(config: ModelConfig, length: int) -> dict[str, Array]:
    """The zero state before each of the first of ``length`` characters, as in ``Trace.before``."""
    widths = config.state_widths
    fitting = STATE_VALUES // (config.layers * sum(widths.values()))
    watched = min(length, WATCHED, max(2, fitting))
    return {n: np.zeros((watched, config.layers, w), np.float32) for n, w in widths.items()}


def _held(engine: AnyEngine, part: str) -> NDArray[Any]:
    """The value of each unit of ``part`` in each stream, ``(N, L·width)``."""
    if not part:
        assert isinstance(engine, Engine)  # the only one for cells that read the head's output
        return np.concatenate(engine.outputs, axis=1)
    index = list(engine.config.state_widths).index(part)
    values = np.concatenate([parts[index] for parts in engine.state], axis=1)
    return np.tanh(values) if part == "c" else values
