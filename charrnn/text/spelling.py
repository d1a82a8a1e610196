"""Texts that a network wrote in other symbols than a corpus has for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from charrnn.errors import UnknownCharacterError
from charrnn.text.vocab import Vocab


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
