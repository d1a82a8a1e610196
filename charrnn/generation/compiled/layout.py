"""What compiled code and its callers share: the plan's fields, and the variants of the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.amx import ROW_BYTES
from charrnn.config import StateDtype
from charrnn.generation.compiled.cells import CELLS, CompiledCell
from charrnn.generation.quantization import quantizes_states, state_scale

FIELDS = (
    "steps", "streams", "layers", "hidden", "vocab", "padded_vocab", "threads", "want_logits",
    "want_draw", "parity", "ids", "features", "logits", "head", "head_bias", "uniforms", "scale",
    "top_k", "top_p", "min_p", "state_scale", "read", "read_uniforms", "meeting", "helpers",
    "private", "private_bytes", "stage_streams", "slot_bytes",
)  # fmt: skip
# even_slot and odd_slot hold the state after an even and an odd number of steps
LAYER_FIELDS = (
    "start", "start_stride", "x", "x_scale", "x_first", "x_width", "h", "h_scale", "h_first",
    "even_slot", "odd_slot",
)  # fmt: skip

# The tables where threads meet, in lines of int64 for each: see ``teamwork``. A line is two cache
# lines long, because processors fetch them in pairs.
STAGE_FIELDS = (
    "number", "ready", "kind", "index", "first", "end", "below", "old", "new", "active", "alone",
)  # fmt: skip
HELPER_FIELDS = ("spare", "writes", "mark", "together", "rest", "rests_until")
LINE = 16
LEFT, NAPPING = -2, -4
MAX_THREADS = 63  # one bit each

# panels that a single stream reads at once: enough independent sums to hide the latency of each
PAIR = 2

# vectors of the head's rows side by side in a panel
HEAD_VECTORS = 4

# Streams of one stage, at most: the fewer, the better their states fit into a processor's cache,
# and the more often weights are read, which is cheap for int8. On tiles, a stage's last
# streams are not stepped beside products of others, so its streams should be many.
MOST_STREAMS, INTEGER_STREAMS = 256, 96

CACHE_LINE = 64

# floats per vector where a vector of weights is a row of a tile
TILE_LANES = 16

# States rounded to eight bits are stored as they are multiplied, from 0 to 255, with 0 as this.
BYTE_ZERO = 128


def tile_bytes(hidden: int) -> int:
    """Inputs that a tile holds: the most of which ``hidden``, a multiple of 32, is a multiple.

    They are stored as bytes, and multiplied by fours.
    """
    return max(size for size in range(4, ROW_BYTES + 1, 4) if hidden % size == 0)


def slot_bytes(streams: int, hidden: int) -> int:
    """Bytes of a layer's state ``(N, H)``: ``h`` and ``c`` as float32, ``h`` rounded to int16.

    ``h`` that is rounded to eight bits takes half of the last part.
    """
    size = 10 * streams * hidden
    return -(-size // (8 * LINE)) * (8 * LINE)


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array of zeros that starts on a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    array: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return array


@dataclass(frozen=True)
class Variant:
    """What a kernel is compiled for; ``many``: enough streams to read panels in blocks.

    ``byte_products``: whether the processor multiplies unsigned bytes by int8 and adds up four
    products at once (x86's VNNI). Without that, states rounded to int8 are multiplied as int16.
    ``tile_bytes``: how many of a stream's bytes a tile holds, if layers run on tiles (``tiles``).
    """

    cell: str
    sum_layers: bool
    weight_dtype: str
    lanes: int
    x86: bool
    many: bool = False
    state_dtype: StateDtype = "int16"
    byte_products: bool = False
    tile_bytes: int = 0

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
    def stage_streams(self) -> int:
        """The most streams that a stage has."""
        return INTEGER_STREAMS if self.integer and not self.tile_bytes else MOST_STREAMS

    @property
    def integer(self) -> bool:
        """Whether products are summed in integers: int8 weights times rounded states."""
        return quantizes_states(self.cell, self.weight_dtype)

    @property
    def bytes(self) -> bool:
        """Whether rounded states are stored and multiplied as bytes."""
        return self.integer and self.state_dtype == "int8" and self.byte_products

    @property
    def products(self) -> str:
        """What multiplies in the layers: ``amx`` tiles, ``vnni`` or other ``vectors``."""
        return "amx" if self.tile_bytes else "vnni" if self.bytes else "vectors"

    @property
    def together(self) -> int:
        """Inputs whose int8 weights stand side by side, because they are multiplied at once."""
        return (4 if self.bytes else 2) if self.integer else 1

    def scale(self, hidden: int) -> int:
        """The scale of rounded states; ``hidden`` is padded."""
        return state_scale(hidden, self.state_dtype)
