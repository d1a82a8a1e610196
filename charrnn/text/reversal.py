"""A text from its end to its beginning, for networks that read from right to left.

Such a network predicts each character from those after it. To everything that reads a text, and to
every engine, it is a network like any other: only the text is turned round, here.
"""

from __future__ import annotations

import numpy as np

from charrnn.text.splits import Range
from charrnn.text.vocab import Ids


def turned(ids: Ids, ranges: tuple[Range, ...]) -> tuple[Ids, tuple[Range, ...]]:
    """``ids (N,)`` from the last to the first, as a view, and ``ranges`` where they then are."""
    N = len(ids)
    # that of the base class: of ids on disk it gives a view that still notices a file cut short
    view: Ids = np.ndarray.__getitem__(ids, np.s_[::-1])
    return view, tuple((N - stop, N - start) for start, stop in reversed(ranges))
