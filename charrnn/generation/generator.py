"""Draws samples: reads the prime, draws, stops. Many streams advance at once, independently.

Sample i has its own random generator, seeded with (seed, i), and what an engine computes for a
stream does not depend on the other streams. So sample i is the same text for every ``count``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.errors import ConfigError
from charrnn.generation.filter_register import Context
from charrnn.generation.numpy_engine import State
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.sentences import SentenceStop
from charrnn.generation.stops import Stop, StopFilter, stop_ids
from charrnn.text.vocab import Ids, Vocab

if TYPE_CHECKING:
    from charrnn.generation.filter_register import Training

GROUP = 256  # samples that advance together, at most
# characters drawn per call of the engine: the first appear at once; later chunks are so long that
# the cost of a call does not matter
CHUNKS = (1, 4, 16, 64)
FEED = 1024  # characters of the prime read per call


T = TypeVar("T")


class Stepper(Protocol):
    """What a generator needs from an engine; see ``Engine``."""

    @property
    def state(self) -> State:
        """The parts ``(N, width)`` of each layer's state."""

    @state.setter
    def state(self, state: State) -> None: ...

    def sibling(self, streams: int) -> Self:
        """The same network for another number of streams."""

    def reset(self) -> None:
        """Zero the state."""

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


class Piece(NamedTuple):
    """The next ids of sample number ``sample``; ``last`` marks its last piece."""

    sample: int
    ids: list[int]
    last: bool


def first_id(vocab: Vocab) -> int:
    """The id to read where there is no prime: the line end, else the most frequent symbol."""
    newline = vocab.id_of("\n")
    return int(np.argmax(vocab.counts)) if newline is None else newline


