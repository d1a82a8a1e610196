"""Layers on Intel AMX tiles: bytes times int8, summed exactly as VNNI does. Needs llvmlite.

A tile of states holds ``tile_bytes`` inputs of 16 streams, read straight from the rounded states
``(N, H)``. A tile of weights holds 16 units' weights for the same inputs, four in a row: such a row
is a vector of a panel, in which those of one gate lie G vectors apart. So tiles and VNNI read the
same memory. A tile of sums holds the int32 sums of 16 streams by 16 units of a gate. Two tiles of
states by two of weights make four of sums, and whatever is read is multiplied twice.

The last tile of states may reach up to 15 rows beyond the last stream. There the slot still has
memory, because its last part has room for int16, and nobody reads the sums.

Each thread configures tiles for its share of a stage, and releases them after it. So a thread that
waits, sleeps, forks or returns to Python holds none, and switching threads stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from charrnn.amx import ROW_BYTES, ROWS, palette
from charrnn.generation.compiled.codegen import I8, I32, I64, PTR, Value, Writer
from charrnn.generation.compiled.layout import Variant
from charrnn.generation.compiled.plan import (
    Slot,
    field,
    layer_at,
    layer_field,
    layer_pointer,
    pointer,
    slot,
)

BLOCK = 2 * ROWS  # streams whose sums a panel makes at once

# LLVM's intrinsics for tiles that are given by number, without "llvm.x86.", and their arguments
INSTRUCTIONS: dict[str, list[Any]] = {
    "ldtilecfg": [PTR],
    "tilerelease": [],
    "tileloadd64": [I8, PTR, I64],
    "tilestored64": [I8, PTR, I64],
    "tdpbusd": [I8, I8, I8],
}
# numbers of the tiles: sums of two tiles of streams by two gates, states, weights
SUMS, STATES, WEIGHTS = ((0, 1), (2, 3)), (4, 5), (6, 7)

# (w, layer, panel, character): variables that hold a panel's initial sums
Start = Callable[[Writer, Value, Value, Value], list[Value]]
# (w, plan, sums, old, new, unit): compute and store a panel's new state
State = Callable[[Writer, Value, list[Value], Slot, Slot, Value], None]


def instruct(w: Writer, name: str, *arguments: Value) -> None:
    """Execute one of ``INSTRUCTIONS``; tiles are numbers."""
    values = [ir.Constant(I8, a) if isinstance(a, int) else a for a in arguments]
    w.call(f"llvm.x86.{name}", ir.VoidType(), INSTRUCTIONS[name], *values)


@contextmanager
def configured(w: Writer, variant: Variant) -> Iterator[None]:
    """Code that has tiles. It must not wait or return: a thread that does should hold none."""
    depth = variant.tile_bytes
    sums, states, weights = (ROWS, ROW_BYTES), (ROWS, depth), (depth // 4, ROW_BYTES)
    content = bytearray(palette([sums] * 4 + [states] * 2 + [weights] * 2))
    kind = ir.ArrayType(I8, len(content))
    table = ir.GlobalVariable(w.function.module, kind, "palette")
    table.initializer, table.global_constant = ir.Constant(kind, content), True
    table.linkage, table.align = "internal", ROW_BYTES
    instruct(w, "ldtilecfg", table)
    yield
    instruct(w, "tilerelease")


class Panels:
    """Writes the functions that step a panel; ``start`` and ``state`` write what all kernels share.

    Attributes:
        panel: ``panel(plan, index, panel, first, end, below, old, new)`` computes a panel's new
            state in layer ``index`` for the streams from ``first`` to ``end``, ``BLOCK`` at most.

    """

    def __init__(self, module: ir.Module, variant: Variant, start: Start, state: State) -> None:
        self.module, self.variant, self.cell = module, variant, variant.compiled_cell
        sizes = {len(self.cell.x_sums), len(self.cell.h_sums)}
        self.sums = {gates: self._sums(gates) for gates in sorted(sizes)}
        self.panel = self._panel(start, state)

    def _writer(self, name: str, arguments: Sequence[Any]) -> Writer:
        return Writer(self.module, name, arguments, self.variant.lanes, public=False)

    def _panel(self, start: Start, state: State) -> Any:
        w = self._writer("panel", [PTR, I64, I64, I64, I64, I64, I64, I64])
        plan, index, panel, first, end, *addresses = w.arguments
        layer, H = layer_at(w, plan, index), field(w, plan, "hidden")
        below, old, new = (slot(w, plan, address) for address in addresses)
        left, most = w.b.sub(end, first), w.i64(BLOCK)
        count = w.b.select(w.b.icmp_signed("<", left, most), left, most)
        parts = []
        for name, source, width, which in (
            ("x", below, layer_field(w, layer, "x_width"), self.cell.x_sums),
            ("h", old, H, self.cell.h_sums),
        ):
            states = w.at(source.rounded, w.b.mul(first, H), I8)
            product = self._product(w, layer, (name, len(which)), panel, width, states, count)
            parts.append((which, *product))
        with w.loop(w.i64(0), count) as stream:
            row = w.b.add(first, stream)
            totals = start(w, layer, panel, w.read(pointer(w, plan, "read"), row, I32))
            for which, sums, scales in parts:
                begin = w.b.mul(stream, w.i64(len(which)))
                for a, total in enumerate(totals[gate] for gate in which):
                    place = w.b.add(begin, w.i64(a))
                    value = w.b.sitofp(w.read(sums, place, w.i32_vector), w.vector)
                    scale = w.read_vector(scales, w.i64(a * w.lanes))
                    w.set(total, w.fma(value, scale, w.get(total)))
            unit = w.b.add(w.b.mul(row, H), w.b.mul(panel, w.i64(w.lanes)))
            state(w, plan, [w.get(total) for total in totals], old, new, unit)
        w.end()
        return w.function

    def _product(
        self, w: Writer, layer: Value, matrix: tuple[str, int], panel: Value, width: Value,
        states: Value, count: Value,
    ) -> tuple[Value, Value]:  # fmt: skip
        """Multiply ``matrix``, a name and its gates G, by the states of ``count`` streams.

        Returns the addresses of the sums ``(BLOCK, G)`` and of their scales ``(G,)``, in vectors.
        """
        name, gates = matrix
        with w.b.goto_entry_block():
            sums = w.b.alloca(ir.ArrayType(w.i32_vector, BLOCK * gates))
            sums.align = ROW_BYTES
        vectors = w.b.mul(panel, w.i64(gates * w.lanes))
        weights = w.at(layer_pointer(w, layer, name), w.b.mul(vectors, width), I8)
        firsts = w.at(layer_pointer(w, layer, f"{name}_first"), vectors, I32)
        depth = w.b.sdiv(width, w.i64(self.variant.tile_bytes))
        stride = field(w, w.arguments[0], "hidden")
        w.b.call(self.sums[gates], [states, stride, weights, firsts, depth, count, sums])
        return sums, w.at(layer_pointer(w, layer, f"{name}_scale"), vectors)

    def _sums(self, gates: int) -> Any:
        """``sums(states, stride, weights, firsts, depth, count, out)``: ``out (BLOCK, gates)``.

        ``states`` are rows ``stride`` bytes apart, ``depth`` tiles wide, of which ``count`` matter.
        Each gate's sums start at its vector of ``firsts``.
        """
        w = self._writer(f"sums{gates}", [PTR, I64, PTR, PTR, I64, I64, PTR])
        count = w.arguments[5]
        with w.b.if_else(w.b.icmp_signed(">", count, w.i64(ROWS))) as (two, one):
            for tiles, branch in ((2, two), (1, one)):
                with branch:
                    for first in range(0, gates, 2):
                        self._tile_sums(w, gates, range(first, min(first + 2, gates)), tiles)
        w.end()
        return w.function

    def _tile_sums(self, w: Writer, gates: int, some: range, tiles: int) -> None:
        """``_sums`` of ``some`` gates for 16 or 32 streams."""
        states, stride, weights, firsts, depth, _, out = w.arguments
        vector, apart, size = ROW_BYTES, w.i64(gates * ROW_BYTES), self.variant.tile_bytes
        sums = [(SUMS[r][j], r, a) for r in range(tiles) for j, a in enumerate(some)]
        for tile, _, a in sums:  # the same vector in every row
            instruct(w, "tileloadd64", tile, w.at(firsts, w.i64(a * vector), I8), w.i64(0))
        with w.loop(w.i64(0), depth) as k:
            inputs = w.at(states, w.b.mul(k, w.i64(size)), I8)
            rows = w.b.mul(w.b.mul(k, w.i64(size // 4)), apart)
            for r in range(tiles):
                below = w.b.mul(stride, w.i64(r * ROWS))
                instruct(w, "tileloadd64", STATES[r], w.at(inputs, below, I8), stride)
                for j, a in enumerate(some):
                    if r == 0:
                        place = w.b.add(rows, w.i64(a * vector))
                        instruct(w, "tileloadd64", WEIGHTS[j], w.at(weights, place, I8), apart)
                    instruct(w, "tdpbusd", SUMS[r][j], STATES[r], WEIGHTS[j])
        for tile, r, a in sums:
            place = w.i64((r * ROWS * gates + a) * vector)
            instruct(w, "tilestored64", tile, w.at(out, place, I8), apart)
