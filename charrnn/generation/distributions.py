"""What a network predicted at each character of a text: ranks, and the likeliest characters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.numpy_engine import Array
from charrnn.text.vocab import Ids


class Candidate(NamedTuple):
    """A symbol that may come next, and its cost in nats: −log of its probability."""

    symbol: str
    nats: float

    @property
    def probability(self) -> float:
        """Its probability."""
        return math.exp(-self.nats)


@dataclass(frozen=True)
class ScoredChar:
    r"""A character of a text.

    Attributes:
        symbol: the character; ``\xNN`` for a byte above 0x7F.
        nats: −log of its probability; None for one that nothing comes before.
        rank: 1 if it was the likeliest, 2 if one was likelier; None as for ``nats``.
        top: the likeliest characters there, the likeliest first.

    """

    symbol: str
    nats: float | None
    rank: int | None
    top: tuple[Candidate, ...] = ()


def likeliest(log_probs: Array, top: int) -> NDArray[np.intp]:
    """The ids ``(n, top)`` of the largest of ``log_probs (n, V)``, of equal ones the lowest."""
    order: NDArray[np.intp] = np.argsort(-log_probs, axis=-1, kind="stable")[:, :top]
    return order


def candidates(log_probs: Array, top: int, symbols: Sequence[str]) -> list[Candidate]:
    """The ``top`` likeliest of ``log_probs (V,)``."""
    [best] = likeliest(log_probs[None], top).tolist()
    return [Candidate(symbols[i], -float(log_probs[i])) for i in best]


class Ranks:
    """Keeps the rank of each character of ``ids (N,)``, and the ``top`` likeliest there.

    It is called with positions and log-probabilities. Of equally likely characters, those with
    lower ids come first.
    """

    def __init__(self, ids: Ids, top: int) -> None:
        self.ids = ids
        self.ranks = np.zeros(len(ids), np.int32)
        self.top = np.zeros((len(ids), top), np.int32)
        self.nats = np.zeros((len(ids), top), np.float32)

    def __call__(self, places: NDArray[np.int64], log_probs: Array) -> None:
        """Take the ``log_probs (n, V)`` of the characters at ``places (n,)``."""
        own = self.ids[places].astype(np.intp)[:, None]
        value = np.take_along_axis(log_probs, own, axis=-1)
        before = (log_probs == value) & (np.arange(log_probs.shape[-1]) < own)
        self.ranks[places] = ((log_probs > value) | before).sum(axis=-1) + 1
        if width := self.top.shape[1]:
            best = likeliest(log_probs, width)
            self.top[places] = best
            self.nats[places] = -np.take_along_axis(log_probs, best, axis=-1)

    def chars(self, symbols: Sequence[str], nats: Array) -> Iterator[ScoredChar]:
        """The characters with their ``nats (N,)``; a NaN is of one that was not predicted."""
        for place, (index, cost) in enumerate(zip(self.ids.tolist(), nats.tolist(), strict=True)):
            if math.isnan(cost):
                yield ScoredChar(symbols[index], None, None)
                continue
            best = zip(self.top[place].tolist(), self.nats[place].tolist(), strict=True)
            top = tuple(Candidate(symbols[i], own) for i, own in best)
            yield ScoredChar(symbols[index], cost, int(self.ranks[place]), top)
