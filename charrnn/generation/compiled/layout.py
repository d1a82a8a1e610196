"""What compiled code and its callers share: the plan's fields, and the variants of the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.compiled.cells import CELLS, CompiledCell
from charrnn.generation.quantization import quantizes_states

FIELDS = (
    "steps", "streams", "layers", "hidden", "vocab", "padded_vocab", "threads", "want_logits",
    "want_draw", "parity", "barrier", "ids", "hx", "cx", "features", "logits", "head",
    "head_bias", "uniforms", "scale", "top_k", "top_p", "min_p", "rounded", "state_scale",
)  # fmt: skip
LAYER_FIELDS = ("start", "start_stride", "x", "x_scale", "x_width", "h", "h_scale")

# panels that a single stream reads at once: enough independent sums to hide the latency of each
PAIR = 2

# vectors of the head's rows side by side in a panel
HEAD_VECTORS = 4

CACHE_LINE = 64


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array of zeros that starts on a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    array: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return array


@dataclass(frozen=True)
class Variant:
    """What a kernel is compiled for; ``many``: enough streams to read panels in blocks."""

    cell: str
    sum_layers: bool
    weight_dtype: str
    lanes: int
    x86: bool
    many: bool = False

    @property
    def compiled_cell(self) -> CompiledCell:
        """The cell's gates and sums."""
        return CELLS[self.cell]

    @property
    def block(self) -> int:
        """Streams per pass over a panel: their sums, 4 each, and the weights fill the registers."""
        registers = 16 if self.x86 and self.lanes < 16 else 32
        return 6 if registers == 32 else 3

    @property
    def integer(self) -> bool:
        """Whether products are summed in integers: int8 weights times states rounded to int16."""
        return quantizes_states(self.cell, self.weight_dtype)
