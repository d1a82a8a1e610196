"""Evaluation speed: characters of a part that are scored per second, as in a validation."""

from __future__ import annotations

import statistics
import time

import numpy as np

from charrnn.config import ModelConfig
from charrnn.model.network import CharNetwork
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.hardware.device import Hardware

CHARS = 320_000  # about a tenth of War and Peace


def evaluation_speed(
    config: ModelConfig,
    hardware: Hardware,
    *,
    chars: int = CHARS,
    lanes: int | None = None,
    turns: int = 3,
) -> float:
    """Characters per second, the median of ``turns``; joining pieces takes time, too.

    ``lanes`` is how many are read in parallel (None: as in training).
    """
    network = CharNetwork(config).to(hardware.device)
    # ids of one byte, as those of most corpora
    ids = np.random.default_rng(0).integers(min(config.vocab_size, 256), size=chars)
    seconds = []
    for _ in range(turns + 1):  # the first warms up
        began = time.perf_counter()
        evaluate(
            network,
            ids.astype(np.uint8),
            ((0, chars),),
            device=hardware.device,
            lanes=lanes,
        )
        seconds.append(time.perf_counter() - began)
    return chars / statistics.median(seconds[1:])
