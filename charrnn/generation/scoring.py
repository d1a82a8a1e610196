"""How well a network predicts a text, in nats per character.

A text is laid out in lanes (``charrnn.text.lanes``), which one engine reads side by side as its
streams, with one matrix product per weight. The first character of a text cannot be predicted from
anything, so it is read but not counted: of N characters, N − 1 count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, CorpusError
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.numpy_engine import Array, Engine
from charrnn.text import lanes as lane_layout
from charrnn.text.lanes import WARMUP
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids

LANES = 128
WINDOW = 256


@dataclass(frozen=True)
class Score:
    """The sum of ``nats`` over ``chars`` characters; divided only here."""

    nats: float
    chars: int

    @property
    def nats_per_char(self) -> float:
        """Mean nats per character; 0 if none was counted."""
        return self.nats / self.chars if self.chars else 0.0

    @property
    def bits_per_char(self) -> float:
        """Mean bits per character."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """The number of equally likely characters that would be as hard to guess."""
        return math.exp(min(self.nats_per_char, 700.0))

    def to_dict(self) -> dict[str, int | float | None]:
        """The figures by name, as JSON values; None if no character was counted."""
        return {
            "chars": self.chars,
            "nats_per_char": self.nats_per_char if self.chars else None,
            "bits_per_char": self.bits_per_char if self.chars else None,
            "perplexity": self.perplexity if self.chars else None,
        }


def score(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | AnyEngine,
    ids: Ids,
    *,
    ranges: tuple[Range, ...] | None = None,
    lanes: int = LANES,
    warmup: int = WARMUP,
    temperature: float = 1.0,
) -> Score:
    """Score ``ids (N,)``, or ``ranges`` of it, each from the zero state.

    Args:
        config: the network's shape.
        weights: its weights; or an engine, whose weights are used by a new engine of its kind.
        ids: the whole text.
        ranges: ``(start, stop)`` pairs (default: the whole text). Every character of a range is
            counted; the first one is predicted from the one before the range.
        lanes: roughly how many pieces are read at once; with 1, each range is read straight
            through, in NumPy.
        warmup: uncounted characters that are read before a piece that starts inside a range.
        temperature: divides the logits; above 0.

    Raises:
        CorpusError: no character can be counted.
        CheckpointError: the network's numbers overflow.
    """
    ranges = ((0, len(ids)),) if ranges is None else ranges
    nats, count = 0.0, 0
    for _, losses in _counted(config, weights, ids, ranges, lanes, warmup, temperature):
        nats += float(losses.sum(dtype=np.float64))
        count += len(losses)
    expected = sum(max(0, stop - max(start, 1)) for start, stop in ranges)
    assert count == expected, (count, expected)
    return Score(nats, count)


def position_nats(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | AnyEngine,
    ids: Ids,
    *,
    ranges: tuple[Range, ...] | None = None,
    lanes: int = LANES,
    warmup: int = WARMUP,
    temperature: float = 1.0,
) -> Array:
    """Nats of every character, ``(N,)`` float32; NaN for those that are not counted.

    Arguments and errors are as in ``score``. Ranges must not overlap.
    """
    ranges = ((0, len(ids)),) if ranges is None else ranges
    nats = np.full(len(ids), np.nan, np.float32)
    for targets, losses in _counted(config, weights, ids, ranges, lanes, warmup, temperature):
        assert np.isnan(nats[targets]).all(), f"counted twice near {targets[0]}"
        nats[targets] = losses
    return nats


def _counted(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | AnyEngine,
    ids: Ids,
    ranges: tuple[Range, ...],
    lanes: int,
    warmup: int,
    temperature: float,
) -> Iterator[tuple[Ids, Array]]:
    """Yield positions and nats of the counted characters, each once, some at a time."""
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}: it must be above 0")
    layout = lane_layout.lay(ranges, lanes, warmup, config.cycle)
    if not layout:
        raise CorpusError("the text to score needs at least two characters")
    scale = np.float32(1 / temperature)
    with np.errstate(all="ignore"):  # _finite reports an overflow
        engine = None
        for group in lane_layout.groups(layout):
            engine = _open(config, engine or weights, len(group), exact=lanes == 1)
            for block in lane_layout.blocks(ids, group, WINDOW):
                interrupts.check()
                for x, positions, mask in zip(block.x.T, block.places.T, block.mask.T, strict=True):
                    logits = engine.step(x)
                    targets = positions[mask]
                    if len(targets):
                        losses = _losses(logits[mask], ids[targets], scale)
                        yield targets, _finite(losses, targets)


def _finite(losses: Array, positions: Ids) -> Array:
    """Return ``losses`` of the characters at ``positions``.

    Raises:
        CheckpointError: a loss is infinite or NaN.

    """
    bad = ~np.isfinite(losses)
    if bad.any():
        raise CheckpointError(
            f"the network's numbers overflow at character {int(positions[bad].min())} of the text: "
            "its weights are too large; use another checkpoint"
        )
    return losses


def _open(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | AnyEngine,
    lanes: int,
    exact: bool,
) -> AnyEngine:
    if isinstance(weights, dict):
        return open_engine(config, weights, lanes, accelerate=not exact, batched=not exact)
    if isinstance(weights, Engine):
        return Engine(config, weights.weights, lanes, batched=not exact)
    return weights.sibling(lanes)


def _losses(logits: Array, targets: Ids, scale: np.float32) -> Array:
    """−log softmax of ``logits (n, V)`` · ``scale`` at ``targets (n,)``, in float32."""
    logits = (logits - logits.max(axis=-1, keepdims=True)) * scale
    chosen = logits[np.arange(len(targets)), targets]
    total = np.exp(logits, out=logits).sum(axis=-1)  # in place: V may be 65,535
    losses: Array = np.log(total) - chosen
    return losses
