"""Samples that are drawn side by side: when one ends, its stream takes up the next one.

Sample i has its own random generator, seeded with (seed, i), and what an engine computes for a
stream does not depend on the other streams. So sample i is the same text for every ``count``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.filter_register import Context
from charrnn.generation.numpy_engine import State
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.stops import Stop
from charrnn.text.vocab import Ids

GROUP = 256  # samples that advance together, at most
# characters drawn per call of the engine: the first appear at once; later chunks are so long that
# the cost of a call does not matter
CHUNKS = (1, 4, 16, 64)
# Where samples end at stop texts, what is drawn after that is lost: so chunks are this part of the
# mean length, but no shorter than a few characters. Of the first samples nobody knows the length.
PART, SHORTEST, UNKNOWN = 6, 4, 16


class Stepper(Protocol):
    """What drawing needs from an engine; see ``Engine``."""

    @property
    def streams(self) -> int:
        """N, the number of streams."""

    @property
    def state(self) -> State:
        """The parts ``(N, width)`` of each layer's state."""

    @state.setter
    def state(self, state: State) -> None: ...

    def sibling(self, streams: int) -> Self:
        """The same network for another number of streams."""

    def reset(self) -> None:
        """Zero the state."""

    def begin(self, streams: NDArray[np.intp], state: State) -> None:
        """Set the state of some streams to that of another engine's one."""

    def feed(self, ids: Ids) -> None:
        """Read a text in every stream."""

    def generate(
        self,
        ids: Ids,
        uniforms: NDArray[np.float64],
        config: SampleConfig,
        context: Context | None = None,
    ) -> Ids:
        """Draw characters; ``context`` is given if a filter of ``config`` needs one."""


class Sample:
    """A sample in progress: the ids that are ready to be yielded, and whether it has ended.

    Args:
        stops: what ends it, in the order in which ids pass through.
        length: the most characters that it may have; 0: any number.
        rng: its random generator.

    """

    def __init__(self, stops: list[Stop], length: int, rng: np.random.Generator) -> None:
        self._stops, self.left, self.rng = stops, length or None, rng
        self._ready: list[int] = []
        self.drawn, self.done = 0, False

    def add(self, ids: list[int]) -> None:
        """Add drawn ids; those after the sample's end are dropped."""
        if self.left is not None:
            ids = ids[: self.left]
            self.left -= len(ids)
        self.drawn += len(ids)
        for stop in self._stops:
            ids = stop.push(ids)
        self._ready += ids
        self.done = self.stopped or self.left == 0
        if self.done:
            self._ready += self._rest()

    def _rest(self) -> list[int]:
        """The ids that were held back, as they pass through the stops that follow."""
        rest: list[int] = []
        for stop in self._stops:
            rest = stop.push(rest) + stop.finish()
        return rest

    @property
    def stopped(self) -> bool:
        """Whether a stop text or its last sentence ended it."""
        return any(stop.stopped for stop in self._stops)

    def pop(self) -> tuple[list[int], bool]:
        """Return the ids not yet yielded, and whether they are the last."""
        ready, self._ready = self._ready, []
        return ready, self.done


