"""Fills a gap in a text: proposes what may stand there, and ranks it by what is on both sides.

``BothSides`` is a bidirectional network. It names the characters of a gap from left to right, each
from all those before it and from those behind the gap, at their distance: the product of these
probabilities is that of the gap (Berglund et al. 2015, "Bidirectional recurrent neural networks as
generative models"). The most probable ones are its proposals. Then it reads the text with each of
them in the gap, and ranks them by how well it names, each from both sides, their characters and
those next to the gap: by their pseudo-likelihood (Besag 1975).

``OneSide`` is a network that reads from left to right, alone or with one that reads from right to
left. The first proposes, from what is before the gap; then each network says how probable the
proposal and what surrounds it are in its direction, and the mean of both ranks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.halves import Weights, halves
from charrnn.text.vocab import Ids

WIDTH = 64  # proposals of each length that are kept while a gap is filled
CONTEXT = 32  # characters on each side of a proposal that say how well it fits
# a wrong character makes its neighbors look wrong, too; with half of what they say, the shares of
# proposals came nearest to how often they are right (checkpoints/README.md)
WEIGHT = 0.5
# pseudo-likelihoods are too high where much is named from neighbors that are proposed as well: each
# character of a proposal costs so many nats, which matters where the length is free
COST = 0.25
LOGITS = 2**24  # numbers in memory at once
BEGINNINGS = 4  # ways to fill the gaps so far from which the next one is filled

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Proposal:
    """What may stand in a gap (or in several).

    ``nats`` is the negative logarithm of its probability, or of its share among all proposals.
    """

    gaps: tuple[Ids, ...]
    nats: float


class Filler(ABC):
    """Whatever fills a gap between the ids ``left`` and ``right``."""

    @abstractmethod
    def candidates(
        self, left: Ids, right: Ids, lengths: Sequence[int]
    ) -> Iterator[NDArray[np.intp]]:
        """For each of ``lengths``, ascending, what may stand in the gap: ``(N, length)``."""

    @abstractmethod
    def scores(self, left: Ids, texts: NDArray[np.intp], right: Ids) -> Scores:
        """How probable each of ``texts (N, T)`` is there: ``(N,)``, logarithms, but for a constant.

        It is the same for texts of all lengths.
        """

    def propose(self, left: Ids, right: Ids, lengths: Sequence[int]) -> list[Proposal]:
        """What may stand in the gap, the most probable first, each with the nats of its share."""
        texts, scores = list[Ids](), list[Scores]()
        for found in self.candidates(left, right, lengths):
            texts += list(found)
            scores.append(self.scores(left, found, right))
        return shares(texts, np.concatenate(scores))


def fill_gaps(
    filler: Filler, pieces: Sequence[Ids], lengths: Sequence[Sequence[int]], count: int
) -> list[Proposal]:
    """Fill the gaps between ``pieces`` one after the other; the ``count`` best ways, best first.

    ``lengths`` are those that each gap may have. What is behind the next gap is not read.

    Raises:
        CheckpointError: the network's numbers overflow.
        Interrupted: a signal arrived.

    """
    found = [Proposal((), 0.0)]
    for gap, allowed in enumerate(lengths):
        grown: list[Proposal] = []
        for begun in found[:BEGINNINGS]:
            left = joined(pieces[: gap + 1], begun.gaps)
            more = filler.propose(left, pieces[gap + 1], allowed)
            grown += [Proposal(begun.gaps + own.gaps, begun.nats + own.nats) for own in more]
        found = sorted(grown, key=lambda proposal: proposal.nats)
    return found[:count]


def joined(pieces: Sequence[Ids], gaps: Sequence[Ids]) -> Ids:
    """``pieces`` with ``gaps`` between them: a text with its gaps filled."""
    parts = [*(part for pair in zip(pieces, gaps, strict=False) for part in pair), pieces[-1]]
    return np.concatenate(parts)


class BothSides(Filler):
    """Fills gaps with a bidirectional network.

    Args:
        config: the network's shape.
        weights: its weights, named and shaped as ``config.shapes()``.
        first: the id to read where nothing is before a gap.

    """

    def __init__(self, config: ModelConfig, weights: Weights, first: int) -> None:
        ahead, behind = halves(config, weights)
        self.ahead, self.behind = _Reader(*ahead), _Reader(*behind)
        self.blank, self.first = config.vocab_size, first

    def candidates(
        self, left: Ids, right: Ids, lengths: Sequence[int]
    ) -> Iterator[NDArray[np.intp]]:
        """``Filler.candidates``."""
        for length in lengths:
            yield self.named(left, right, length).texts

    def named(self, left: Ids, right: Ids, length: int) -> Beam:
        """The most probable gaps of ``length`` characters, named from left to right."""
        behind = self._behind(right, length)
        beam = Beam(self.ahead, _begun(left, self.first))
        for logits in behind:
            beam.grow(logits)
        return beam

    def scores(self, left: Ids, texts: NDArray[np.intp], right: Ids) -> Scores:
        """``Filler.scores``: pseudo-likelihoods of ``texts`` with what is next to them.

        Each of their characters, and of those on both sides, is named from all others.
        """
        cut = max(0, len(left) - CONTEXT)
        sides = (_repeated(part, texts) for part in (left[cut:], right[:CONTEXT]))
        whole = np.concatenate((next(sides), texts, next(sides)), axis=1)  # (M, W)
        found, some = [], max(1, LOGITS // (whole.shape[1] * self.blank))
        for begin in range(0, len(whole), some):
            rows = whole[begin : begin + some]
            logits = self.ahead.along(_begun(left[:cut], self.first), rows)
            back = self.behind.along(right[CONTEXT:][::-1], rows[:, ::-1])[:, ::-1, : self.blank]
            log_p = log_softmax(logits + back)
            found.append(np.take_along_axis(log_p, rows[..., None], axis=2).sum((1, 2)))
        fit: Scores = np.concatenate(found) - COST * texts.shape[1]
        return WEIGHT * fit

    def _behind(self, right: Ids, length: int) -> NDArray[np.float64]:
        """The backward layers' logits ``(length, V)`` of the characters of a gap."""
        self.behind.start(right[::-1])
        found = []
        for _ in range(length):
            found.append(self.behind.logits[0, : self.blank].astype(np.float64))
            self.behind.step(np.array([self.blank]))
        return np.array(found[::-1])


