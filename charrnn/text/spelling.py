"""Texts whose characters count, not the symbols that they were read or written in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from charrnn.errors import UnknownCharacterError
from charrnn.text.vocab import Ids, Vocab


def rewritten(vocab: Vocab, texts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The ids that ``vocab.encode`` gives for texts with these ids, none of which has a line end.

    A network may write a symbol of several characters in other symbols. A text that ``encode``
    does not take keeps its ids.
    """
    if not (vocab.long and texts):
        return [list(ids) for ids in texts]
    decoded = [vocab.decode(ids) for ids in texts]
    try:
        ids = vocab.encode("".join(text + "\n" for text in decoded))
    except UnknownCharacterError:
        if len(texts) == 1:
            return [list(texts[0])]
        return [own for text in texts for own in rewritten(vocab, [text])]
    ends = np.flatnonzero(ids == vocab.id_of("\n"))
    return [ids[start + 1 : end].tolist() for start, end in pairwise([-1, *ends.tolist()])]


class Spelling:
    """The characters of texts, as numbers below 65,536, whatever the symbols of ``vocab``.

    Without symbols of several characters they are the ids.
    """

    def __init__(self, vocab: Vocab) -> None:
        self._known = bool(vocab.long)
        codes = [*vocab.codes, *(ord(character) for symbol in vocab.long for character in symbol)]
        _, numbers = np.unique(codes, return_inverse=True)
        # of more different characters, which no corpus has, some share a number
        self._numbers = numbers.astype(np.uint16)
        self._widths = vocab.widths
        self._starts = np.cumsum(vocab.widths) - vocab.widths
        self.most = int(vocab.widths.max())  # characters of a symbol

    def __call__(self, ids: Ids) -> Ids:
        """The characters ``(M,)`` of ``ids (N,)``, M ≥ N."""
        if not self._known:
            return ids
        widths = self._widths[ids]
        ends = np.cumsum(widths)
        shifts = self._starts[ids] - ends + widths
        places = np.repeat(shifts, widths) + np.arange(int(widths.sum()))
        return self._numbers[places]
