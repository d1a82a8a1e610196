"""The weights of a model for an engine that multiplies in int8, in few bytes and without loss.

The matrices that charrnn's engines round to int8 are int8, with a scale for each row. All others
have the smallest type that holds their values exactly. So such an engine writes what charrnn does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.file import Checkpoint
from charrnn.checkpoint.int8 import Int8Weights, matrices, quantized

ALIGNMENT = 4  # bytes: typed arrays of float32 begin at such a place
FIRST = "layers.0.weight_ih"  # engines keep its products exact, as a table of all symbols


def packed(checkpoint: Checkpoint) -> tuple[list[dict[str, Any]], bytes]:
    """The weights of ``checkpoint``: where each is, and the bytes of all, little-endian.

    Each has a ``name``, a ``type`` (``int8``, ``float16`` or ``float32``), a ``start`` in bytes and
    a ``size`` in numbers. The scales of the matrix NAME in int8 are called ``NAME.scales``.
    """
    index, data = [], bytearray()
    for name, value in _tensors(checkpoint):
        data += bytes(-len(data) % ALIGNMENT)
        entry = {"name": name, "type": value.dtype.name, "start": len(data), "size": value.size}
        index.append(entry)
        data += value.astype(value.dtype.newbyteorder("<"), "C").tobytes()
    return index, bytes(data)


def _tensors(checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[Any]]]:
    weights, rounded = checkpoint.weights, matrices(checkpoint.config)
    for name in checkpoint.config.shapes():
        kept = weights.stored(name) if isinstance(weights, Int8Weights) else None
        if name in rounded and name != FIRST:
            kept = quantized(weights, name)
        if kept is None:
            yield name, _exact(weights[name])
        else:
            yield name, kept[0]
            yield f"{name}.scales", kept[1]


def _exact(value: NDArray[Any]) -> NDArray[Any]:
    """``value`` in half precision if that loses nothing, else in single precision."""
    single = value.astype(np.float32)
    with np.errstate(over="ignore"):
        half = single.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), single) else single