class OneSide(Filler):
    """Fills gaps with a network that reads from left to right, and perhaps with one that does not.

    Args:
        forward: shape and weights of the one that proposes.
        reverse: those of the one that reads from right to left, if any.
        first: the id to read where nothing is on a side of a gap.
        end: the id of what ends a record, if the text is one: it is in no gap.

    """

    def __init__(
        self,
        forward: tuple[ModelConfig, Weights],
        reverse: tuple[ModelConfig, Weights] | None,
        first: int,
        end: int | None = None,
    ) -> None:
        self.forward = _Reader(*forward)
        self.reverse = None if reverse is None else _Reader(*reverse)
        self.first, self.end = first, end

    def candidates(
        self, left: Ids, right: Ids, lengths: Sequence[int]
    ) -> Iterator[NDArray[np.intp]]:
        """``Filler.candidates``."""
        beam = Beam(self.forward, _begun(left, self.first), self.end)
        grown = []
        for length in range(1, lengths[-1] + 1):
            beam.grow()
            if length in lengths:
                grown.append(beam.texts)
        yield from grown  # by then the network is free for ``scores``

    def scores(self, left: Ids, texts: NDArray[np.intp], right: Ids) -> Scores:
        """``Filler.scores``: that of the whole text, as each network reads it.

        What all texts share, and a network has read before it comes to them, is not counted.
        """
        after = _repeated(right[:CONTEXT], texts)
        before = _repeated(left[::-1][:CONTEXT], texts)
        found = self.forward.follow(_begun(left, self.first), np.concatenate((texts, after), 1))
        if self.reverse is None:
            return found
        back = np.concatenate((texts[:, ::-1], before), 1)
        return (found + self.reverse.follow(_begun(right[::-1], self.first), back)) / 2


def shares(texts: Sequence[Ids], scores: Scores) -> list[Proposal]:
    """Proposals with log probabilities ``scores (N,)``, best first, each with its share's nats."""
    order = _best(scores)
    nats = np.logaddexp.reduce(scores[order]) - scores
    return [Proposal((texts[i],), float(nats[i])) for i in order]


