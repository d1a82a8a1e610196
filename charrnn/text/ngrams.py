"""Hashes of all runs of one length in a text (Karp & Rabin 1987), for finding copies.

They are sums of random codes of the symbols times powers of an odd base, modulo 2^64, so that
those of all runs come from one pass over a text, whatever the length.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Ids

_LEAST = 1 << 18  # powers that are worked out, at least
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse

Hashes = NDArray[np.uint64]


def hashes(ids: Ids, length: int) -> Hashes:
    """The hashes ``(n - length + 1,)`` of all runs of ``length`` in ``ids (n,)``."""
    codes, powers, inverses = _tables(len(ids))
    sums = np.zeros(len(ids) + 1, np.uint64)
    np.cumsum(codes[ids] * powers[: len(ids)], out=sums[1:])
    found: Hashes = (sums[length:] - sums[:-length]) * inverses[: len(sums) - length]
    return found


def hashes_of_rows(rows: Ids) -> Hashes:
    """The hash of each row of ``rows (N, length)``, as a run: ``(N,)``."""
    codes, powers, _ = _tables(rows.shape[1])
    found: Hashes = (codes[rows] * powers[: rows.shape[1]]).sum(axis=1, dtype=np.uint64)
    return found


def _tables(n: int) -> tuple[Hashes, Hashes, Hashes]:
    """A code for each possible id; the powers 0 to n - 1 of the base, and their inverses."""
    size = _LEAST
    while size < n:
        size *= 2
    return _codes(), _powers(_BASE, size), _powers(pow(_BASE, -1, 1 << 64), size)


@cache
def _codes() -> Hashes:
    return np.random.default_rng(0).integers(0, 2**64, 1 << 16, np.uint64)


@cache
def _powers(base: int, size: int) -> Any:
    powers = np.full(size, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, out=powers)
