"""From logits to a character: temperature, top-k, top-p, min-p, and a draw from a given number.

Every function takes one distribution ``(V,)`` or rows of them ``(N, V)``, and a row's result never
depends on the other rows. Randomness comes in as uniform numbers in [0, 1), so the same numbers
always give the same characters.

The order is fixed: temperature, then top-k, then top-p of what top-k left, then min-p.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charrnn.config import SampleConfig

Floats = NDArray[np.floating[Any]]

# 1 / temperature stays within these: beyond the first every logit but the largest is out of reach
# (and 0 · scale would be NaN), below the second float32 ends (and an infinite distance · 0 would)
MAX_SCALE, MIN_SCALE = 1e30, 1.2e-38
FURTHEST = np.finfo(np.float32).max
# top-p looks at this many of the likeliest characters before it sorts them all
TOP_P_CANDIDATES = 64


def inverse_temperature(temperature: float) -> float:
    """1 / ``temperature``, kept within float32. ``temperature`` must be above 0."""
    return min(max(1.0 / temperature, MIN_SCALE), MAX_SCALE)


def _bounded(logits: Floats) -> Floats:
    """Logits of which some overflowed: +inf leaves the others no chance, NaN and −inf come last."""
    infinite, last = np.isposinf(logits), np.isnan(logits)
    last |= infinite.any(axis=-1, keepdims=True) & ~infinite
    bounded: Floats = np.where(last, -FURTHEST, np.nan_to_num(logits))
    return bounded


def probabilities(logits: Floats, temperature: float = 1.0) -> NDArray[np.float32]:
    """softmax(``logits`` / ``temperature``) over the last axis, up to a factor a row, in float32.

    The largest entry of a row is 1; nothing is divided, since ``draw`` does not need it. With
    ``temperature`` 0 the first largest logit gets 1 and everything else 0. No logits and no
    temperature give NaN.
    """
    top = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        logits = _bounded(logits)
        top = logits.max(axis=-1, keepdims=True)
    if temperature == 0:
        first: NDArray[Any] = logits.argmax(axis=-1)[..., None] == np.arange(logits.shape[-1])
        return first.astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        scaled = (logits - top) * np.float32(inverse_temperature(temperature))
        p: NDArray[np.float32] = np.exp(scaled)
        return p


def _keep_largest(p: NDArray[np.float32], least: Floats, kept: NDArray[Any]) -> None:
    """Zero all but the ``kept (N, 1)`` largest of each row of ``p (N, V)``, in place.

    ``least (N, 1)`` is the smallest value to keep; among equals the lowest ids stay.
    """
    above, equal = p > least, p == least
    room = kept - above.sum(axis=-1, keepdims=True)
    p[~(above | (equal & (np.cumsum(equal, axis=-1) <= room)))] = 0


def _top_k(p: NDArray[np.float32], k: int) -> None:
    V = p.shape[-1]
    if k < V:
        least = np.partition(p, V - k, axis=-1)[:, V - k, None]
        _keep_largest(p, least, np.full((len(p), 1), k))


def _top_p(p: NDArray[np.float32], top_p: float) -> None:
    V = p.shape[-1]
    wanted = top_p * p.sum(axis=-1, keepdims=True, dtype=np.float64)  # (N, 1)
    for size in (min(TOP_P_CANDIDATES, V), V):
        likeliest = p if size == V else np.partition(p, V - size, axis=-1)[:, V - size :]
        likeliest = -np.sort(-likeliest, axis=-1)  # descending
        mass = np.cumsum(likeliest, axis=-1, dtype=np.float64)
        if size == V or (mass[:, -1:] >= wanted).all():
            break
    # the character that crosses the mark is the last one kept
    kept = np.minimum((mass < wanted).sum(axis=-1, keepdims=True) + 1, size)
    _keep_largest(p, np.take_along_axis(likeliest, kept - 1, axis=-1), kept)


def restrict(
    p: NDArray[np.float32], *, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> NDArray[np.float32]:
    """``p`` with the characters zeroed that the filters leave out; the rest is as it was.

    Args:
        p: weights of at least 0, ``(V,)`` or ``(N, V)``; they need not sum to 1.
        top_k: keep the k likeliest (0: all; among equals the lowest ids).
        top_p: keep the fewest likeliest that hold this share of the mass (1: all).
        min_p: keep what has at least this share of the likeliest one's probability (0: all).
    """
    rows = np.atleast_2d(p).copy()
    if top_k:
        _top_k(rows, top_k)
    if top_p < 1:
        _top_p(rows, top_p)
    if min_p > 0:
        rows[rows < np.float32(min_p) * rows.max(axis=-1, keepdims=True)] = 0
    return rows.reshape(p.shape)


def draw(p: Floats, uniform: ArrayLike) -> NDArray[np.intp]:
    """The character at which the running sum of ``p`` passes ``uniform`` of the whole.

    Args:
        p: weights of at least 0, ``(V,)`` or ``(N, V)``, one above 0 in every row.
        uniform: a number in [0, 1), or ``(N,)`` of them.

    Returns:
        An id ``()``, or ids ``(N,)``; never one whose weight is 0.
    """
    sums = np.cumsum(p, axis=-1, dtype=np.float64)
    whole = sums[..., -1:]
    target = np.asarray(uniform, np.float64)[..., None] * whole
    passed: NDArray[np.intp] = (sums <= target).sum(axis=-1)
    # rounding may lift the target to the whole itself: then it is the last one with any weight
    last: NDArray[np.intp] = (sums < whole).sum(axis=-1)
    return np.minimum(passed, last)


def choose(logits: Floats, uniform: ArrayLike, config: SampleConfig) -> NDArray[np.intp]:
    """Ids drawn from ``logits``, ``(V,)`` or ``(N, V)``, as ``config`` says.

    ``uniform`` is a number in [0, 1), or ``(N,)`` of them. Temperature 0 does not look at it.
    """
    if config.temperature == 0:
        best: NDArray[np.intp] = logits.argmax(axis=-1)
        if np.isnan(np.take_along_axis(logits, best[..., None], axis=-1)).any():
            best = _bounded(logits).argmax(axis=-1)
        return best
    p = probabilities(logits, config.temperature)
    if is_filtered(config):
        p = restrict(p, top_k=config.top_k, top_p=config.top_p, min_p=config.min_p)
    return draw(p, uniform)


def is_filtered(config: SampleConfig) -> bool:
    """Whether ``config`` leaves any character out."""
    return config.top_k > 0 or config.top_p < 1 or config.min_p > 0
