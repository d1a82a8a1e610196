"""The softmax temperature that predicts the validation part best.

After many epochs a network is overconfident; dividing its logits by a number above 1 calibrates it
(Guo et al. 2017). One pass scores a series of temperatures, and a parabola through the best three
of them gives the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.checkpoint.file import Tensors
from charrnn.text.splits import Range, spread
from charrnn.text.vocab import Ids
from charrnn.training.distributed import ALONE, World
from charrnn.training.evaluation.loss import Predictor, TorchReader, read

FITTING = 100_000  # characters that are enough to fit one number
LOGITS = 2**27  # enough, too: a large vocabulary has as many for few characters
PIECE = 4096  # characters that are read from the zero state
LEAST_TO_FIT = 500  # characters; with fewer, the temperature would fit only these
# of the temperatures to score, 2 ** EXPONENTS
EXPONENTS = np.arange(-6, 11) / 8


def enough_to_fit(ranges: tuple[Range, ...], vocab_size: int) -> tuple[Range, ...]:
    """A sample of ``ranges`` that is enough to fit a temperature."""
    return spread(ranges, min(FITTING, max(LEAST_TO_FIT, LOGITS // vocab_size)), PIECE)


@torch.no_grad()
def fit_temperature(
    predictor: Predictor,
    ids: Ids,
    ranges: tuple[Range, ...],
    *,
    device: torch.device | None = None,
    world: World = ALONE,
) -> float:
    """The temperature with the least loss over ``ranges`` of ``ids (N,)``, read in short pieces.

    Raises:
        Interrupted: a signal arrived.
        ValueError: the ranges are empty.

    """
    pieces = tuple(
        (begin, min(begin + PIECE, stop))
        for start, stop in ranges
        for begin in range(start, stop, PIECE)
    )
    reader = _Fitter(predictor, ids, device)
    reading = read(reader, pieces, PIECE, world)  # none is cut, so nothing is read twice
    nats = world.all_reduce(reader.nats.cpu()).numpy()
    return float(2.0 ** _lowest(EXPONENTS, nats / reading.chars))


class _Fitter(TorchReader):
    """Sums the losses at each temperature, in ``nats``."""

    def __init__(self, predictor: Predictor, ids: Ids, device: torch.device | None) -> None:
        super().__init__(predictor, ids, device)
        # mps has no float64
        there = device if device is not None and device.type == "cuda" else None
        self.nats = torch.zeros(len(EXPONENTS), dtype=torch.float64, device=there)

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """The losses at the last temperature; those at all of them are added to ``nats``."""
        for index, exponent in enumerate(EXPONENTS):
            losses = super().losses(logits * 2.0**-exponent, y)
            self.nats[index] += losses.to(self.nats.device).sum(dtype=torch.float64)
        return losses


def _lowest(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The minimum of the parabola through the least ``y`` and its two neighbours."""
    index = int(np.argmin(y))
    if index in (0, len(y) - 1):
        return float(x[index])
    before, here, after = y[index - 1 : index + 2]
    bend = before - 2 * here + after
    step = x[index + 1] - x[index]
    return float(x[index] + step * (before - after) / (2 * bend)) if bend > 0 else float(x[index])


def tempered(weights: Mapping[str, NDArray[Any]], temperature: float) -> Tensors:
    """``weights`` with the head scaled so that logits are divided by ``temperature``."""
    scale = np.float32(1 / temperature)
    return {
        name: value * scale if name.startswith("head.") else value
        for name, value in weights.items()
    }
