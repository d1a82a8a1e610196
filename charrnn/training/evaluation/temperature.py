"""The softmax temperature that predicts the validation part best.

After many epochs a network is overconfident; dividing its logits by a number above 1 calibrates it
(Guo et al. 2017). One pass scores a series of temperatures, and a parabola through the best three
of them gives the result.
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
from charrnn.training.evaluation.loss import Predictor, predictions, summed, total, zeros

FITTING = 100_000  # characters that are enough to fit one number
LEAST_TO_FIT = 500  # with fewer, the temperature would fit only these
# of the temperatures to score, 2 ** EXPONENTS
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
    """The temperature with the least loss over the beginnings of ``ranges`` of ``ids (N,)``.

    Raises:
        Interrupted: a signal arrived.
        ValueError: the ranges are empty.

    """
    ranges = _beginnings(ranges)
    nats, chars = zeros(len(EXPONENTS), device), 0
    for logits, targets in predictions(
        predictor, ids, ranges, device=device, dtype=dtype, world=world
    ):
        for index, exponent in enumerate(EXPONENTS):
            losses = F.cross_entropy(logits * 2.0**-exponent, targets, reduction="none")
            nats[index] += total(losses)
        chars += len(targets)
    nats, chars = summed(nats, chars, ranges, world)
    return float(2.0 ** _lowest(EXPONENTS, nats.numpy() / chars))


def _beginnings(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The same fraction of each range, about ``FITTING`` characters in all."""
    share = min(1.0, FITTING / max(length(ranges), 1))
    return tuple((start, start + math.ceil((stop - start) * share)) for start, stop in ranges)


def _lowest(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The minimum of the parabola through the least ``y`` and its two neighbours."""
    index = int(np.argmin(y))
    if index in (0, len(y) - 1):
        return float(x[index])
    before, here, after = y[index - 1 : index + 2]
    bend = before - 2 * here + after
    step = x[index + 1] - x[index]
    return float(x[index] + step * (before - after) / (2 * bend)) if bend > 0 else float(x[index])


def tempered(weights: dict[str, NDArray[Any]], temperature: float) -> Tensors:
    """``weights`` with the head scaled so that logits are divided by ``temperature``."""
    scale = np.float32(1 / temperature)
    return {
        name: value * scale if name.startswith("head.") else value
        for name, value in weights.items()
    }
