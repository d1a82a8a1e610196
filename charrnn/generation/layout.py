"""What compiled code and its callers agree on: the plan's fields, and what code is compiled for."""

from __future__ import annotations

from dataclasses import dataclass

FIELDS = (
    "steps", "streams", "layers", "hidden", "vocab", "padded_vocab", "threads", "want_logits",
    "want_draw", "parity", "barrier", "ids", "hx", "cx", "features", "logits", "head",
    "head_bias", "uniforms", "scale", "top_k", "top_p", "min_p",
)  # fmt: skip
LAYER_FIELDS = ("start", "start_stride", "x", "x_scale", "x_width", "h", "h_scale")

# rows of the head side by side in a panel, in vectors
HEAD_VECTORS = 4


@dataclass(frozen=True)
class Variant:
    """What a kernel is compiled for."""

    cell: str
    sum_layers: bool
    form: str
    lanes: int
    x86: bool

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
