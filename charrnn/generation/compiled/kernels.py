"""The whole step as one compiled function: layers, gates, head and draw. Needs llvmlite.

Weights lie in panels of ``lanes`` hidden units: for every input k, one vector of weights a gate,
in the order in which they are read. A panel's sums stay in registers until its gates are worked
out, and each sum adds its products one after the other in the order of k. So a stream's numbers
are the same to the last bit whether it is stepped alone or in a block, by one thread or by two.

Where states are rounded to whole numbers (``Variant.integer``), a vector holds the int8 weights of
two inputs for each unit, and sums are exact.

``run(plan, thread)`` is called once a thread; ``plan`` is an int64 array of ``FIELDS``, with
``LAYER_FIELDS`` more for every layer. Sizes are padded to whole vectors, with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from charrnn.generation.compiled import draw as drawing
from charrnn.generation.compiled.codegen import (
    DOUBLE,
    FLOAT,
    HALF,
    I8,
    I16,
    I32,
    I64,
    PTR,
    Value,
    Writer,
)
from charrnn.generation.compiled.layout import FIELDS, HEAD_VECTORS, LAYER_FIELDS, PAIR, Variant

STORES = {"float32": FLOAT, "float16": HALF, "int8": I8}

SPINS = 256


def build(variant: Variant) -> ir.Module:
    """The module with ``run`` for ``variant``."""
    return _Kernel(variant).module


class _Kernel:
    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.module = ir.Module("charrnn")
        # streams that pass a panel together, and the panels that they pass side by side
        sizes = {1: PAIR} | ({variant.block: 1} if variant.many else {})
        self.panels = {n: self._panel(n, m) for n, m in sizes.items()}
        self.heads = {n: self._head(n) for n in sizes}
        self.draw = drawing.build(self.module, variant.lanes)
        self._run()

    def _writer(self, name: str, arguments: Sequence[Any], public: bool = False) -> Writer:
        return Writer(self.module, name, arguments, self.variant.lanes, public)

    def _panel(self, n: int, m: int) -> Any:
        """Streams ``first`` … ``first + n`` of ``m`` panels: sums, gates, new state."""
        w = self._writer(f"panel{n}", [PTR, PTR, I64, I64, I64, PTR, I64, I64])
        plan, layer, index, panel, first, ids, old, new = w.arguments
        N, H = field(w, plan, "streams"), field(w, plan, "hidden")
        rows = [w.b.add(first, w.whole(j)) for j in range(n)]
        panels = [w.b.add(panel, w.whole(j)) for j in range(m)]
        sums = [[self._start(w, layer, p, w.read(ids, row, I32)) for p in panels] for row in rows]
        here = w.b.mul(w.b.mul(index, N), H)
        below = w.b.sub(here, w.b.mul(N, H))
        for name, base, at, width, which in (
            ("x", new, below, layer_field(w, layer, "x_width"), self.variant.compiled_cell.x_sums),
            ("h", old, here, H, self.variant.compiled_cell.h_sums),
        ):
            places = [w.b.add(w.b.add(base, at), w.b.mul(row, H)) for row in rows]
            picked = [[[block[a] for a in which] for block in stream] for stream in sums]
            self._dot(w, plan, layer, name, panels, width, places, picked)
        for row, stream in zip(rows, sums, strict=True):
            start = w.b.mul(row, H)
            for p, block in zip(panels, stream, strict=True):
                unit = w.b.mul(p, w.whole(w.lanes))
                place = w.b.add(w.b.add(here, start), unit)
                h = self._state(w, plan, [w.get(s) for s in block], old, new, place)
                if self.variant.sum_layers:
                    spot = w.b.add(start, unit)
                    self._add_feature(w, pointer(w, plan, "features"), spot, index, h)
        w.end()
        return w.function

    def _state(
        self, w: Writer, plan: Value, sums: list[Value], old: Value, new: Value, place: Value
    ) -> Value:
        """Work out, store and return the new ``hx`` of a panel's units."""
        hx = pointer(w, plan, "hx")
        h = self._gates(w, sums, w.at(hx, old), pointer(w, plan, "cx"), place)
        w.write_vector(h, w.at(hx, new), place)
        if self.variant.integer:
            scale = w.b.fptrunc(w.read(plan, w.whole(FIELDS.index("state_scale")), DOUBLE), FLOAT)
            w.write_rounded(h, scale, w.at(pointer(w, plan, "rounded"), new, I16), place)
        return h

    def _start(self, w: Writer, layer: Value, panel: Value, index: Value) -> list[Value]:
        """Sums before any product: the character's row of the table, or the biases."""
        base = w.at(
            layer_pointer(w, layer, "start"),
            w.b.mul(w.b.sext(index, I64), layer_field(w, layer, "start_stride")),
        )
        first = w.b.mul(panel, w.whole(self.variant.compiled_cell.sums * w.lanes))
        return [
            w.variable(w.read_vector(base, w.b.add(first, w.whole(a * w.lanes))))
            for a in range(self.variant.compiled_cell.sums)
        ]

    def _dot(
        self, w: Writer, plan: Value, layer: Value, name: str, panels: Sequence[Value],
        width: Value, places: Sequence[Value], sums: Sequence[Sequence[Sequence[Value]]],
    ) -> None:  # fmt: skip
        """Add products of ``width`` inputs to ``sums[stream][panel]``."""
        kind, stride = STORES[self.variant.weight_dtype], len(sums[0][0]) * w.lanes
        base = layer_pointer(w, layer, name)
        weights = [w.at(base, w.b.mul(w.b.mul(p, width), w.whole(stride)), kind) for p in panels]
        if kind is not I8:
            inputs = [w.at(pointer(w, plan, "hx"), place) for place in places]
            multiply_in(w, weights, kind, width, inputs, sums)
            return
        if self.variant.integer:
            inputs = [w.at(pointer(w, plan, "rounded"), place, I16) for place in places]
            scaled = new_sums(w, sums, w.no_wholes())
            multiply_whole(w, weights, width, inputs, scaled, self.variant.x86)
        else:
            inputs = [w.at(pointer(w, plan, "hx"), place) for place in places]
            scaled = new_sums(w, sums, w.real(0.0))
            multiply_in(w, weights, kind, width, inputs, scaled)
        scales = layer_pointer(w, layer, name + "_scale")
        for number, p in enumerate(panels):
            first = w.b.mul(p, w.whole(stride))
            for a in range(len(sums[0][0])):
                scale = w.read_vector(scales, w.b.add(first, w.whole(a * w.lanes)))
                for total, part in zip(sums, scaled, strict=True):
                    value = w.get(part[number][a])
                    if self.variant.integer:
                        value = w.b.sitofp(value, w.vector)
                    here = total[number][a]
                    w.set(here, w.fma(value, scale, w.get(here)))

    def _gates(self, w: Writer, s: list[Value], old: Value, cx: Value, place: Value) -> Value:
        """New ``h`` of ``lanes`` units from their sums; a new cell state is stored."""
        return self.variant.compiled_cell.gates(
            w,
            s,
            lambda: w.read_vector(old, place),
            lambda: w.read_vector(cx, place),
            lambda c: w.write_vector(c, cx, place),
        )

    def _add_feature(self, w: Writer, base: Value, spot: Value, index: Value, h: Value) -> None:
        first = w.b.icmp_signed("==", index, w.whole(0))
        total = w.b.fadd(w.read_vector(base, spot), h)
        w.write_vector(w.b.select(first, h, total), base, spot)

    def _head(self, n: int) -> Any:
        """Logits of streams ``first`` … ``first + n`` for one panel of characters."""
        w = self._writer(f"head{n}", [PTR, I64, I64, PTR])
        plan, panel, first, features = w.arguments
        H, V = field(w, plan, "hidden"), field(w, plan, "padded_vocab")
        stride = HEAD_VECTORS * w.lanes
        begin = w.b.mul(panel, w.whole(stride))
        places = [w.b.add(begin, w.whole(a * w.lanes)) for a in range(HEAD_VECTORS)]
        bias, rows = pointer(w, plan, "head_bias"), [w.b.add(first, w.whole(j)) for j in range(n)]
        sums = [[w.variable(w.read_vector(bias, place)) for place in places] for _ in rows]
        inputs = [w.at(features, w.b.mul(row, H)) for row in rows]
        weights = w.at(pointer(w, plan, "head"), w.b.mul(begin, H))
        multiply_in(w, [weights], FLOAT, H, inputs, [[stream] for stream in sums])
        for row, stream in zip(rows, sums, strict=True):
            base = w.at(pointer(w, plan, "logits"), w.b.mul(row, V))
            for place, total in zip(places, stream, strict=True):
                w.write_vector(w.get(total), base, place)
        w.end()
        return w.function

    def _run(self) -> None:
        """One thread's share of ``steps`` steps."""
        w = self._writer("run", [PTR, I64], public=True)
        plan, thread = w.arguments
        N, H, L = (field(w, plan, name) for name in ("streams", "hidden", "layers"))
        size = w.b.mul(w.b.mul(L, N), H)
        turn = w.variable(w.whole(0))
        parity = w.variable(field(w, plan, "parity"))
        ids = pointer(w, plan, "ids")
        with w.loop(w.whole(0), field(w, plan, "steps")) as t:
            # where the halves of hx begin
            old = w.b.mul(w.get(parity), size)
            w.set(parity, w.b.sub(w.whole(1), w.get(parity)))
            new = w.b.mul(w.get(parity), size)
            row = w.at(ids, w.b.mul(t, N), I32)
            with w.loop(w.whole(0), L) as index:
                place = w.b.add(w.whole(len(FIELDS)), w.b.mul(index, w.whole(len(LAYER_FIELDS))))
                layer = w.at(plan, place, I64)
                with self._share(w, plan, thread, w.b.sdiv(H, w.whole(PAIR * w.lanes))) as pair:
                    self._layer(w, N, pair, (plan, layer, index), (row, old, new))
                self._wait(w, plan, turn)
            place = w.b.add(new, w.b.sub(size, w.b.mul(N, H)))
            last = w.at(pointer(w, plan, "hx"), place)
            features = pointer(w, plan, "features") if self.variant.sum_layers else last
            self._answer(w, plan, thread, t, features, turn)
        w.end()

    def _answer(
        self, w: Writer, plan: Value, thread: Value, t: Value, features: Value, turn: Value
    ) -> None:
        """Logits and draws, where the plan wants them."""
        N, V = field(w, plan, "streams"), field(w, plan, "padded_vocab")
        stride = w.whole(HEAD_VECTORS * w.lanes)
        with w.b.if_then(w.b.icmp_signed("!=", field(w, plan, "want_logits"), w.whole(0))):
            with self._share(w, plan, thread, w.b.sdiv(V, stride)) as panel:
                for n, begin, end in self._blocks(w, N):
                    with w.loop(begin, end, n) as first:
                        w.b.call(self.heads[n], [plan, panel, first, features])
            self._wait(w, plan, turn)
        with w.b.if_then(w.b.icmp_signed("!=", field(w, plan, "want_draw"), w.whole(0))):
            with self._share(w, plan, thread, N) as n:
                place = w.b.add(w.b.mul(t, N), n)
                row = w.at(pointer(w, plan, "logits"), w.b.mul(n, V))
                uniform = w.read(pointer(w, plan, "uniforms"), place, DOUBLE)
                scale, top_p, min_p = (
                    w.read(plan, w.whole(FIELDS.index(name)), DOUBLE)
                    for name in ("scale", "top_p", "min_p")
                )
                top_k = field(w, plan, "top_k")
                out = w.at(pointer(w, plan, "ids"), w.b.add(place, N), I32)
                size = field(w, plan, "vocab")
                w.b.call(self.draw, [row, size, V, uniform, out, scale, top_k, top_p, min_p])
            self._wait(w, plan, turn)

    @contextmanager
    def _share(self, w: Writer, plan: Value, thread: Value, count: Value) -> Any:
        """A loop over this thread's share of ``count``."""
        threads = field(w, plan, "threads")
        begin = w.b.sdiv(w.b.mul(count, thread), threads)
        end = w.b.sdiv(w.b.mul(count, w.b.add(thread, w.whole(1))), threads)
        with w.loop(begin, end) as index:
            yield index

    def _layer(
        self, w: Writer, N: Value, pair: Value, before: Sequence[Value], after: Sequence[Value]
    ) -> None:
        """A layer's step for ``PAIR`` panels: blocks of streams a panel, the rest one by one."""
        start = w.b.mul(pair, w.whole(PAIR))
        for n, begin, end in self._blocks(w, N):
            panels = 1 if n > 1 else PAIR  # at once
            with (
                w.loop(start, w.b.add(start, w.whole(PAIR)), panels) as panel,
                w.loop(begin, end, n) as first,
            ):
                w.b.call(self.panels[n], [*before, panel, first, *after])

    def _blocks(self, w: Writer, N: Value) -> list[tuple[int, Value, Value]]:
        """Sizes of blocks, and which of ``N`` streams go in such: from … to."""
        if not self.variant.many:
            return [(1, w.whole(0), N)]
        block = self.variant.block
        whole = w.b.mul(w.b.sdiv(N, w.whole(block)), w.whole(block))
        return [(block, w.whole(0), whole), (1, whole, N)]

    def _wait(self, w: Writer, plan: Value, turn: Value) -> None:
        """Go on when all threads have come here: spin a little, then let others run."""
        threads = field(w, plan, "threads")
        with w.b.if_then(w.b.icmp_signed(">", threads, w.whole(1))):
            w.set(turn, w.b.add(w.get(turn), threads))
            counter = w.at(plan, w.whole(FIELDS.index("barrier")), I64)
            w.b.atomic_rmw("add", counter, w.whole(1), "seq_cst")
            spins = w.variable(w.whole(0))
            test, spin, done = (w.b.append_basic_block(name) for name in ("test", "spin", "done"))
            w.b.branch(test)
            w.b.position_at_end(test)
            come = w.b.load_atomic(counter, "acquire", 8, typ=I64)
            w.b.cbranch(w.b.icmp_signed("<", come, w.get(turn)), spin, done)
            w.b.position_at_end(spin)
            w.set(spins, w.b.add(w.get(spins), w.whole(1)))
            if self.variant.x86:
                w.b.call(external(self.module, "llvm.x86.sse2.pause", ir.VoidType()), [])
            with w.b.if_then(w.b.icmp_signed(">", w.get(spins), w.whole(SPINS))):
                w.b.call(external(self.module, "sched_yield", I32), [])
            w.b.branch(test)
            w.b.position_at_end(done)


