"""The cells that the compiled engine knows: how their gates are computed and their sums laid out.

The engine refuses any other cell, which then runs in the NumPy engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.generation.compiled.codegen import Writer

Value = Any


class UnsupportedCell(RuntimeError):
    """The compiled engine does not know a cell; another engine must run it."""


@dataclass(frozen=True)
class CompiledCell:
    """A cell whose input and state products are sums of ``G`` gate vectors.

    Attributes:
        gates: ``(w, sums, read_h, read_c, write_c)`` emits code that computes the new ``h`` of
            ``lanes`` units from their sums. ``read_h()`` and ``read_c()`` return the old state,
            ``write_c(c)`` stores the new cell state.
        x_sums: for each input gate, the sum that its product is added to.
        h_sums: for each state gate, the sum that its product is added to.
        halved: gates whose weights are halved when they are packed, which is exact. Since
            σ(x) = tanh(x / 2) / 2 + 1/2, the same tanh then serves all gates.

    """

    gates: Callable[..., Value]
    x_sums: tuple[int, ...]
    h_sums: tuple[int, ...]
    halved: tuple[int, ...] = ()

    @property
    def sums(self) -> int:
        """Number of sums per hidden unit."""
        return max(self.h_sums) + 1


Reader = Callable[[], Value]


def _lstm(
    w: Writer, s: Sequence[Value], read_h: Reader, read_c: Reader, write_c: Callable[[Value], None]
) -> Value:
    i, f, o = (w.sigmoid_from_tanh(w.tanh(s[a])) for a in (0, 1, 3))
    c = w.fma(f, read_c(), w.b.fmul(i, w.tanh(s[2])))
    write_c(c)
    return w.b.fmul(o, w.tanh(c))


def _gru(w: Writer, s: Sequence[Value], read_h: Reader, *_: Any) -> Value:
    r, u = (w.sigmoid_from_tanh(w.tanh(w.b.fmul(s[a], w.constant(0.5)))) for a in (0, 1))
    n = w.tanh(w.fma(r, s[3], s[2]))
    return w.fma(u, w.b.fsub(read_h(), n), n)


def _tanh(w: Writer, s: Sequence[Value], *_: Any) -> Value:
    return w.tanh(s[0])


def _relu(w: Writer, s: Sequence[Value], *_: Any) -> Value:
    return w.select(">", s[0], w.constant(0.0), s[0], w.constant(0.0))


_ALL = (0, 1, 2, 3)
CELLS: dict[str, CompiledCell] = {
    "lstm": CompiledCell(_lstm, _ALL, _ALL, halved=(0, 1, 3)),
    # the candidate's two products stay separate until the reset gate is known
    "gru": CompiledCell(_gru, (0, 1, 2), (0, 1, 3)),
    "elman": CompiledCell(_tanh, (0,), (0,)),
    "rnn-relu": CompiledCell(_relu, (0,), (0,)),
    "irnn": CompiledCell(_relu, (0,), (0,)),
}
