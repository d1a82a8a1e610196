"""What compiled code and its callers agree on: the plan's fields, and what code is compiled for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELDS = (
    "steps", "streams", "layers", "hidden", "vocab", "padded_vocab", "threads", "want_logits",
    "want_draw", "parity", "barrier", "ids", "hx", "cx", "features", "logits", "head",
    "head_bias", "uniforms", "scale", "top_k", "top_p", "min_p", "whole", "whole_scale",
)  # fmt: skip
LAYER_FIELDS = ("start", "start_stride", "x", "x_scale", "x_width", "h", "h_scale")

# panels that a single stream passes at once: sums enough that none waits for the one before it
PAIR = 2

# rows of the head side by side in a panel, in vectors
HEAD_VECTORS = 4

CACHE_LINE = 64


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that begin on a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    array: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return array


def has_whole_states(cell: str, form: str) -> bool:
    """Whether ``form`` rounds the states that products read; a relu's have no bound to fit into."""
    return form == "int8" and cell != "rnn-relu"


def whole_scale(hidden: int) -> int:
    """Steps in 1 of a state rounded to int16, a power of two.

    States lie within ±1 and weights within ±127; a sum over ``hidden`` of them stays in int32.
    """
    return 1 << min(14, 24 - (hidden - 1).bit_length())


@dataclass(frozen=True)
class Variant:
    """What a kernel is compiled for; ``many``: streams enough to pass panels in blocks."""

    cell: str
    sum_layers: bool
    form: str
    lanes: int
    x86: bool
    many: bool = False

    @property
    def block(self) -> int:
        """Streams a pass over a panel: with 4 sums each and the weights they fill the registers."""
        registers = 16 if self.x86 and self.lanes < 16 else 32
        return 6 if registers == 32 else 3

    @property
    def whole(self) -> bool:
        """Whether products are sums of whole numbers: int8 weights, states rounded to int16."""
        return has_whole_states(self.cell, self.form)

    @property
    def x_sums(self) -> tuple[int, ...]:
        """The sums that the input's gate vectors go to."""
        return {"lstm": (0, 1, 2, 3), "gru": (0, 1, 2)}.get(self.cell, (0,))

    @property
    def h_sums(self) -> tuple[int, ...]:
        """The sums that the state's gate vectors go to; a GRU keeps n apart until r is known."""
        return {"lstm": (0, 1, 2, 3), "gru": (0, 1, 3)}.get(self.cell, (0,))

    @property
    def sums(self) -> int:
        """Sums a hidden unit."""
        return max(self.h_sums) + 1
