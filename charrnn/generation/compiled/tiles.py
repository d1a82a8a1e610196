"""Layers on Intel AMX tiles: bytes times int8, summed exactly as VNNI does. Needs llvmlite.

A tile of states holds ``tile_bytes`` inputs of 16 streams, read straight from the rounded states
``(N, H)``. A tile of weights holds 16 units' weights for the same inputs, four in a row: such a row
is a vector of a panel, in which those of one gate lie G vectors apart. So tiles and VNNI read the
same memory. A tile of sums holds the int32 sums of 16 streams by 16 units of a gate. Two tiles of
states by two of weights make four of sums, and whatever is read is multiplied twice.

The last tile of states may reach up to 15 rows beyond the last stream. There the slot still has
memory, because its last part has room for int16, and nobody reads the sums.

Tiles multiply beside the vector units. So between the products of some streams stands the code that
computes the new states of the streams before them.

Each thread configures tiles for its share of a stage, and releases them after it. So a thread that
waits, sleeps, forks or returns to Python holds none, and switching threads stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Product:
    """A panel's weights of one matrix, and what they are multiplied with.

    Attributes:
        gates: for each of the matrix's gates, the panel's sum that its product is added to.
        states: address of the rounded states ``(N, H)``.
        stride: H, the bytes from a stream's states to the next one's.
        depth: how many tiles of inputs a stream has.
        weights: address of the int8 weights: a vector for each gate and four inputs.
        firsts: address of the int32 vectors at which the gates' sums start.
        scales: address of the vectors that the gates' sums are multiplied with.
        sums: address of the int32 sums ``(2, BLOCK, gates)``, in vectors.

    """

    gates: Sequence[int]
    states: Value
    stride: Value
    depth: Value
    weights: Value
    firsts: Value
    scales: Value
    sums: Value


class Panel:
    """Writes the function that steps a panel; ``start`` and ``state`` write what all kernels share.

    Attributes:
        function: ``panel(plan, index, panel, first, end, below, old, new)`` computes a panel's new
            state in layer ``index`` for the streams from ``first`` to ``end``.

    """

    def __init__(self, module: ir.Module, variant: Variant, start: Start, state: State) -> None:
        self.variant, self.start, self.state = variant, start, state
        w = self.w = Writer(module, "panel", [PTR, *[I64] * 7], variant.lanes, public=False)
        self.function = w.function
        self.plan, index, self.panel, self.first, self.end, *addresses = w.arguments
        self.layer, self.hidden = layer_at(w, self.plan, index), field(w, self.plan, "hidden")
        below, self.old, self.new = (slot(w, self.plan, address) for address in addresses)
        cell, width = variant.compiled_cell, layer_field(w, self.layer, "x_width")
        self.products = [
            self._product("x", cell.x_sums, below, width),
            self._product("h", cell.h_sums, self.old, self.hidden),
        ]
        self._write()

    def _product(self, name: str, gates: Sequence[int], source: Slot, width: Value) -> Product:
        """The product of the panel and ``width`` of the ``source``'s states."""
        w, layer = self.w, self.layer
        vectors = w.b.mul(self.panel, w.i64(len(gates) * w.lanes))
        with w.b.goto_entry_block():
            sums = w.b.alloca(w.i32_vector, 2 * BLOCK * len(gates))
            sums.align = ROW_BYTES
        return Product(
            gates,
            source.rounded,
            self.hidden,
            w.b.sdiv(width, w.i64(self.variant.tile_bytes)),
            w.at(layer_pointer(w, layer, name), w.b.mul(vectors, width), I8),
            w.at(layer_pointer(w, layer, f"{name}_first"), vectors, I32),
            w.at(layer_pointer(w, layer, f"{name}_scale"), vectors),
            sums,
        )

    def _write(self) -> None:
        """Streams go in blocks, whose sums take turns in the two halves of their memory."""
        w, most = self.w, self.w.i64(BLOCK)
        pace, half = self._pace(), w.variable(w.i64(0))
        done = w.variable(most)  # streams of the block before that have been stepped
        with w.loop(self.first, self.end, BLOCK) as row:
            before, theirs = w.b.sub(row, most), w.get(half)
            own = w.b.sub(w.i64(1), theirs)
            left = w.b.sub(self.end, row)

            def step_some() -> None:
                stop = w.b.add(w.get(done), pace)
                stop = w.b.select(w.b.icmp_signed("<", stop, most), stop, most)
                self._step(before, theirs, done, stop)

            with w.b.if_else(w.b.icmp_signed(">", left, w.i64(ROWS))) as (two, one):
                for tiles, branch in ((2, two), (1, one)):
                    with branch:
                        for product in self.products:
                            write_sums(w, self.variant, product, row, tiles, own, step_some)
            self._step(before, theirs, done, most)
            w.set(done, w.i64(0))
            w.set(half, own)
        count = w.b.sub(self.end, self.first)
        left = w.b.add(w.b.srem(w.b.sub(count, w.i64(1)), most), w.i64(1))
        self._step(w.b.sub(self.end, left), w.get(half), done, left)
        w.end()

    def _pace(self) -> Value:
        """How many streams to step for every tile of inputs, so that a block's are all stepped."""
        w = self.w
        steps = w.i64(0)
        for product in self.products:
            pairs = -(-len(product.gates) // 2)
            steps = w.b.add(steps, w.b.mul(product.depth, w.i64(pairs)))
        return w.b.sdiv(w.b.add(steps, w.i64(BLOCK - 1)), steps)

    def _step(self, row: Value, half: Value, done: Value, stop: Value) -> None:
        """Compute new states from the sums of the block at ``row`` until ``stop`` are ``done``."""
        w = self.w
        with w.loop(w.get(done), stop) as n:
            place = w.b.add(w.b.mul(half, w.i64(BLOCK)), n)
            self._new_state(w.b.add(row, n), place)
        w.set(done, stop)

    def _new_state(self, row: Value, place: Value) -> None:
        """Compute the new state of stream ``row``, whose sums are at ``place``."""
        w = self.w
        character = w.read(pointer(w, self.plan, "read"), row, I32)
        totals = self.start(w, self.layer, self.panel, character)
        for product in self.products:
            begin = w.b.mul(place, w.i64(len(product.gates)))
            for a, total in enumerate(totals[gate] for gate in product.gates):
                value = w.read(product.sums, w.b.add(begin, w.i64(a)), w.i32_vector)
                scale = w.read_vector(product.scales, w.i64(a * w.lanes))
                w.set(total, w.fma(w.b.sitofp(value, w.vector), scale, w.get(total)))
        unit = w.b.add(w.b.mul(row, self.hidden), w.b.mul(self.panel, w.i64(w.lanes)))
        self.state(w, self.plan, [w.get(t) for t in totals], self.old, self.new, unit)


def write_sums(
    w: Writer, variant: Variant, product: Product, row: Value, tiles: int, half: Value,
    meanwhile: Callable[[], None],
) -> None:  # fmt: skip
    """Multiply the streams of one or two ``tiles`` from ``row`` on.

    The sums go to a ``half`` of their memory. ``meanwhile`` writes code that is to run after every
    tile of inputs, before its products are ready.
    """
    gates, size, stride = len(product.gates), variant.tile_bytes, product.stride
    apart = w.i64(gates * ROW_BYTES)
    states = w.at(product.states, w.b.mul(row, stride), I8)
    out = w.at(product.sums, w.b.mul(half, w.i64(BLOCK * gates)), w.i32_vector)
    for first in range(0, gates, 2):
        some = range(first, min(first + 2, gates))
        sums = [(SUMS[r][j], r, a) for r in range(tiles) for j, a in enumerate(some)]
        for tile, _, a in sums:  # the same vector in every row
            place = w.at(product.firsts, w.i64(a), w.i32_vector)
            instruct(w, "tileloadd64", tile, place, w.i64(0))
        with w.loop(w.i64(0), product.depth) as k:
            inputs = w.at(states, w.b.mul(k, w.i64(size)), I8)
            weights = w.at(product.weights, w.b.mul(k, w.i64(size // 4 * gates)), w.i32_vector)
            for r in range(tiles):
                place = w.at(inputs, w.b.mul(stride, w.i64(r * ROWS)), I8)
                instruct(w, "tileloadd64", STATES[r], place, stride)
                for j, a in enumerate(some):
                    if r == 0:
                        place = w.at(weights, w.i64(a), w.i32_vector)
                        instruct(w, "tileloadd64", WEIGHTS[j], place, apart)
                        for below in range(size // 4, size // 2):  # the next tile of weights
                            w.prefetch(w.at(place, w.i64(below * gates), w.i32_vector))
                    instruct(w, "tdpbusd", SUMS[r][j], STATES[r], WEIGHTS[j])
            meanwhile()
        for tile, r, a in sums:
            place = w.at(out, w.i64(r * ROWS * gates + a), w.i32_vector)
            instruct(w, "tilestored64", tile, place, apart)
