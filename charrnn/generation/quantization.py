"""Quantized recurrent weights and states: what ``weight_dtype`` means in every engine.

``float32`` stores weights exactly, ``float16`` rounds them, ``int8`` stores integers with a scale
for every row. With int8 weights and a cell whose states are bounded, the states that products read
are rounded as well, to multiples of 1 / ``state_scale``: products are then exact sums of integers.
``state_dtype`` says how finely: ``int16``, or ``int8``, which processors multiply twice as fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import cells
from charrnn.checkpoint.int8 import INT8_MAX, quantize
from charrnn.config import ModelConfig, StateDtype
from charrnn.errors import ConfigError

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


def check_state_dtype(cell: str, weight_dtype: str, state_dtype: str | None) -> None:
    """Check that a ``state_dtype`` that was asked for means something; None if none was.

    Raises:
        ConfigError: states are not rounded.

    """
    if state_dtype is not None and not quantizes_states(cell, weight_dtype):
        needed = "a cell whose states are bounded" if weight_dtype == "int8" else "int8 weights"
        raise ConfigError(f"needs {needed}", "omit {state_dtype}", setting="state_dtype")


def state_scale(hidden: int, state_dtype: StateDtype = "int16") -> int:
    """The scale of rounded states, which are multiples of 1 / scale.

    States lie within ±1 and weights within ±127; a sum of ``hidden`` products fits in int32. The
    scale of int16 is a power of two.
    """
    if state_dtype == "int8":
        return INT8_MAX
    return 1 << min(14, 24 - (hidden - 1).bit_length())


def rounded_state(state: Array, scale: int) -> Array:
    """States, clipped to ±1, as integer multiples of 1 / ``scale``; the integers in float32."""
    rounded: Array = np.rint(np.clip(state, -1, 1) * np.float32(scale))
    return rounded


def state_scale_for(
    config: ModelConfig, weight_dtype: str, state_dtype: StateDtype = "int16"
) -> int:
    """``state_scale`` of the network if its products read rounded states, else 0."""
    quantizes = quantizes_states(config.cell, weight_dtype)
    return state_scale(config.hidden, state_dtype) if quantizes else 0
