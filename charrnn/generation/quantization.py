"""Quantized recurrent weights and states: what ``weight_dtype`` means in every engine.

``float32`` stores weights exactly, ``float16`` rounds them, ``int8`` stores integers with a scale
for every row. With int8 weights and a cell whose states are bounded, the states that products read
are rounded as well, to multiples of 1 / ``state_scale``: products are then exact sums of integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import cells
from charrnn.checkpoint.int8 import quantize
from charrnn.config import ModelConfig

Array = NDArray[np.float32]


def rounded_weight(weight: NDArray[Any], weight_dtype: str) -> NDArray[Any]:
    """``weight (rows, in)`` rounded to ``weight_dtype``, in float32."""
    if weight_dtype == "float16":
        return weight.astype(np.float16).astype(np.float32)
    if weight_dtype == "int8":
        stored, scale = quantize(weight)
        return stored * scale[:, None]
    return weight


def quantizes_states(cell: str, weight_dtype: str) -> bool:
    """Whether products read rounded states: int8 weights, and a cell with bounded states."""
    return weight_dtype == "int8" and cells.get(cell).bounded


def state_scale(hidden: int) -> int:
    """The scale of states rounded to int16, which are multiples of 1 / scale; a power of two.

    States lie within ±1 and weights within ±127; a sum of ``hidden`` products fits in int32.
    """
    return 1 << min(14, 24 - (hidden - 1).bit_length())


def rounded_state(state: Array, scale: int) -> Array:
    """States, clipped to ±1, as integer multiples of 1 / ``scale``; the integers in float32."""
    rounded: Array = np.rint(np.clip(state, -1, 1) * np.float32(scale))
    return rounded


def state_scale_for(config: ModelConfig, weight_dtype: str) -> int:
    """``state_scale`` of the network if its products read rounded states, else 0."""
    return state_scale(config.hidden) if quantizes_states(config.cell, weight_dtype) else 0
