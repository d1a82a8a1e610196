"""Samples: prime, draw, stop. Many at once, each the same whatever runs beside it.

Sample i draws from a generator of its own, seeded with (seed, i), and the engine's numbers for a
stream do not depend on its neighbours, so sample i is the same text whatever ``count`` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.stops import StopFilter, stop_ids
from charrnn.text.vocab import Ids, Vocab

State = tuple[NDArray[np.float32], NDArray[np.float32]]

# samples that advance at once, and characters a call of the engine: the first ones at once,
# then enough to make the calls themselves cheap
GROUP = 256
CHUNKS = (1, 4, 16, 64)
FEED = 1024


class Stepper(Protocol):
    """What a generator needs of an engine; ``Engine`` says what each of these does."""

    @property
    def state(self) -> State:
        """``(hx, cx)``."""

    @state.setter
    def state(self, state: State) -> None: ...

    def sibling(self, streams: int) -> Self:
        """The same network for another number of streams."""

    def reset(self) -> None:
        """Zero the state."""

    def feed(self, ids: Ids) -> None:
        """Read a text."""

    def generate(self, ids: Ids, uniforms: NDArray[np.float64], config: SampleConfig) -> Ids:
        """Write characters."""


class Piece(NamedTuple):
    """Some ids of sample ``sample``, in order; ``last`` is true on its last piece."""

    sample: int
    ids: list[int]
    last: bool


def first_id(vocab: Vocab) -> int:
    """What is read before a text that has no prime: a line end, else the likeliest symbol."""
    newline = vocab.id_of("\n")
    return int(np.argmax(vocab.counts)) if newline is None else newline


class Generator:
    """Draws ``config.count`` samples of ``config.length`` characters.

    Args:
        vocab: the alphabet.
        engine: an engine of one stream over that alphabet (its state is overwritten).
        config: how to draw. A sample ends before the first of ``config.stop``, text that may be
            the beginning of one being held back until it is decided.
        prime: the text that samples continue; it is read, not repeated. Without one the network
            starts from its zero state and reads one character that is not printed: the line end
            if the alphabet has it, else its most frequent symbol.
        lines: samples end at their first line end, which is not part of them.

    Raises:
        ConfigError: several endless samples that nothing stops: the second would never come.
        UnknownCharacterError: as ``config.unknown`` says, for ``prime``; always for a stop text.
    """

    def __init__(
        self,
        vocab: Vocab,
        engine: Stepper,
        config: SampleConfig,
        *,
        prime: str | bytes = "",
        lines: bool = False,
    ) -> None:
        self.vocab, self.config, self._engine = vocab, config, engine
        self._stops = stop_ids(vocab, config.stop)
        newline = vocab.id_of("\n")
        if lines and newline is not None:
            self._stops.append((newline,))
        if config.count > 1 and self.endless:
            reason = "is above 1, but the first sample never ends"
            raise ConfigError(reason, "set {length} or {stop}", setting="count")
        read = vocab.encode(prime, config.unknown).astype(np.intp)
        self._prime = read if len(read) else np.array([first_id(vocab)])

    @property
    def endless(self) -> bool:
        """Whether nothing can end a sample."""
        return self.config.length == 0 and not self._stops

    def pieces(self) -> Iterator[Piece]:
        """All samples in order, each in one or more pieces; sample 0 comes as it is made."""
        self._engine.reset()
        for begin in range(0, len(self._prime) - 1, FEED):
            interrupts.check()
            with _overflowing():
                self._engine.feed(self._prime[:-1][begin : begin + FEED])
        start = self._engine.state
        for first in range(0, self.config.count, GROUP):
            yield from self._group(first, min(GROUP, self.config.count - first), start)

    def texts(self) -> list[str]:
        """All samples, decoded. Endless ones never come back."""
        return [self.vocab.decode(ids) for ids in self.samples()]

    def samples(self) -> Iterator[list[int]]:
        """The ids of each whole sample, in order."""
        ids: list[int] = []
        for piece in self.pieces():
            ids += piece.ids
            if piece.last:
                yield ids
                ids = []

    def _group(self, first: int, N: int, start: tuple[Any, Any]) -> Iterator[Piece]:
        engine = self._engine if N == 1 else self._engine.sibling(N)
        hx, cx = start
        with _overflowing():
            engine.state = np.repeat(hx, N, axis=1), np.repeat(cx, N, axis=1)
        samples = [_Sample(StopFilter(self._stops), self.config.length) for _ in range(N)]
        head = 0
        for rows in self._rows(engine, first, N):
            for sample, column in zip(samples, rows, strict=True):
                sample.take(column)
            # the first unfinished sample goes out as it is made, those after it wait
            while head < N:
                ids, last = samples[head].give()
                yield Piece(first + head, ids, last)
                if not last:
                    break
                head += 1
            if all(sample.done for sample in samples):
                return

    def _rows(self, engine: Stepper, first: int, N: int) -> Iterator[list[list[int]]]:
        """What each of the N streams writes next, again and again."""
        rngs = [np.random.default_rng([self.config.seed, first + i]) for i in range(N)]
        pending: Ids = np.full(N, self._prime[-1])
        made = 0
        for T in _chunks():
            interrupts.check()
            T = min(T, self.config.length - made) if self.config.length else T
            uniforms = np.stack([rng.random(T) for rng in rngs], axis=1)  # (T, N)
            with _overflowing():
                ids = engine.generate(pending, uniforms, self.config)
            pending, made = ids[-1], made + T
            yield ids.T.tolist()


def _overflowing() -> np.errstate:
    """Weights may be anybody's: where they overflow the text is bad, and that is all."""
    return np.errstate(all="ignore")


def _chunks() -> Iterator[int]:
    yield from CHUNKS
    while True:
        yield CHUNKS[-1]


class _Sample:
    """One sample on its way: what can go out, and whether it has ended."""

    def __init__(self, filter: StopFilter, length: int) -> None:
        self._filter, self._left = filter, length or None
        self._ready: list[int] = []
        self.done = False

    def take(self, ids: list[int]) -> None:
        if self.done:
            return
        self._ready += self._filter.push(ids)
        if self._left is not None:
            self._left -= len(ids)
        self.done = self._filter.stopped or self._left == 0
        if self.done:
            self._ready += self._filter.finish()

    def give(self) -> tuple[list[int], bool]:
        ready, self._ready = self._ready, []
        return ready, self.done
