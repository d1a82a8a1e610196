"""Which unit follows which trait of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.numpy_engine import Array

LEAST = 0.4  # the smallest correlation that is shown
SHORTEST = 100  # characters in each half; in fewer, unrelated units fit by chance
RAREST = 0.002  # the part of a text in which a trait must differ from its usual value


@dataclass(frozen=True)
class Finding:
    """Unit ``unit`` of layer ``layer`` (both from 0) follows ``trait`` with correlation ``r``.

    ``r`` is measured in the half of the text that was not used to choose the unit.
    """

    trait: str
    layer: int
    unit: int
    r: float


def find(units: NDArray[Any], traits: dict[str, Array], width: int) -> list[Finding]:
    """For each trait the unit that follows it best, in descending order of correlation.

    Among thousands of units one always fits by chance, so units are chosen in the first half of
    the text, and ``r``, Pearson's correlation, is measured in the second. Traits with a weak
    correlation are omitted.

    Args:
        units: the values of the units, ``(N, L·width)``.
        traits: the traits by name, ``(N,)`` each.
        width: the units of one layer.

    """
    half = len(units) // 2
    found = []
    for name, values in traits.items():
        first, second = values[:half], values[half:]
        if _rare(first) or _rare(second):
            continue
        best = int(np.argmax(np.abs(correlations(units[:half], first))))
        r = float(correlations(units[half:, best : best + 1], second)[0])
        if abs(r) >= LEAST:
            found.append(Finding(name, best // width, best % width, r))
    return sorted(found, key=lambda finding: -abs(finding.r))


def correlations(units: NDArray[Any], values: Array) -> NDArray[np.float64]:
    """Pearson's correlation ``(U,)`` of each column of ``units (N, U)`` with ``values (N,)``.

    It is 0 for a column that never changes.
    """
    centred = (values - values.mean(dtype=np.float64)) / max(float(values.std()), 1e-12)
    out = np.zeros(units.shape[1])
    for start in range(0, units.shape[1], 256):  # in blocks, because float64 takes room
        block = units[:, start : start + 256].astype(np.float64)
        spread = block.std(axis=0)
        along = (block - block.mean(axis=0)).T @ centred / max(len(values), 1)
        out[start : start + 256] = np.where(spread > 1e-6, along / np.maximum(spread, 1e-6), 0)
    return out


def _rare(values: Array) -> bool:
    """Whether a trait too rarely differs from its usual value to be correlated with anything."""
    if len(values) < SHORTEST:
        return True
    return float((values != np.median(values)).mean()) < RAREST
