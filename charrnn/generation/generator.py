"""Draws samples: reads the prime, draws, stops. Many advance at once (``relay``), independently."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from charrnn import interrupts
from charrnn.errors import ConfigError
from charrnn.generation.filter_register import Context
from charrnn.generation.relay import GROUP, Relay, Sample, Stepper, overflow_ignored
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.sentences import SentenceStop
from charrnn.generation.stops import Stop, StopFilter, stop_ids
from charrnn.text.vocab import Vocab

if TYPE_CHECKING:
    from charrnn.generation.filter_register import Training

FEED = 1024  # characters of the prime read per call
# samples that may be drawn, or wait to be yielded, while the first of them is not complete
AHEAD = 8 * GROUP


T = TypeVar("T")


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
        limit: samples from this number on begin only when those before it have been yielded; the
            texts do not depend on it.

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
        self.cut, self.limit = 0, config.count
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
        return self.config.length == 0 and not self._can_stop

    @property
    def _can_stop(self) -> bool:
        """Whether anything but its length can end a sample."""
        return bool(self._dropped or self._kept or self.config.sentences)

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
            with overflow_ignored():
                self._engine.feed(self._lead[:-1][begin : begin + FEED])
        context = None if self.config.compiled else self._context
        relay = Relay(
            self._engine, int(self._lead[-1]), self.config, self._stops, context, self._can_stop
        )
        begun, first = deque[Sample](), 0  # those that are not yielded completely, in order
        while first < self.config.count:
            interrupts.check()
            end = min(max(self.limit, first + 1), first + AHEAD, self.config.count)
            begun += relay.begin(first + len(begun), end)
            relay.draw()
            # yield the first one as it is drawn; those after it wait
            while begun:
                ids, last = begun[0].pop()
                self.cut += last and not begun[0].stopped
                yield Piece(first, ids, last)
                if not last:
                    break
                begun.popleft()
                first += 1

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

    def _stops(self) -> list[Stop]:
        """What ends a sample, in the order in which ids pass through."""
        stops: list[Stop] = [StopFilter(self._dropped, self._kept)]
        if self.config.sentences:
            stops.append(SentenceStop(self.vocab, self.config.sentences))
        return stops


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
