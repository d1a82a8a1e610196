"""Jordan's network (1986): it remembers nothing but what it predicted.

    h ← tanh(W x + b_ih + U p + b_hh)
    p ← softmax(V h + c)              after the head: its distribution over the V symbols

The recurrent input is the network's own output of the step before, at temperature 1: what it
expected, not what came. At the start of a text, p is 0. A network has one output, which every layer
reads: without it, an upper layer would have no memory. ``weight_hp`` is U.
"""

from __future__ import annotations

from functools import partial

from charrnn.cells.base import Array, Cell, Namespace, Shapes, State, States, Weights
from charrnn.cells.registry import register


def step(xp: Namespace, z: Array, state: State, w: Weights) -> tuple[Array, State]:
    """One time step: ``z (B, H)``, ``p (B, V)`` to the output ``h (B, H)``; ``p`` stays."""
    (p,) = state
    return xp.tanh(z + xp.linear(p, w.weight_hp) + w.bias_hh), state


def after_head(xp: Namespace, logits: Array, states: States) -> States:
    """The new ``p`` of every layer, from ``logits (B, V)``."""
    p = xp.softmax(logits)
    return tuple((p,) for _ in states)


def parameters(inputs: int, hidden: int, *, symbols: int) -> Shapes:
    """Names and shapes of the parameters of a layer."""
    return {
        "weight_ih": (hidden, inputs),
        "weight_hp": (hidden, symbols),
        "bias_ih": (hidden,),
        "bias_hh": (hidden,),
    }


def jordan(V: int = 1) -> Cell:
    """The cell for a vocabulary of V symbols."""
    return Cell(
        "jordan",
        step,
        parameters=partial(parameters, symbols=V),
        state_widths=lambda hidden: {"p": V},
        after_head=after_head,
        recurrent=("weight_hp",),
        configure=jordan,
        bounded=True,
    )


register(jordan())
