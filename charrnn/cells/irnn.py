"""IRNN (Le, Jaitly & Hinton 2015): a rectifier that starts by repeating its state.

    h ← max(W x + b_ih + U h + b_hh, 0),   at first U = I and b_ih = b_hh = 0

Without input, the initial network keeps a state for ever, and gradients neither vanish nor explode.
"""

from __future__ import annotations

from charrnn.cells.base import Array, Cell, Namespace
from charrnn.cells.elman import step_relu
from charrnn.cells.registry import register


def initial(xp: Namespace, name: str, drawn: Array) -> Array:
    """The identity for ``weight_hh``, zeros for biases, the random value for ``weight_ih``."""
    if name == "weight_hh":
        return xp.eye(len(drawn))
    return xp.zeros_like(drawn) if name.startswith("bias") else drawn


register(Cell("irnn", step_relu, initial=initial))
