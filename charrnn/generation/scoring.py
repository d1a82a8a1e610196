"""How well a network predicts a text, in nats per character.

Long texts are read in pieces, side by side, that are joined (``charrnn.text.lanes``): one engine
reads them as its streams, with one matrix product per weight. The first character of a text cannot
be predicted from anything, so it is read but not counted: of N characters, N − 1 count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charrnn.arguments import checked
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, CorpusError
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.numpy_engine import Array, Engine
from charrnn.text import lanes
from charrnn.text.ids import check_ids
from charrnn.text.splits import Range, check_ranges, length
from charrnn.text.vocab import Ids, Vocab

LANES = 32  # a processor is busy with so many, and few long pieces have the fewest joints
# One pass through a text is exact, and takes a few seconds if characters · (weights + CALLS) are at
# most this; calling the engine for a character takes as long as reading so many weights.
ONE_PASS, CALLS = 8e10, 500_000
LOGITS = 2**20  # numbers that are turned into losses at a time
OVERFLOW = "the network's numbers overflow: its weights are too large; use another checkpoint"

# is told of an engine's state after a step: the targets (K,) of that step, and which of them count
Observer: TypeAlias = Callable[[AnyEngine, NDArray[np.int64], NDArray[np.bool_]], None]
# is given log-probabilities (n, V): those of the characters at positions (n,) of a text
Distributions: TypeAlias = Callable[[NDArray[np.int64], Array], None]


@checked
@dataclass(frozen=True)
class Score:
    """The sum of ``nats`` over ``chars`` characters; divided only here.

    The loss of a character, and so each mean, is at most ``error_bound`` nats from that of one pass
    through the text; 0: there was one pass. A model whose symbols may have several characters
    predicts fewer ``symbols``; for others they are None.
    """

    nats: float
    chars: int
    error_bound: float = 0.0
    symbols: int | None = None

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

    @property
    def nats_per_symbol(self) -> float:
        """Mean nats per symbol; 0 if none was counted."""
        count = self.chars if self.symbols is None else self.symbols
        return self.nats / count if count else 0.0

    def of_symbols(self, vocab: Vocab, ids: Ids, ranges: tuple[Range, ...]) -> Score:
        """The same score, with the characters of the symbols counted if they may have several.

        The symbols are those in ``ranges`` of ``ids (N,)``, without the first one of the text.
        """
        if not vocab.expression:
            return self
        counted = ((max(start, 1), max(stop, 1)) for start, stop in ranges)
        return replace(self, chars=vocab.chars_in(ids, counted), symbols=self.chars)

    def of_all(self, vocab: Vocab, ids: Ids) -> Score:
        """As ``of_symbols``, where the symbols are all of ``ids (N,)``."""
        if not vocab.expression:
            return self
        return replace(self, chars=int(vocab.widths[ids].sum()), symbols=self.chars)

    def to_dict(self) -> dict[str, int | float | None]:
        """The figures by name, as JSON values; None if no character was counted."""
        symbols = {"symbols": self.symbols, "nats_per_symbol": self.nats_per_symbol}
        return self._of_chars() | (symbols if self.symbols else {})

    def _of_chars(self) -> dict[str, int | float | None]:
        return {
            "chars": self.chars,
            "nats_per_char": self.nats_per_char if self.chars else None,
            "bits_per_char": self.bits_per_char if self.chars else None,
            "perplexity": self.perplexity if self.chars else None,
            "error_bound": self.error_bound if self.chars else None,
        }


def score(
    config: ModelConfig,
    weights: Mapping[str, NDArray[Any]] | AnyEngine,
    ids: Ids,
    *,
    ranges: tuple[Range, ...] | None = None,
    exact: bool = False,
    temperature: float = 1.0,
) -> Score:
    """Score ``ids (N,)``, or ``ranges`` of it, each from the zero state.

    Args:
        config: the network's shape.
        weights: its weights; or an engine, whose weights are used by a new engine of its kind.
        ids: the whole text.
        ranges: ``(start, stop)`` pairs that do not overlap (default: the whole text). Every
            character of a range is counted; the first one is predicted from the one before the
            range.
        exact: whether to read each range in one pass, even if that takes long.
        temperature: divides the logits; above 0.

    Raises:
        CorpusError: no character can be counted.
        CheckpointError: the network's numbers overflow.
        Interrupted: a signal arrived.

    """
    check_ids(ids, config.vocab_size)
    ranges = ((0, len(ids)),) if ranges is None else ranges
    check_ranges(ranges, len(ids))
    return _read(config, weights, _Target(ids, temperature), ranges, exact)


def position_nats(
    config: ModelConfig,
    weights: Mapping[str, NDArray[Any]] | AnyEngine,
    ids: Ids,
    *,
    ranges: tuple[Range, ...] | None = None,
    exact: bool = False,
    observe: Observer | None = None,
    distributions: Distributions | None = None,
) -> tuple[Array, Score]:
    """Nats of every character of ``ids (N,)``, and their score.

    Arguments and errors are as in ``score``; ``observe`` is told of every step that counts, and
    ``distributions`` gets what was predicted there. Some steps are taken again, and then the last
    time counts.

    Returns:
        ``(N,)`` float32, NaN for those that are not counted; and the score.

    """
    ranges = ((0, len(ids)),) if ranges is None else ranges
    nats = np.full(len(ids), np.nan, np.float32)
    text = _Target(ids, nats=nats, observe=observe, distributions=distributions)
    return nats, _read(config, weights, text, ranges, exact)


@dataclass(frozen=True)
class _Target:
    """A text to score, and what is to become of the losses besides their sum."""

    ids: Ids
    temperature: float = 1.0
    nats: Array | None = None
    observe: Observer | None = None
    distributions: Distributions | None = None


def _read(
    config: ModelConfig,
    weights: Mapping[str, NDArray[Any]] | AnyEngine,
    text: _Target,
    ranges: tuple[Range, ...],
    exact: bool,
) -> Score:
    if text.temperature <= 0:
        raise ValueError(f"temperature is {text.temperature}: it must be above 0")
    chars = length(ranges)
    exact = exact or chars * (config.parameters + CALLS) <= ONE_PASS
    if not any(stop > max(start, 1) for start, stop in ranges):
        raise CorpusError("the text to score needs at least two characters")
    batched = len(ranges) > 1 or not exact
    with np.errstate(all="ignore"):  # _finite reports an overflow
        reader = _EngineReader(_open(config, weights, batched), text)
        reading = lanes.read(
            reader, ranges, LANES, chars if exact else lanes.LEAST, cycle=config.cycle
        )
    return Score(reading.nats, reading.chars, reading.error)


def _open(
    config: ModelConfig, weights: Mapping[str, NDArray[Any]] | AnyEngine, batched: bool
) -> AnyEngine:
    if isinstance(weights, Mapping):
        return open_engine(config, weights, batched=batched)
    if isinstance(weights, Engine):
        return Engine(config, weights.weights, batched=batched)
    return weights.sibling(1)


class _EngineReader(lanes.Reader):
    """An engine that reads a text."""

    def __init__(self, engine: AnyEngine, text: _Target) -> None:
        self.engine, self.text = engine, text
        self.scale = np.float32(1 / text.temperature)
        self.widths = list(engine.config.state_widths.values())
        self.zero = np.zeros(engine.config.layers * sum(self.widths), np.float32)

    def begin(self, states: Array) -> None:
        """Continue from ``states (K, S)``."""
        if len(states) != self.engine.streams:
            self.engine = self.engine.sibling(len(states))
        ends = np.cumsum(self.widths * self.engine.config.layers)[:-1]
        parts, each = np.split(states, ends, axis=1), len(self.widths)
        # lists of parts, one for each layer
        self.engine.state = tuple(tuple(parts[i : i + each]) for i in range(0, len(parts), each))

    def states(self) -> Array:
        """The states ``(K, S)``."""
        return np.concatenate([part for layer in self.engine.state for part in layer], axis=1)

    def read(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> Array:
        """The losses ``(K, T)`` of ``targets``; 0 for those that are not ``counted``."""
        K, T = targets.shape
        nats = np.zeros((K, T), np.float32)
        at_once = max(1, LOGITS // (K * self.engine.config.vocab_size))
        for begin in range(0, T, at_once):
            here = slice(begin, begin + at_once)
            nats[:, here] = self._some(targets[:, here], counted[:, here])
        if self.text.nats is not None:
            self.text.nats[targets[counted]] = nats[counted]
        return nats

    def _some(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> Array:
        ids, observe = self.text.ids, self.text.observe
        x, y = ids[targets - 1], ids[targets]
        logits = np.empty((*targets.shape, self.engine.config.vocab_size), np.float32)
        for t in range(targets.shape[1]):
            logits[:, t] = self.engine.step(x[:, t])
            if observe is not None:
                observe(self.engine, targets[:, t], counted[:, t])
        nats = np.zeros(targets.shape, np.float32)
        losses = _losses(logits[counted], y[counted], self.scale)
        nats[counted] = _finite(losses, targets[counted])
        if self.text.distributions is not None:
            self.text.distributions(targets[counted], log_softmax(logits[counted]))
        return nats


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


def log_softmax(logits: Array) -> Array:
    """Log-probabilities over the last axis, in float32."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def _losses(logits: Array, targets: Ids, scale: np.float32) -> Array:
    """−log softmax of ``logits (n, V)`` · ``scale`` at ``targets (n,)``, in float32."""
    logits = (logits - logits.max(axis=-1, keepdims=True)) * scale
    chosen = logits[np.arange(len(targets)), targets]
    total = np.exp(logits, out=logits).sum(axis=-1)  # in place: V may be 65,535
    losses: Array = np.log(total) - chosen
    return losses
