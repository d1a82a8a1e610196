"""Elman's network (1990) with tanh, or with a rectifier in its place.

h ← φ(W x + b_ih + U h + b_hh),   φ = tanh (elman, also called rnn-tanh) or max(·, 0) (rnn-relu)
"""

from __future__ import annotations

from charrnn.cells.base import Array, Cell, Namespace, State, Weights
from charrnn.cells.registry import register


def step_tanh(xp: Namespace, z: Array, state: State, w: Weights) -> tuple[Array, State]:
    """One time step: ``z (B, H)``, ``h (B, H)`` to the output ``h (B, H)`` and ``(h,)``."""
    (h,) = state
    h = xp.tanh(z + xp.linear(h, w.weight_hh) + w.bias_hh)
    return h, (h,)


def step_relu(xp: Namespace, z: Array, state: State, w: Weights) -> tuple[Array, State]:
    """The same with a rectifier; its outputs have no upper bound."""
    (h,) = state
    h = xp.relu(z + xp.linear(h, w.weight_hh) + w.bias_hh)
    return h, (h,)


register(Cell("elman", step_tanh, aliases=("rnn-tanh",), bounded=True))
register(Cell("rnn-relu", step_relu))
