"""The score of each line of a text."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import Unknown
from charrnn.generation.scoring import Score
from charrnn.text.vocab import Ids, Vocab


@dataclass(frozen=True)
class ScoredLine:
    """The score of one line.

    Attributes:
        text: the line, without its line end.
        pieces: its symbols, with the line end.
        nats: the loss of each of ``pieces`` in nats; NaN if it is not counted.
        score: the sum of those that are counted.

    """

    text: str
    pieces: list[str]
    nats: list[float]
    score: Score

    @property
    def worst(self) -> int | None:
        """Which of ``pieces`` surprised the model most; None if none is counted.

        An odd line is usually odd in one place, which the sum over all its characters hides.
        """
        counted = [i for i, nats in enumerate(self.nats) if not math.isnan(nats)]
        return max(counted, key=self.nats.__getitem__, default=None)

    @property
    def worst_at(self) -> int | None:
        """The place of its first character in the line, counted from 1."""
        if self.worst is None or self.score.symbols is None:
            return None if self.worst is None else self.worst + 1
        return sum(map(len, self.pieces[: self.worst])) + 1


def scored_lines(
    vocab: Vocab,
    text: str | bytes,
    ids: Ids,
    nats: NDArray[Any],
    unknown: Unknown,
    error_bound: float = 0.0,
) -> Iterator[ScoredLine]:
    """The lines of ``text``, which ``vocab`` encodes as ``ids (N,)``, each with its ``nats (N,)``.

    A loss that is NaN is not counted; ``unknown`` says how ``text`` was encoded, and
    ``error_bound`` how far each of ``nats`` may be from that of one pass.
    """
    symbols = list(vocab.symbols())
    start = 0
    for end in [*_line_ends(vocab, text, ids, unknown), len(ids)]:
        if end > start:
            own = nats[start:end]
            counted = own[~np.isnan(own)]
            total = Score(float(counted.sum(dtype=np.float64)), len(counted), error_bound)
            total = total.of_all(vocab, ids[start:end][~np.isnan(own)])
            pieces = [symbols[i] for i in ids[start:end]]
            line = vocab.decode(ids[start:end]).removesuffix("\n").removesuffix("\r")
            yield ScoredLine(line, pieces, own.tolist(), total)
        start = end


def _line_ends(vocab: Vocab, text: str | bytes, ids: Ids, unknown: Unknown) -> list[int]:
    """Where the lines of ``text`` end among its ``ids``."""
    newline = vocab.id_of("\n")
    if newline is not None:
        ends: list[int] = (np.flatnonzero(ids == newline) + 1).tolist()
        return ends
    if isinstance(text, bytes) and not vocab.is_bytes:
        text = text.decode()
    lines = io.BytesIO(text) if isinstance(text, bytes) else io.StringIO(text, newline="\n")
    lengths = [len(vocab.encode(line, unknown)) for line in lines]
    return list(accumulate(lengths))
