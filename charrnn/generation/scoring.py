"""How well a network predicts a text, in nats a character.

A text is laid out in lanes (``charrnn.text.lanes``), which are read side by side as the streams of
one engine, one matrix product a layer. The first character of a text has nothing before it that
could predict it, so it is read and not counted: N characters count N − 1.
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
    """``nats`` in all over ``chars`` characters; divided once, here."""

    nats: float
    chars: int

    @property
    def nats_per_char(self) -> float:
        """Mean nats a character; 0 where none was counted."""
        return self.nats / self.chars if self.chars else 0.0

    @property
    def bits_per_char(self) -> float:
        """Mean bits a character."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """How many equally likely characters would be as hard to guess."""
        return math.exp(min(self.nats_per_char, 700.0))

    def to_dict(self) -> dict[str, int | float | None]:
        """The figures by name, as JSON holds them; None: nothing was counted."""
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
    """Nats of ``ids (N,)``, or of ``ranges`` of it, each from the zero state.

    Args:
        config: the network's shape.
        weights: its weights; or an engine, whose like will be used.
        ids: the whole text.
        ranges: ``(start, stop)`` pairs (default: all of it). All characters of a range are
            counted, the first one as it follows the one before the range.
        lanes: about how many pieces are read at once; 1: every range straight through, in NumPy.
        warmup: uncounted characters that a piece inside a range reads first.
        temperature: logits are divided by it; above 0.

    Raises:
        CorpusError: there is nothing to count.
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

    Arguments and errors are those of ``score``. Ranges must not overlap.
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
    """Places of some characters and their nats, until each that counts has come once."""
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}: it must be above 0")
    layout = lane_layout.lay(ranges, lanes, warmup)
    if not layout:
        raise CorpusError("the text to score needs at least two characters")
    scale = np.float32(1 / temperature)
    with np.errstate(all="ignore"):  # an overflow is found in the losses, and said
        engine = _open(config, weights, len(layout), exact=lanes == 1)
        for block in lane_layout.blocks(ids, layout, WINDOW):
            interrupts.check()
            for x, places, counts in zip(block.x.T, block.places.T, block.mask.T, strict=True):
                logits = engine.step(x)
                targets = places[counts]
                if len(targets):
                    losses = _losses(logits[counts], ids[targets], scale)
                    yield targets, _finite(losses, targets)


def _finite(losses: Array, places: Ids) -> Array:
    """``losses`` of the characters at ``places``.

    Raises:
        CheckpointError: one of them is infinite or NaN.

    """
    bad = ~np.isfinite(losses)
    if bad.any():
        raise CheckpointError(
            f"the network's numbers overflow at character {int(places[bad].min())} of the text: "
            "its weights are too large to score with, take another checkpoint"
        )
    return losses


def _open(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | AnyEngine,
    lanes: int,
    exact: bool,
) -> AnyEngine:
    if isinstance(weights, dict):
        return open_engine(config, weights, lanes, accelerate=not exact, together=not exact)
    if isinstance(weights, Engine):
        return Engine(config, weights.weights, lanes, together=not exact)
    return weights.sibling(lanes)


def _losses(logits: Array, targets: Ids, scale: np.float32) -> Array:
    """−log softmax of ``logits (n, V)`` · ``scale`` at ``targets (n,)``, in float32."""
    logits = (logits - logits.max(axis=-1, keepdims=True)) * scale
    # a text's alphabet may be 65,535 wide: exp in place
    chosen = logits[np.arange(len(targets)), targets]
    whole = np.exp(logits, out=logits).sum(axis=-1)
    losses: Array = np.log(whole) - chosen
    return losses