def _best(scores: Scores) -> NDArray[np.intp]:
    """Where ``scores (N,)`` are, the best first, without those that are no numbers.

    Raises:
        CheckpointError: none is.

    """
    finite = np.isfinite(scores)
    if not finite.any():
        message = "the network's numbers overflow: its weights are too large"
        raise CheckpointError(message, "use another checkpoint")
    return np.argsort(-np.where(finite, scores, -np.inf), kind="stable")[: finite.sum()]


def _begun(ids: Ids, first: int) -> Ids:
    """What a network reads before a gap: at least one character."""
    return ids if len(ids) else np.array([first])


def _repeated(ids: Ids, texts: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.tile(ids.astype(np.intp), (len(texts), 1))


class _Reader:
    """A network that reads, with the ``logits (N, V)`` of what comes next."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        with _overflow_ignored():
            self.engine: AnyEngine = open_engine(config, weights, batched=True)
        self.logits = np.zeros((1, config.vocab_size), np.float32)

    def start(self, ids: Ids) -> None:
        """Read ``ids`` from the zero state; after nothing, all logits are 0."""
        self.engine = self.engine.sibling(1)
        self.logits = np.zeros((1, self.engine.config.vocab_size), np.float32)
        if len(ids):
            interrupts.check()
            with _overflow_ignored():
                self.engine.feed(ids[:-1])
            self.step(ids[-1:])

    def step(self, ids: Ids) -> None:
        """Read one character ``ids (N,)`` in each text."""
        with _overflow_ignored():
            self.logits = np.array(self.engine.step(ids))

    def pick(self, rows: NDArray[np.intp]) -> None:
        """Continue with these texts: ``rows (M,)``, some of them perhaps several times."""
        state = tuple(tuple(part[rows] for part in layer) for layer in self.engine.state)
        if len(rows) != self.engine.streams:
            self.engine = self.engine.sibling(len(rows))
        with _overflow_ignored():
            self.engine.state, self.logits = state, self.logits[rows]

    def along(self, begun: Ids, texts: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read ``begun`` and then ``texts (N, T)``: the logits ``(N, T, V)`` before each."""
        self.start(begun)
        self.pick(np.zeros(len(texts), np.intp))
        found = []
        for column in texts.T:
            interrupts.check()
            found.append(self.logits)
            self.step(column)
        return np.stack(found, axis=1)

    def follow(self, begun: Ids, texts: NDArray[np.intp]) -> Scores:
        """Read ``begun`` and then ``texts (N, T)``: log p of each, ``(N,)``."""
        self.start(begun)
        self.pick(np.zeros(len(texts), np.intp))
        scores, rows = np.zeros(len(texts)), np.arange(len(texts))
        for column in texts.T:
            interrupts.check()
            scores += log_softmax(self.logits)[rows, column]
            self.step(column)
        return scores


class Beam:
    """The ``WIDTH`` most probable ways to go on, one character longer with each ``grow``.

    Attributes:
        texts: what was added ``(N, T)``.
        scores: how probable it is ``(N,)``, logarithms; the best first.
        reader: has read it.
        never: the id that is never added, if there is one.

    """

    def __init__(self, reader: _Reader, left: Ids, never: int | None = None) -> None:
        self.reader, self.never = reader, never
        reader.start(left)
        self.texts, self.scores = np.zeros((1, 0), np.intp), np.zeros(1)

    def grow(self, logits: NDArray[np.float64] | float = 0.0) -> None:
        """Add a character; ``logits (V,)`` are what else is known about it."""
        interrupts.check()
        scores = self.scores[:, None] + log_softmax(self.reader.logits + logits)  # (N, V)
        if self.never is not None:
            scores[:, self.never] = -np.inf
        flat = scores.ravel()
        best = _best(flat)[:WIDTH]
        rows, ids = np.divmod(best, scores.shape[1])
        self.texts = np.concatenate((self.texts[rows], ids[:, None]), axis=1)
        self.scores = flat[best]
        self.reader.pick(rows)
        self.reader.step(ids)


def _overflow_ignored() -> np.errstate:
    """Let weights of an untrusted file overflow without a warning; proposals then have no score."""
    return np.errstate(all="ignore")


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """log p ``(N, V)`` for ``logits (N, V)``, in float64."""
    with _overflow_ignored():
        shifted = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
        found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
