"""From logits to a character: temperature, filters, and a draw decided by a given number.

A row's result never depends on the other rows. Randomness is passed in as uniform numbers in
[0, 1), so the same numbers always give the same characters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charrnn.errors import ConfigError
from charrnn.generation.filters import Context
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.vocab import Ids

Floats = NDArray[np.floating[Any]]

# bounds of 1 / temperature: above the first only the largest logit keeps any weight (and
# 0 · infinity would be NaN); below the second there is no normal float32 (and infinity · 0 would
# be NaN)
MAX_SCALE, MIN_SCALE = 1e30, 1.2e-38
LARGEST = np.finfo(np.float32).max


def inverse_temperature(temperature: float) -> float:
    """1 / ``temperature``, clipped to what float32 can hold. ``temperature`` must be above 0."""
    return min(max(1.0 / temperature, MIN_SCALE), MAX_SCALE)


def _bounded(logits: Floats) -> Floats:
    """Replace overflowed logits: +inf rules out all others, NaN and −inf become the lowest."""
    infinite, last = np.isposinf(logits), np.isnan(logits)
    last |= infinite.any(axis=-1, keepdims=True) & ~infinite
    bounded: Floats = np.where(last, -LARGEST, np.nan_to_num(logits))
    return bounded


def probabilities(logits: Floats, temperature: float = 1.0) -> NDArray[np.float32]:
    """softmax(``logits`` / ``temperature``) over the last axis in float32, not normalized.

    The largest entry of a row is 1; ``draw`` does not need rows that sum to 1. With ``temperature``
    0 the first largest logit gets 1 and all others 0. The result is never NaN.
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


def filtered(
    logits: Floats, config: SampleConfig, context: Context | None = None
) -> NDArray[np.float32]:
    """Weights ``(N, V)`` of ``logits (N, V)`` after the temperature and the filters of ``config``.

    A filter may forbid every character of a row that has any weight, since the others are too
    unlikely for float32 or removed by an earlier filter. These characters are then excluded and the
    weights computed again.

    Raises:
        ConfigError: a filter forbids the whole vocabulary.
        ValueError: a filter needs a context and none is given.
    """
    if context is None and not config.compiled:
        raise ValueError("these filters need a context: the vocabulary and the texts so far")
    forbidden = np.zeros(logits.shape, bool)
    while True:
        p = probabilities(logits, config.temperature)
        for filter, value in config.chain:
            before = p if filter.compiled else p.copy()
            p = filter.apply(p, value, context)
            if not filter.compiled and (empty := ~p.any(axis=-1, keepdims=True)).any():
                forbidden |= empty & (before > 0)
                break
        else:
            return p
        if forbidden.all(axis=-1).any():
            raise ConfigError("leaves no character to draw", setting=filter.name)
        logits = np.where(forbidden, -np.inf, _bounded(logits))


def draw(p: Floats, uniform: ArrayLike) -> NDArray[np.intp]:
    """The first character at which the running sum of ``p`` exceeds ``uniform`` times its total.

    Args:
        p: weights of at least 0, ``(V,)`` or ``(N, V)``, one above 0 in every row.
        uniform: a number in [0, 1), or ``(N,)`` of them.

    Returns:
        An id ``()``, or ids ``(N,)``; never one whose weight is 0.
    """
    sums = np.cumsum(p, axis=-1, dtype=np.float64)
    total = sums[..., -1:]
    target = np.asarray(uniform, np.float64)[..., None] * total
    passed: NDArray[np.intp] = (sums <= target).sum(axis=-1)
    # rounding may raise the target to the total: then take the last character with any weight
    last: NDArray[np.intp] = (sums < total).sum(axis=-1)
    return np.minimum(passed, last)


def choose(
    logits: Floats, uniform: ArrayLike, config: SampleConfig, context: Context | None = None
) -> NDArray[np.intp]:
    """Draw ids from ``logits``, ``(V,)`` or ``(N, V)``, with the settings of ``config``.

    Args:
        logits: one distribution, or N of them.
        uniform: a number in [0, 1), or ``(N,)`` of them; not used at temperature 0.
        config: how to draw.
        context: what filters may look at; can be omitted if all are ``compiled``.

    Raises: as ``filtered``.
    """
    if config.temperature == 0 and config.compiled:  # compiled filters always keep the likeliest
        best: NDArray[np.intp] = logits.argmax(axis=-1)
        if np.isnan(np.take_along_axis(logits, best[..., None], axis=-1)).any():
            best = _bounded(logits).argmax(axis=-1)
        return best
    p = filtered(np.atleast_2d(logits), config, context)
    return draw(p.reshape(logits.shape), uniform)


def write(
    step: Callable[[Ids], Floats],
    ids: Ids,
    uniforms: NDArray[np.float64],
    config: SampleConfig,
    context: Context | None = None,
) -> Ids:
    """Draw T characters, one after the other, in each of N streams.

    Args:
        step: reads ids ``(N,)`` and returns logits ``(N, V)``.
        ids: ``(N,)``, the next character that each stream reads.
        uniforms: ``(T, N)`` numbers in [0, 1), one for each draw.
        config: how to draw.
        context: as in ``choose``; drawn characters are appended to its texts.

    Returns:
        The characters ``(T, N)``; the last row is drawn but not read.

    Raises: as ``filtered``.
    """
    drawn = np.empty(uniforms.shape, np.int32)
    for row, uniform in zip(drawn, uniforms, strict=True):
        row[...] = ids = choose(step(ids), uniform, config, context)
        if context is not None:
            context.append(ids)
    return drawn
