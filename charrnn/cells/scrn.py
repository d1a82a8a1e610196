"""Structurally constrained recurrent network (Mikolov et al. 2014): units that change slowly.

    s ← (1 − α) B x + α s            context: C slow units, each a running mean of its input
    h ← σ(P s + A x + R h)           hidden units, which read the new context
    y = [h, s]                       the next layer or the head reads both

α is 0.95, or learned: then α = σ(β) for each slow unit, which starts at 0.95. ``weight_cx`` is B,
``weight_ih`` A, ``weight_hc`` P, ``weight_hh`` R and ``decay`` β. There are no biases, as in the
paper.
"""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace

from charrnn.cells.base import MAX_WIDTH, Array, Cell, Namespace, Shapes, State, Weights
from charrnn.cells.registry import register
from charrnn.settings import Option

DECAY = 0.95  # α

CONTEXT = Option(
    name="context",
    kind=int,
    default=40,
    low=1,
    high=MAX_WIDTH,
    help="With --cell scrn: slow context units per layer.",
)
LEARN_DECAY = Option(
    name="learn_decay",
    kind=bool,
    default=False,
    flag="--learn-decay/--fixed-decay",
    help="With --cell scrn: learn the decay of each context unit, or fix it at 0.95.",
)


def step(xp: Namespace, z: Array, state: State, w: Weights, *, context: int) -> tuple[Array, State]:
    """One time step: ``z (B, C + H)``, ``h (B, H)``, ``s (B, C)`` to ``y (B, H + C)``."""
    h, s = state
    s = (1 - w.alpha) * z[..., :context] + w.alpha * s
    h = xp.sigmoid(z[..., context:] + xp.linear(s, w.weight_hc) + xp.linear(h, w.weight_hh))
    return xp.concatenate((h, s), -1), (h, s)


def project(xp: Namespace, x: Array, w: Weights) -> Array:
    """B x and A x side by side: ``(..., C + H)`` from ``x (..., in)``."""
    return xp.concatenate((xp.linear(x, w.weight_cx), xp.linear(x, w.weight_ih)), -1)


def prepare(xp: Namespace, w: Weights) -> Weights:
    """The weights with ``alpha``: a number, or ``(C,)`` if it is learned."""
    learned = getattr(w, "decay", None)
    alpha = DECAY if learned is None else xp.sigmoid(learned)
    return SimpleNamespace(**vars(w), alpha=alpha)


def initial(xp: Namespace, name: str, drawn: Array) -> Array:
    """The β of α = 0.95 for ``decay``; the random value for the others."""
    return drawn * 0 + math.log(DECAY / (1 - DECAY)) if name == "decay" else drawn


def parameters(inputs: int, hidden: int, *, context: int, learn_decay: bool) -> Shapes:
    """Names and shapes of the parameters of a layer."""
    shapes: Shapes = {
        "weight_cx": (context, inputs),
        "weight_ih": (hidden, inputs),
        "weight_hc": (hidden, context),
        "weight_hh": (hidden, hidden),
    }
    return shapes | {"decay": (context,)} if learn_decay else shapes


def state_widths(hidden: int, *, context: int) -> dict[str, int]:
    """The hidden state ``h`` and the context ``s``."""
    return {"h": hidden, "s": context}


def scrn(V: int = 1, *, context: int = CONTEXT.default, learn_decay: bool = False) -> Cell:
    """The cell with ``context`` slow units, whose decay may be learned."""
    return Cell(
        "scrn",
        partial(step, context=context),
        parameters=partial(parameters, context=context, learn_decay=learn_decay),
        prepare=prepare,
        project=project,
        state_widths=partial(state_widths, context=context),
        output_width=lambda hidden: hidden + context,
        options=(CONTEXT, LEARN_DECAY),
        configure=scrn,
        initial=initial,
    )


register(scrn())
