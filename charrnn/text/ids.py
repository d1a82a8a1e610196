"""Whether numbers are ids of a vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError

CHUNK = 1 << 20  # ids that are looked at, at a time


def check_ids(ids: NDArray[np.integer[Any]], size: int) -> None:
    """Check that ``ids (N,)`` are those of a vocabulary of ``size`` symbols.

    Raises:
        ConfigError: one is not, or there is another dimension.

    """
    if ids.ndim != 1:
        raise ConfigError(f"have the shape {ids.shape}: they must be (N,)", setting="ids")
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        least, most = int(part.min()), int(part.max())
        if least < 0 or most >= size:
            wrong = least if least < 0 else most
            reason = f"have {wrong}: they must be at least 0 and below {size}"
            raise ConfigError(reason, setting="ids")
