"""The softmax temperature that predicts a validation part best.

A network that has read its text many times is surer of itself than it has reason to be; dividing
its logits by a number above 1 mends that (Guo et al. 2017). One pass scores a row of temperatures,
and a parabola through the best three finds the one between them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from charrnn.checkpoint.file import Tensors
from charrnn.text.splits import Range, length
from charrnn.text.vocab import Ids
from charrnn.training.distributed import ALONE, World
from charrnn.training.evaluation.loss import Predictor, predictions, summed

# characters that are enough to fit one number on
FITTING = 100_000
LEAST_TO_FIT = 500  # fewer fit nothing but themselves
# temperatures to score, each an eighth of an octave from the next
EXPONENTS = np.arange(-6, 11) / 8


def fit_temperature(
    predictor: Predictor,
    ids: Ids,
    ranges: tuple[Range, ...],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    world: World = ALONE,
) -> float:
    """The temperature with the least nats a character over the beginnings of ``ranges`` of ``ids``.

    Raises:
        ValueError: there is nothing to score.

    """
    ranges = _beginnings(ranges)
    nats, chars = torch.zeros(len(EXPONENTS), dtype=torch.float64), 0
    for logits, targets in predictions(
        predictor, ids, ranges, device=device, dtype=dtype, world=world
    ):
        for index, exponent in enumerate(EXPONENTS):
            losses = F.cross_entropy(logits * 2.0**-exponent, targets, reduction="none")
            nats[index] += losses.cpu().sum(dtype=torch.float64)
        chars += len(targets)
    nats, chars = summed(nats, chars, ranges, world)
    return float(2.0 ** _lowest(EXPONENTS, nats.numpy() / chars))


def _beginnings(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The same part of each range, ``FITTING`` characters or little more in all."""
    share = min(1.0, FITTING / max(length(ranges), 1))
    return tuple((start, start + math.ceil((stop - start) * share)) for start, stop in ranges)


def _lowest(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Where the parabola through the least ``y`` and its neighbours is lowest."""
    place = int(np.argmin(y))
    if place in (0, len(y) - 1):
        return float(x[place])
    before, here, after = y[place - 1 : place + 2]
    bend = before - 2 * here + after
    step = x[place + 1] - x[place]
    return float(x[place] + step * (before - after) / (2 * bend)) if bend > 0 else float(x[place])


def tempered(weights: dict[str, NDArray[Any]], temperature: float) -> Tensors:
    """``weights`` whose logits are divided by ``temperature``."""
    scale = np.float32(1 / temperature)
    return {
        name: value * scale if name.startswith("head.") else value
        for name, value in weights.items()
    }
