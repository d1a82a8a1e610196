"""Clockwork RNN (Koutník et al. 2014): modules of units that run at different speeds.

    h_i ← tanh((W x + b_ih + U h + b_hh)_i)   if t mod T_i = 0, otherwise h_i stays
    t ← t + 1

Module i has the period T_i, and the periods grow. In U, a module reads itself and the slower ones:
U_ij = 0 for T_j < T_i, so that slow modules are not disturbed by fast ones. t is part of the state:
it is 0 where a text begins, and counts modulo the least common multiple of the periods.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

from charrnn.cells.base import Array, Cell, Namespace, State, Weights
from charrnn.cells.registry import register
from charrnn.settings import Notation, Option

MOST_PERIODS = 16
LONGEST_CYCLE = 1 << 16  # float32 counts and divides exactly so far, and further

Periods = tuple[int, ...]


def read_periods(text: str) -> Periods:
    """Periods such as ``1,2,4``.

    Raises:
        ValueError: ``text`` is not a list of numbers, or they do not grow, or are too many or too
            large.

    """
    words = text.split(",")
    if len(words) > MOST_PERIODS:
        raise ValueError("too many periods")
    periods = tuple(map(int, words))
    grow = all(a < b for a, b in pairwise(periods))
    if not (grow and periods[0] >= 1 and periods[-1] <= LONGEST_CYCLE):
        raise ValueError("periods that do not grow, or too long ones")
    if math.lcm(*periods) > LONGEST_CYCLE:
        raise ValueError("too long a cycle")
    return periods


def write_periods(periods: Periods) -> str:
    """``periods`` as ``read_periods`` reads them."""
    return ",".join(map(str, periods))


PERIODS = Option(
    name="periods",
    kind=tuple,
    default=(1, 2, 4, 8),
    notation=Notation(
        read_periods,
        write_periods,
        f"whole numbers that grow, such as 1,2,4: at most {MOST_PERIODS}, with a least common "
        f"multiple of at most {LONGEST_CYCLE:,}",
    ),
    metavar="N,N,...",
    help="With --cell clockwork: characters between two updates of each module, fastest first.",
)


def step(xp: Namespace, z: Array, state: State, w: Weights, *, cycle: int) -> tuple[Array, State]:
    """One time step: ``z (B, H)``, ``h (B, H)``, ``clock (B, 1)`` to the output ``h (B, H)``."""
    h, clock = state
    turns = clock / w.periods  # (B, H)
    new = xp.tanh(z + xp.linear(h, w.weight_hh) + w.bias_hh)
    h = xp.where(turns == xp.floor(turns), new, h)
    clock = clock + 1
    return h, (h, xp.where(clock == cycle, xp.zeros_like(clock), clock))


def modules(hidden: int, count: int) -> list[tuple[int, int]]:
    """The first unit and the end of each of ``count`` modules of (nearly) equal size."""
    return list(pairwise(hidden * index // count for index in range(count + 1)))


def without_faster(xp: Namespace, weight: Array, count: int) -> Array:
    """``weight (H, H)`` with zeros where a module would read a faster one."""
    rows = (
        xp.concatenate((xp.zeros_like(weight[a:b, :a]), weight[a:b, a:]), -1)
        for a, b in modules(len(weight), count)
    )
    return xp.concatenate(tuple(rows), 0)


def prepare(xp: Namespace, w: Weights, *, periods: Periods) -> Weights:
    """The weights, U with its zeros, and ``periods (H,)``: the period of each unit."""
    bias = w.bias_hh
    ranges = zip(modules(len(bias), len(periods)), periods, strict=True)
    units = xp.concatenate(tuple(xp.zeros_like(bias[a:b]) + T for (a, b), T in ranges), 0)
    weight = without_faster(xp, w.weight_hh, len(periods))
    return SimpleNamespace(**vars(w) | {"weight_hh": weight, "periods": units})


def initial(xp: Namespace, name: str, drawn: Array, *, count: int) -> Array:
    """Zeros in ``weight_hh`` where a module would read a faster one; else the random value."""
    return without_faster(xp, drawn, count) if name == "weight_hh" else drawn


def unused(hidden: int, *, count: int) -> int:
    """The number of zeros in U."""
    return sum((b - a) * a for a, b in modules(hidden, count))


def state_widths(hidden: int) -> dict[str, int]:
    """The hidden state ``h`` and the ``clock``."""
    return {"h": hidden, "clock": 1}


def clockwork(V: int = 1, *, periods: Periods = PERIODS.default) -> Cell:
    """The cell with a module for each of ``periods``."""
    cycle, count = math.lcm(*periods), len(periods)
    return Cell(
        "clockwork",
        partial(step, cycle=cycle),
        prepare=partial(prepare, periods=periods),
        state_widths=state_widths,
        cycles={"clock": cycle},
        options=(PERIODS,),
        configure=clockwork,
        least_hidden=count,
        initial=partial(initial, count=count),
        unused=partial(unused, count=count),
        bounded=True,
    )


register(clockwork())
