"""Gated recurrent unit (Cho et al. 2014), with the reset gate after the product as in cuDNN.

    r = σ(W_r x + b_ir + U_r h + b_hr)            reset gate
    u = σ(W_u x + b_iu + U_u h + b_hu)            update gate
    n = tanh(W_n x + b_in + r ⊙ (U_n h + b_hn))   candidate
    h ← (1 − u) ⊙ n + u ⊙ h

``weight_ih``, ``weight_hh`` and the biases stack the gates in torch's order: r, u (torch's z), n.
"""

from __future__ import annotations

from charrnn.cells.base import Array, Cell, Namespace, State, Weights, gated
from charrnn.cells.registry import register


def step(xp: Namespace, z: Array, state: State, w: Weights) -> tuple[Array, State]:
    """One time step: ``z (B, 3H)``, ``h (B, H)`` to the output ``h (B, H)`` and ``(h,)``."""
    (h,) = state
    xr, xu, xn = xp.split(z, 3)  # (B, H) each
    hr, hu, hn = xp.split(xp.linear(h, w.weight_hh) + w.bias_hh, 3)
    r, u = xp.sigmoid(xr + hr), xp.sigmoid(xu + hu)
    n = xp.tanh(xn + r * hn)
    h = (1 - u) * n + u * h
    return h, (h,)


def gates(xp: Namespace, z: Array, state: State, w: Weights) -> dict[str, Array]:
    """The values of r and u in a step, ``(B, H)`` each."""
    xr, xu, _ = xp.split(z, 3)
    hr, hu, _ = xp.split(xp.linear(state[0], w.weight_hh) + w.bias_hh, 3)
    return {"reset": xp.sigmoid(xr + hr), "update": xp.sigmoid(xu + hu)}


register(Cell("gru", step, parameters=gated(3), gates=gates, bounded=True))
