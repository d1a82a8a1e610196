"""How well a network predicts a text, in nats a character.

The first character of a text has nothing before it that could predict it, so it is read and not
counted: N characters count N − 1. A text may be given as ranges of a longer one; each is read from
the zero state and counts one character less than it holds (let a range start one character
earlier to count all of it, with that character as context).

``score`` cuts a long text into pieces that are read side by side as the lanes of one engine, one
matrix product a layer. A piece first reads the ``warmup`` characters before it without counting
them, so that its state has forgotten that it began at zero. ``lanes=1`` reads straight through
in NumPy and is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.config import ModelConfig
from charrnn.errors import CorpusError
from charrnn.generation.engine import Array, Engine, Weights
from charrnn.generation.opening import AnyEngine, open_engine

Ids = NDArray[np.integer[Any]]
Ranges = Sequence[tuple[int, int]]

WARMUP = 256
MAX_LANES = 128


@dataclass(frozen=True)
class Score:
    """``nats`` in all over ``chars`` characters; divided once, here."""

    nats: float
    chars: int

    @property
    def nats_per_char(self) -> float:
        """Mean nats a character."""
        return self.nats / self.chars

    @property
    def bits_per_char(self) -> float:
        """Mean bits a character."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """How many equally likely characters would be as hard to guess."""
        return math.exp(min(self.nats_per_char, 700.0))

    def to_dict(self) -> dict[str, int | float]:
        """The figures under the names that ``score --json`` prints."""
        return {
            "chars": self.chars,
            "nats_per_char": self.nats_per_char,
            "bits_per_char": self.bits_per_char,
            "perplexity": self.perplexity,
        }


class Piece(NamedTuple):
    """Read ``ids[start:stop]`` from the zero state; count the targets from ``counted`` on."""

    start: int
    counted: int
    stop: int


def score(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | Weights | AnyEngine,
    ids: Ids,
    *,
    ranges: Ranges | None = None,
    lanes: int = 0,
    warmup: int = WARMUP,
    temperature: float = 1.0,
) -> Score:
    """Nats of ``ids (N,)``, or of ``ranges`` of it, each from the zero state.

    Args:
        config: the network's shape.
        weights: its weights; or prepared ones; or an engine, whose like will be used.
        ids: the whole text.
        ranges: ``(start, stop)`` pairs (default: all of it).
        lanes: pieces read at once (1: exact, one after the other; 0: chosen from the length).
        warmup: uncounted characters that a piece inside a range reads first.
        temperature: logits are divided by it; above 0.

    Raises:
        CorpusError: no range holds two characters.
    """
    values = position_nats(
        config, weights, ids, ranges=ranges, lanes=lanes, warmup=warmup, temperature=temperature
    )
    counted = values[~np.isnan(values)]
    expected = sum(max(0, stop - start - 1) for start, stop in _ranges(ids, ranges))
    assert len(counted) == expected, (len(counted), expected)
    return Score(float(counted.sum(dtype=np.float64)), len(counted))


def position_nats(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | Weights | AnyEngine,
    ids: Ids,
    *,
    ranges: Ranges | None = None,
    lanes: int = 0,
    warmup: int = WARMUP,
    temperature: float = 1.0,
) -> Array:
    """Nats of every character, ``(N,)`` float32; NaN for those that are not counted.

    Arguments and errors are those of ``score``. Ranges must not overlap.
    """
    wanted = [(start, stop) for start, stop in _ranges(ids, ranges) if stop - start > 1]
    total = sum(stop - start - 1 for start, stop in wanted)
    if total == 0:
        raise CorpusError("the text to score needs at least two characters")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}: it must be above 0")
    lanes = lanes or max(1, min(MAX_LANES, total // (2 * warmup + 1)))
    plans = _plan(wanted, total, lanes, warmup)
    engine = _open(config, weights, len(plans), exact=lanes == 1)
    nats = np.full(len(ids), np.nan, np.float32)
    for places, targets, losses in _run(engine, ids, plans, np.float32(1 / temperature)):
        assert np.isnan(nats[targets]).all(), f"counted twice near {places}"
        nats[targets] = losses
    return nats


def _open(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | Weights | AnyEngine,
    lanes: int,
    exact: bool,
) -> AnyEngine:
    if isinstance(weights, (dict, Weights)):
        return open_engine(config, weights, lanes, accelerate=not exact, together=not exact)
    engine = weights.sibling(lanes)
    if isinstance(engine, Engine):
        engine.together = not exact
    return engine


def _ranges(ids: Ids, ranges: Ranges | None) -> Ranges:
    return [(0, len(ids))] if ranges is None else ranges


def _plan(ranges: Ranges, total: int, lanes: int, warmup: int) -> list[list[Piece]]:
    """Cut ``ranges`` into at most ``lanes`` lists of pieces with about as many targets each."""
    plans: list[list[Piece]] = [[]]
    share = -(-total // lanes)
    room = share
    for start, stop in ranges:
        target = start + 1
        while target < stop:
            if room == 0:
                plans.append([])
                room = share
            end = min(stop, target + room)
            plans[-1].append(Piece(max(start, target - 1 - warmup), target, end))
            room -= end - target
            target = end
    return plans


def _steps(plan: list[Piece]) -> Iterator[tuple[int, bool, bool]]:
    """For every step of a lane: the place it reads, whether afresh, whether the next counts."""
    for piece in plan:
        for place in range(piece.start, piece.stop - 1):
            yield place, place == piece.start, place + 1 >= piece.counted


def _run(
    engine: AnyEngine, ids: Ids, plans: list[list[Piece]], scale: np.float32
) -> Iterator[tuple[Ids, Ids, Array]]:
    """Step all lanes to their ends: places read, targets counted and their nats."""
    lanes = [_steps(plan) for plan in plans]
    N = engine.streams
    place, fresh, counts = np.zeros(N, np.intp), np.zeros(N, bool), np.zeros(N, bool)
    done = 0
    while True:
        counts[:] = fresh[:] = False
        for lane, steps in enumerate(lanes):
            here = next(steps, None)
            if here is not None:
                place[lane], fresh[lane], counts[lane] = here
            elif lanes[lane] is not _OVER:
                lanes[lane], done = _OVER, done + 1
        if done == N:
            return
        interrupts.check()
        if fresh.any():
            engine.reset(fresh)
        logits = engine.step(ids[place])
        if counts.any():
            targets = place[counts] + 1
            yield place, targets, _losses(logits[counts], ids[targets], scale)


_OVER: Iterator[tuple[int, bool, bool]] = iter(())


def _losses(logits: Array, targets: Ids, scale: np.float32) -> Array:
    """−log softmax of ``logits (n, V)`` · ``scale`` at ``targets (n,)``, in float32."""
    logits = (logits - logits.max(axis=-1, keepdims=True)) * scale
    # a text's alphabet may be 65,535 wide: exp in place
    chosen = logits[np.arange(len(targets)), targets]
    whole = np.exp(logits, out=logits).sum(axis=-1)
    losses: Array = np.log(whole) - chosen
    return losses