def new_sums(
    w: Writer, like: Sequence[Sequence[Sequence[Value]]], zero: Value
) -> list[list[list[Value]]]:
    """Variables that begin at ``zero``, arranged as ``like``."""
    return [[[w.variable(zero) for _ in block] for block in stream] for stream in like]


def multiply_in(
    w: Writer, panels: Sequence[Value], kind: Any, width: Value, inputs: Sequence[Value],
    sums: Sequence[Sequence[Sequence[Value]]],
) -> None:  # fmt: skip
    """sums[stream][panel][a] += panels[panel][k, a] · inputs[stream][k], k after k."""
    count = len(sums[0][0])
    with w.loop(w.whole(0), width) as k:
        first = w.b.mul(k, w.whole(count * w.lanes))
        xs = [w.spread(w.read(base, k)) for base in inputs]
        for number, base in enumerate(panels):
            for a in range(count):  # one vector of weights in a register, all inputs in theirs
                vector = w.read_vector(base, w.b.add(first, w.whole(a * w.lanes)), kind)
                for x, stream in zip(xs, sums, strict=True):
                    total = stream[number][a]
                    w.set(total, w.fma(vector, x, w.get(total)))


def multiply_whole(
    w: Writer, panels: Sequence[Value], width: Value, inputs: Sequence[Value],
    sums: Sequence[Sequence[Sequence[Value]]], x86: bool,
) -> None:  # fmt: skip
    """The same for int8 weights and int16 inputs, two of them at a time; sums are int32."""
    count = len(sums[0][0])
    with w.loop(w.whole(0), w.b.ashr(width, w.whole(1))) as k:
        first = w.b.mul(k, w.whole(count * 2 * w.lanes))
        xs = [w.spread_pair(w.read(base, k, I32)) for base in inputs]
        for number, base in enumerate(panels):
            for a in range(count):
                vector = w.read_pairs(base, w.b.add(first, w.whole(a * 2 * w.lanes)))
                for x, stream in zip(xs, sums, strict=True):
                    total = stream[number][a]
                    w.set(total, w.add_products(vector, x, w.get(total), x86))


def field(w: Writer, plan: Value, name: str) -> Value:
    """A whole number of the plan."""
    return w.read(plan, w.whole(FIELDS.index(name)), I64)


def pointer(w: Writer, plan: Value, name: str) -> Value:
    """An address of the plan."""
    return w.b.inttoptr(field(w, plan, name), PTR)


def layer_field(w: Writer, layer: Value, name: str) -> Value:
    """A whole number of a layer."""
    return w.read(layer, w.whole(LAYER_FIELDS.index(name)), I64)


def layer_pointer(w: Writer, layer: Value, name: str) -> Value:
    """An address of a layer."""
    return w.b.inttoptr(layer_field(w, layer, name), PTR)


def external(module: ir.Module, name: str, result: Any) -> Any:
    """A function from outside, without arguments."""
    known = module.globals.get(name)
    return known or ir.Function(module, ir.FunctionType(result, []), name)
