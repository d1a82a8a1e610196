"""Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

    i = σ(W_i x + U_i h + b_i)        input gate
    f = σ(W_f x + U_f h + b_f)        forget gate
    g = tanh(W_g x + U_g h + b_g)     candidate
    o = σ(W_o x + U_o h + b_o)        output gate
    c ← f ⊙ c + i ⊙ g
    h ← o ⊙ tanh(c)

``weight_ih``, ``weight_hh`` and the biases stack the gates in torch's order: i, f, g, o.
"""

from __future__ import annotations

from charrnn.cells.base import Array, Cell, Namespace, State, Weights, gated
from charrnn.cells.registry import register


def step(xp: Namespace, z: Array, state: State, w: Weights) -> tuple[Array, State]:
    """One time step: ``z (B, 4H)``, ``h, c (B, H)`` to the output ``h (B, H)`` and ``(h, c)``."""
    h, c = state
    i, f, g, o = xp.split(z + xp.linear(h, w.weight_hh) + w.bias_hh, 4)  # (B, H) each
    c = xp.sigmoid(f) * c + xp.sigmoid(i) * xp.tanh(g)
    h = xp.sigmoid(o) * xp.tanh(c)
    return h, (h, c)


def gates(xp: Namespace, z: Array, state: State, w: Weights) -> dict[str, Array]:
    """The values of i, f and o in a step, ``(B, H)`` each."""
    i, f, _, o = xp.split(z + xp.linear(state[0], w.weight_hh) + w.bias_hh, 4)
    return {"input": xp.sigmoid(i), "forget": xp.sigmoid(f), "output": xp.sigmoid(o)}


def state_widths(hidden: int) -> dict[str, int]:
    """The hidden state ``h`` and the cell state ``c``."""
    return {"h": hidden, "c": hidden}


register(
    Cell("lstm", step, parameters=gated(4), state_widths=state_widths, gates=gates, bounded=True)
)