class Relay:
    """The streams of an engine, each with the sample that it is drawing.

    Args:
        engine: an engine of one stream, which has read what comes before the samples.
        lead: the id that each sample reads first.
        config: how to draw.
        stops: returns what ends a sample.
        context: returns what filters can look at, for a number of streams; None if no filter looks
            at anything. With a context, or a temperature that changes, a group of samples begins
            when all before it have ended.
        uneven: whether samples may end before they have their greatest length.

    """

    def __init__(
        self,
        engine: Stepper,
        lead: int,
        config: SampleConfig,
        stops: Callable[[], list[Stop]],
        context: Callable[[int], Context] | None,
        uneven: bool,
    ) -> None:
        self._engine, self._start, self._lead = engine, engine.state, lead
        self._config, self._stops, self._new_context = config, stops, context
        self._uneven = uneven
        self._together = context is not None or config.final_temperature is not None
        self._samples: list[Sample | None] = [None] * engine.streams
        self._pending: Ids = np.full(engine.streams, lead)
        self._context: Context | None = None
        self._turns = self._made = 0  # calls, and characters drawn since the last common beginning
        self._ended = self._ended_chars = 0  # samples that have ended, and their characters

    def begin(self, first: int, end: int) -> list[Sample]:
        """Begin samples, of the numbers from ``first`` up to ``end``, in streams that are free."""
        busy = [k for k, sample in enumerate(self._samples) if sample is not None]
        if busy and self._together:
            return []
        count = max(0, min(end - first, GROUP - len(busy)))
        self._resize(busy, len(busy) + count)
        free = [k for k, sample in enumerate(self._samples) if sample is None][:count]
        if not free:
            return []
        config, begun = self._config, []
        for number, k in enumerate(free, first):
            rng = np.random.default_rng([config.seed, number])
            self._samples[k] = sample = Sample(self._stops(), config.length, rng)
            begun.append(sample)
        with overflow_ignored():
            self._engine.begin(np.array(free), self._start)
        self._pending[free] = self._lead
        if self._together:
            self._turns = self._made = 0
            self._context = self._new_context(len(free)) if self._new_context else None
        return begun

    def _resize(self, busy: Sequence[int], wanted: int) -> None:
        """Have as many streams as are ``wanted``, roughly; those that are ``busy`` come first."""
        N = len(self._samples)
        fits = wanted == N or (not self._together and N // 2 < wanted < N)
        if fits or not wanted:
            return
        self._samples = [self._samples[k] for k in busy] + [None] * (wanted - len(busy))
        self._pending = np.concatenate(
            [self._pending[busy], np.full(wanted - len(busy), self._lead)]
        )
        state, engine = self._engine.state, self._engine.sibling(wanted)
        rows = np.zeros(wanted, np.intp)
        rows[: len(busy)] = busy  # the others are overwritten when they begin
        with overflow_ignored():
            engine.state = tuple(tuple(part[rows] for part in layer) for layer in state)
        self._engine = engine

    def draw(self) -> None:
        """Draw the next characters in all streams."""
        T, N = self._length_of_turn(), len(self._samples)
        uniforms = np.zeros((N, T))
        for sample, row in zip(self._samples, uniforms, strict=True):
            if sample is not None:
                row[:] = sample.rng.random(T)
        with overflow_ignored():
            ids = self._drawn(np.ascontiguousarray(uniforms.T))
        self._pending = ids[-1].copy()
        self._made += T
        self._turns += 1
        for k, column in enumerate(ids.T.tolist()):
            sample = self._samples[k]
            if sample is not None:
                sample.add(column)
                if sample.done:
                    self._samples[k] = None
                    self._ended += 1
                    self._ended_chars += sample.drawn

    def _drawn(self, uniforms: NDArray[np.float64]) -> Ids:
        """Draw ``(T, N)`` characters: one by one if the temperature changes."""
        config, context = self._config, self._context
        if config.final_temperature is None:
            return self._engine.generate(self._pending, uniforms, config, context)
        drawn, ids = [], self._pending
        for t, row in enumerate(uniforms):
            [ids] = self._engine.generate(ids, row[None], config.at(self._made + t), context)
            drawn.append(ids)
        return np.stack(drawn)

    def _length_of_turn(self) -> int:
        """How many characters to draw at once."""
        T = CHUNKS[min(self._turns, len(CHUNKS) - 1)]
        if self._uneven and not self._together and len(self._samples) > 1:
            mean = self._ended_chars // self._ended if self._ended else UNKNOWN * PART
            T = min(T, max(SHORTEST, mean // PART))
        left = [s.left for s in self._samples if s is not None and s.left is not None]
        return min(T, max(left)) if left else T


def overflow_ignored() -> Any:
    """Let untrusted weights overflow without a warning: the worst result is a bad text."""
    return np.errstate(all="ignore")