class Generator:
    """Draws ``config.count`` samples of ``config.length`` characters.

    Args:
        vocab: the vocabulary.
        engine: an engine of one stream over that vocabulary; its state is overwritten.
        config: how to draw. A sample ends before the first stop text of ``config.stop``, or after
            it with ``config.keep_stop``; text that may be the start of a stop text is held back
            until that is certain.
        prime: the text that samples continue; it is read but not repeated. Without one, the network
            starts from the zero state and reads one character that is not printed: the line end
            if the vocabulary has it, otherwise the most frequent symbol.
        lines: whether samples end before their first line end: a line feed, or a carriage return
            and a line feed.
        reverse: whether the network writes from right to left, what comes before ``prime``. Each
            sample is then yielded as a whole, in reading order.
        training: returns the ids of the text that the network learned, and the ranges it read, for
            filters that need them.

    Attributes:
        cut: how many of the samples so far were ended by ``config.length`` alone.
        group: how many samples advance together from the next group on; the texts do not depend on
            it.

    Raises:
        ConfigError: ``config.count`` is above 1, or ``reverse``, but the first sample would never
            end; the temperature changes over a length that is not given; or a filter cannot be
            used.
        UnknownCharacterError: ``prime`` has a character that the vocabulary lacks and
            ``config.unknown`` is "error", or a stop text has one.
    """

    def __init__(
        self,
        vocab: Vocab,
        engine: Stepper,
        config: SampleConfig,
        *,
        prime: str | bytes = "",
        lines: bool = False,
        reverse: bool = False,
        training: Training | None = None,
    ) -> None:
        self.vocab, self.config, self._engine = vocab, config, engine
        self.reverse, self._order = reverse, slice(None, None, -1 if reverse else 1)
        stops = [stop[self._order] for stop in stop_ids(vocab, config.stop)]
        self._dropped, self._kept = ([], stops) if config.keep_stop else (stops, [])
        if lines:
            self._dropped += [end[self._order] for end in _line_ends(vocab)]
        self.cut, self.group = 0, GROUP
        if reverse and self.endless:
            reason = "is 0: what is written from its end needs an end"
            raise ConfigError(reason, "set {stop}", setting="length")
        if config.final_temperature is not None and not config.length:
            raise ConfigError("changes over the length", "set {length}", setting="temperature")
        if config.sentences and reverse:
            reason = "needs a model that reads from left to right"
            raise ConfigError(reason, setting="sentences")
        self._stops()  # checks the vocabulary
        if config.count > 1 and self.endless:
            reason = "is above 1, but the first sample never ends"
            raise ConfigError(reason, "set {length} or {stop}", setting="count")
        self._prime = vocab.encode(prime, config.unknown).astype(np.intp)[self._order]
        ends = (vocab.id_of("\n"),) if lines else ()
        self._about: dict[str, Any] = {
            "length": config.length, "ends": tuple(i for i in ends if i is not None),
            "reverse": reverse, "training": training, "shared": {},
        }  # fmt: skip
        if not config.compiled:
            context = self._context(0)
            for filter, value in config.chain:
                context.prepared(filter.name, value)
        # all that the network reads before the first draw; the last of it starts the draws
        self._lead = self._prime if len(self._prime) else np.array([first_id(vocab)])

    @property
    def endless(self) -> bool:
        """Whether nothing can end a sample."""
        config = self.config
        return config.length == 0 and not (self._dropped or self._kept or config.sentences)

    def _context(self, streams: int) -> Context:
        """What filters can look at."""
        return Context(self.vocab, self._prime, streams, **self._about)

    def pieces(self) -> Iterator[Piece]:
        """All samples in order, each in one or more pieces; sample 0 is yielded as it is drawn."""
        return self._whole() if self.reverse else self._drawn()

    def _whole(self) -> Iterator[Piece]:
        """Each sample in one piece, the last character that was drawn first."""
        ids: list[int] = []
        for piece in self._drawn():
            ids += piece.ids
            if piece.last:
                yield Piece(piece.sample, ids[::-1], last=True)
                ids = []

    def _drawn(self) -> Iterator[Piece]:
        """The samples in the order in which they are drawn."""
        self._engine.reset()
        for begin in range(0, len(self._lead) - 1, FEED):
            interrupts.check()
            with _overflow_ignored():
                self._engine.feed(self._lead[:-1][begin : begin + FEED])
        start, first = self._engine.state, 0
        while first < self.config.count:
            N = min(self.group, self.config.count - first)
            yield from self._group(first, N, start)
            first += N

    def texts(self) -> list[str]:
        """All samples, decoded. Does not return if they are endless."""
        return [self.vocab.decode(ids) for ids in self.samples()]

    def samples(self) -> Iterator[list[int]]:
        """The ids of each complete sample, in order."""
        ids: list[int] = []
        for piece in self.pieces():
            ids += piece.ids
            if piece.last:
                yield ids
                ids = []

    def _group(self, first: int, N: int, start: State) -> Iterator[Piece]:
        engine = self._engine if N == 1 else self._engine.sibling(N)
        with _overflow_ignored():
            engine.state = tuple(
                tuple(np.repeat(part, N, axis=0) for part in layer) for layer in start
            )
        length = self.config.length
        samples = [_Sample(self._stops(), length) for _ in range(N)]
        unfinished = 0  # index of the first sample that has not been yielded completely
        for rows in self._rows(engine, first, N):
            for sample, column in zip(samples, rows, strict=True):
                sample.add(column)
            # yield the first unfinished sample as it is drawn; those after it wait
            while unfinished < N:
                ids, last = samples[unfinished].pop()
                self.cut += last and not samples[unfinished].stopped
                yield Piece(first + unfinished, ids, last)
                if not last:
                    break
                unfinished += 1
            if all(sample.done for sample in samples):
                return

    def _stops(self) -> list[Stop]:
        """What ends a sample, in the order in which ids pass through."""
        stops: list[Stop] = [StopFilter(self._dropped, self._kept)]
        if self.config.sentences:
            stops.append(SentenceStop(self.vocab, self.config.sentences))
        return stops

    def _rows(self, engine: Stepper, first: int, N: int) -> Iterator[list[list[int]]]:
        """Yield the ids that each of the N streams draws, chunk after chunk."""
        rngs = [np.random.default_rng([self.config.seed, first + i]) for i in range(N)]
        pending: Ids = np.full(N, self._lead[-1])
        context = None if self.config.compiled else self._context(N)
        made = 0
        for T in _chunks():
            interrupts.check()
            T = min(T, self.config.length - made) if self.config.length else T
            uniforms = np.stack([rng.random(T) for rng in rngs], axis=1)  # (T, N)
            with _overflow_ignored():
                ids = self._draw(engine, pending, uniforms, made, context)
            pending, made = ids[-1], made + T
            yield ids.T.tolist()

    def _draw(
        self,
        engine: Stepper,
        ids: Ids,
        uniforms: NDArray[np.float64],
        made: int,
        context: Context | None,
    ) -> Ids:
        """Draw ``(T, N)`` characters after ``made``: one by one if the temperature changes."""
        if self.config.final_temperature is None:
            return engine.generate(ids, uniforms, self.config, context)
        drawn = []
        for t, row in enumerate(uniforms):
            [ids] = engine.generate(ids, row[None], self.config.at(made + t), context)
            drawn.append(ids)
        return np.stack(drawn)


class Texts(Iterator[T], Generic[T]):
    """Texts, or pieces of them, as they are written."""

    def __init__(self, generator: Generator, items: Iterator[T]) -> None:
        self._generator, self._items = generator, items

    def __next__(self) -> T:
        return next(self._items)

    @property
    def cut(self) -> int:
        """How many of the texts so far ended only because they had ``length`` characters."""
        return self._generator.cut


def _line_ends(vocab: Vocab) -> list[tuple[int, ...]]:
    """The ids of the line ends that a text of this vocabulary may have."""
    ends = ("\n", "\r\n") if vocab.id_of("\n") is not None else ()
    return stop_ids(vocab, [end for end in ends if not vocab.missing(end)])


def _overflow_ignored() -> np.errstate:
    """Let untrusted weights overflow without a warning: the worst result is a bad text."""
    return np.errstate(all="ignore")


def _chunks() -> Iterator[int]:
    yield from CHUNKS
    while True:
        yield CHUNKS[-1]


class _Sample:
    """A sample in progress: the ids that are ready to be yielded, and whether it has ended."""

    def __init__(self, stops: list[Stop], length: int) -> None:
        self._stops, self._left = stops, length or None
        self._ready: list[int] = []
        self.done = False

    def add(self, ids: list[int]) -> None:
        """Add drawn ids; those after the sample's end are dropped."""
        if self.done:
            return
        if self._left is not None:
            self._left -= len(ids)
        for stop in self._stops:
            ids = stop.push(ids)
        self._ready += ids
        self.done = self.stopped or self._left == 0
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
