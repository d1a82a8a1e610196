"""The whole step as one compiled function: layers, gates, head and draw. Needs llvmlite.

Weights are stored in panels of ``lanes`` hidden units: for every input k, one vector of weights per
gate, in the order in which they are read. A panel's sums stay in registers until its gates are
computed, and each sum adds its products in the order of k. So a stream's numbers are the same to
the last bit whether it is stepped alone or in a block, by one thread or by two.

Where states are rounded to integers (``Variant.integer``), a vector holds the int8 weights of two
inputs for each unit, and sums are exact.

``run(plan, thread)`` is called once per thread; ``plan`` is an int64 array of ``FIELDS``, followed
by ``LAYER_FIELDS`` for every layer. Sizes are padded with zeros to whole vectors.
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

WEIGHT_TYPES = {"float32": FLOAT, "float16": HALF, "int8": I8}

SPINS = 256  # at a barrier, before a thread yields its processor


def build(variant: Variant) -> ir.Module:
    """The LLVM module with ``run`` for ``variant``."""
    return _Kernel(variant).module


class _Kernel:
    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.module = ir.Module("charrnn")
        # streams that read a panel together, and the panels that they read side by side
        sizes = {1: PAIR} | ({variant.block: 1} if variant.many else {})
        self.panels = {n: self._panel(n, m) for n, m in sizes.items()}
        self.heads = {n: self._head(n) for n in sizes}
        self.draw = drawing.build(self.module, variant.lanes)
        self._run()

    def _writer(self, name: str, arguments: Sequence[Any], public: bool = False) -> Writer:
        return Writer(self.module, name, arguments, self.variant.lanes, public)

    def _panel(self, n: int, m: int) -> Any:
        """Sums, gates and new state of ``m`` panels, for ``n`` streams from ``first`` on."""
        w = self._writer(f"panel{n}", [PTR, PTR, I64, I64, I64, PTR, I64, I64])
        plan, layer, index, panel, first, ids, old, new = w.arguments
        N, H = field(w, plan, "streams"), field(w, plan, "hidden")
        rows = [w.b.add(first, w.i64(j)) for j in range(n)]
        panels = [w.b.add(panel, w.i64(j)) for j in range(m)]
        sums = [[self._start(w, layer, p, w.read(ids, row, I32)) for p in panels] for row in rows]
        own = w.b.mul(w.b.mul(index, N), H)  # offsets of this layer's state, and of the one below
        below = w.b.sub(own, w.b.mul(N, H))
        cell = self.variant.compiled_cell
        for name, half, state, width, which in (
            ("x", new, below, layer_field(w, layer, "x_width"), cell.x_sums),
            ("h", old, own, H, cell.h_sums),
        ):
            offsets = [w.b.add(w.b.add(half, state), w.b.mul(row, H)) for row in rows]
            targets = [[[block[a] for a in which] for block in stream] for stream in sums]
            self._dot(w, plan, layer, name, panels, width, offsets, targets)
        for row, stream in zip(rows, sums, strict=True):
            start = w.b.mul(row, H)
            for p, block in zip(panels, stream, strict=True):
                unit = w.b.mul(p, w.i64(w.lanes))
                offset = w.b.add(w.b.add(own, start), unit)
                h = self._state(w, plan, [w.get(s) for s in block], old, new, offset)
                if self.variant.sum_layers:
                    target = w.b.add(start, unit)
                    self._add_feature(w, pointer(w, plan, "features"), target, index, h)
        w.end()
        return w.function

    def _state(
        self, w: Writer, plan: Value, sums: list[Value], old: Value, new: Value, offset: Value
    ) -> Value:
        """Compute, store and return the new ``hx`` of a panel's units."""
        hx = pointer(w, plan, "hx")
        h = self._gates(w, sums, w.at(hx, old), pointer(w, plan, "cx"), offset)
        w.write_vector(h, w.at(hx, new), offset)
        if self.variant.integer:
            scale = w.b.fptrunc(w.read(plan, w.i64(FIELDS.index("state_scale")), DOUBLE), FLOAT)
            w.write_rounded(h, scale, w.at(pointer(w, plan, "rounded"), new, I16), offset)
        return h

    def _start(self, w: Writer, layer: Value, panel: Value, index: Value) -> list[Value]:
        """Initial sums: the character's row of the table, or the biases."""
        base = w.at(
            layer_pointer(w, layer, "start"),
            w.b.mul(w.b.sext(index, I64), layer_field(w, layer, "start_stride")),
        )
        first = w.b.mul(panel, w.i64(self.variant.compiled_cell.sums * w.lanes))
        return [
            w.variable(w.read_vector(base, w.b.add(first, w.i64(a * w.lanes))))
            for a in range(self.variant.compiled_cell.sums)
        ]

    def _dot(
        self, w: Writer, plan: Value, layer: Value, name: str, panels: Sequence[Value],
        width: Value, offsets: Sequence[Value], sums: Sequence[Sequence[Sequence[Value]]],
    ) -> None:  # fmt: skip
        """Add the products of ``width`` inputs to ``sums[stream][panel]``."""
        kind, stride = WEIGHT_TYPES[self.variant.weight_dtype], len(sums[0][0]) * w.lanes
        base = layer_pointer(w, layer, name)
        weights = [w.at(base, w.b.mul(w.b.mul(p, width), w.i64(stride)), kind) for p in panels]
        if kind is not I8:
            inputs = [w.at(pointer(w, plan, "hx"), offset) for offset in offsets]
            multiply_add(w, weights, kind, width, inputs, sums)
            return
        if self.variant.integer:
            inputs = [w.at(pointer(w, plan, "rounded"), offset, I16) for offset in offsets]
            scaled = new_sums(w, sums, w.zero_i32())
            multiply_add_int8(w, weights, width, inputs, scaled, self.variant.x86)
        else:
            inputs = [w.at(pointer(w, plan, "hx"), offset) for offset in offsets]
            scaled = new_sums(w, sums, w.constant(0.0))
            multiply_add(w, weights, kind, width, inputs, scaled)
        scales = layer_pointer(w, layer, name + "_scale")
        for number, p in enumerate(panels):
            first = w.b.mul(p, w.i64(stride))
            for a in range(len(sums[0][0])):
                scale = w.read_vector(scales, w.b.add(first, w.i64(a * w.lanes)))
                for total, part in zip(sums, scaled, strict=True):
                    value = w.get(part[number][a])
                    if self.variant.integer:
                        value = w.b.sitofp(value, w.vector)
                    target = total[number][a]
                    w.set(target, w.fma(value, scale, w.get(target)))

    def _gates(self, w: Writer, s: list[Value], old: Value, cx: Value, offset: Value) -> Value:
        """The new ``h`` of ``lanes`` units from their sums; stores the new cell state."""
        return self.variant.compiled_cell.gates(
            w,
            s,
            lambda: w.read_vector(old, offset),
            lambda: w.read_vector(cx, offset),
            lambda c: w.write_vector(c, cx, offset),
        )

    def _add_feature(self, w: Writer, base: Value, target: Value, index: Value, h: Value) -> None:
        first = w.b.icmp_signed("==", index, w.i64(0))
        total = w.b.fadd(w.read_vector(base, target), h)
        w.write_vector(w.b.select(first, h, total), base, target)

    def _head(self, n: int) -> Any:
        """Logits of one panel of characters, for ``n`` streams from ``first`` on."""
        w = self._writer(f"head{n}", [PTR, I64, I64, PTR])
        plan, panel, first, features = w.arguments
        H, V = field(w, plan, "hidden"), field(w, plan, "padded_vocab")
        stride = HEAD_VECTORS * w.lanes
        begin = w.b.mul(panel, w.i64(stride))
        offsets = [w.b.add(begin, w.i64(a * w.lanes)) for a in range(HEAD_VECTORS)]
        bias, rows = pointer(w, plan, "head_bias"), [w.b.add(first, w.i64(j)) for j in range(n)]
        sums = [[w.variable(w.read_vector(bias, offset)) for offset in offsets] for _ in rows]
        inputs = [w.at(features, w.b.mul(row, H)) for row in rows]
        weights = w.at(pointer(w, plan, "head"), w.b.mul(begin, H))
        multiply_add(w, [weights], FLOAT, H, inputs, [[stream] for stream in sums])
        for row, stream in zip(rows, sums, strict=True):
            base = w.at(pointer(w, plan, "logits"), w.b.mul(row, V))
            for offset, total in zip(offsets, stream, strict=True):
                w.write_vector(w.get(total), base, offset)
        w.end()
        return w.function

    def _run(self) -> None:
        """``run``: one thread's share of ``steps`` steps."""
        w = self._writer("run", [PTR, I64], public=True)
        plan, thread = w.arguments
        N, H, L = (field(w, plan, name) for name in ("streams", "hidden", "layers"))
        size = w.b.mul(w.b.mul(L, N), H)
        arrivals = w.variable(w.i64(0))
        parity = w.variable(field(w, plan, "parity"))
        ids = pointer(w, plan, "ids")
        with w.loop(w.i64(0), field(w, plan, "steps")) as t:
            # where the old and the new half of hx begin
            old = w.b.mul(w.get(parity), size)
            w.set(parity, w.b.sub(w.i64(1), w.get(parity)))
            new = w.b.mul(w.get(parity), size)
            row = w.at(ids, w.b.mul(t, N), I32)
            with w.loop(w.i64(0), L) as index:
                offset = w.b.add(w.i64(len(FIELDS)), w.b.mul(index, w.i64(len(LAYER_FIELDS))))
                layer = w.at(plan, offset, I64)
                with self._share(w, plan, thread, w.b.sdiv(H, w.i64(PAIR * w.lanes))) as pair:
                    self._layer(w, N, pair, (plan, layer, index), (row, old, new))
                self._barrier(w, plan, arrivals)
            offset = w.b.add(new, w.b.sub(size, w.b.mul(N, H)))
            last = w.at(pointer(w, plan, "hx"), offset)
            features = pointer(w, plan, "features") if self.variant.sum_layers else last
            self._output(w, plan, thread, t, features, arrivals)
        w.end()

    def _output(
        self, w: Writer, plan: Value, thread: Value, t: Value, features: Value, arrivals: Value
    ) -> None:
        """Compute logits and draw characters, as the plan asks."""
        N, V = field(w, plan, "streams"), field(w, plan, "padded_vocab")
        stride = w.i64(HEAD_VECTORS * w.lanes)
        with w.b.if_then(w.b.icmp_signed("!=", field(w, plan, "want_logits"), w.i64(0))):
            with self._share(w, plan, thread, w.b.sdiv(V, stride)) as panel:
                for n, begin, end in self._blocks(w, N):
                    with w.loop(begin, end, n) as first:
                        w.b.call(self.heads[n], [plan, panel, first, features])
            self._barrier(w, plan, arrivals)
        with w.b.if_then(w.b.icmp_signed("!=", field(w, plan, "want_draw"), w.i64(0))):
            with self._share(w, plan, thread, N) as n:
                offset = w.b.add(w.b.mul(t, N), n)
                row = w.at(pointer(w, plan, "logits"), w.b.mul(n, V))
                uniform = w.read(pointer(w, plan, "uniforms"), offset, DOUBLE)
                scale, top_p, min_p = (
                    w.read(plan, w.i64(FIELDS.index(name)), DOUBLE)
                    for name in ("scale", "top_p", "min_p")
                )
                top_k = field(w, plan, "top_k")
                out = w.at(pointer(w, plan, "ids"), w.b.add(offset, N), I32)
                size = field(w, plan, "vocab")
                w.b.call(self.draw, [row, size, V, uniform, out, scale, top_k, top_p, min_p])
            self._barrier(w, plan, arrivals)

    @contextmanager
    def _share(self, w: Writer, plan: Value, thread: Value, count: Value) -> Any:
        """A loop over this thread's share of ``range(count)``."""
        threads = field(w, plan, "threads")
        begin = w.b.sdiv(w.b.mul(count, thread), threads)
        end = w.b.sdiv(w.b.mul(count, w.b.add(thread, w.i64(1))), threads)
        with w.loop(begin, end) as index:
            yield index

    def _layer(
        self, w: Writer, N: Value, pair: Value, before: Sequence[Value], after: Sequence[Value]
    ) -> None:
        """A layer's step for ``PAIR`` panels: streams in blocks, the rest one by one."""
        start = w.b.mul(pair, w.i64(PAIR))
        for n, begin, end in self._blocks(w, N):
            panels = 1 if n > 1 else PAIR  # at once
            with (
                w.loop(start, w.b.add(start, w.i64(PAIR)), panels) as panel,
                w.loop(begin, end, n) as first,
            ):
                w.b.call(self.panels[n], [*before, panel, first, *after])

    def _blocks(self, w: Writer, N: Value) -> list[tuple[int, Value, Value]]:
        """``N`` streams split into ranges: ``(block size, first stream, end stream)`` of each."""
        if not self.variant.many:
            return [(1, w.i64(0), N)]
        block = self.variant.block
        blocked = w.b.mul(w.b.sdiv(N, w.i64(block)), w.i64(block))
        return [(block, w.i64(0), blocked), (1, blocked, N)]

    def _barrier(self, w: Writer, plan: Value, arrivals: Value) -> None:
        """Wait until all threads arrive: spin ``SPINS`` times, then yield to others."""
        threads = field(w, plan, "threads")
        with w.b.if_then(w.b.icmp_signed(">", threads, w.i64(1))):
            w.set(arrivals, w.b.add(w.get(arrivals), threads))
            counter = w.at(plan, w.i64(FIELDS.index("barrier")), I64)
            w.b.atomic_rmw("add", counter, w.i64(1), "seq_cst")
            spins = w.variable(w.i64(0))
            test, spin, done = (w.b.append_basic_block(name) for name in ("test", "spin", "done"))
            w.b.branch(test)
            w.b.position_at_end(test)
            arrived = w.b.load_atomic(counter, "acquire", 8, typ=I64)
            w.b.cbranch(w.b.icmp_signed("<", arrived, w.get(arrivals)), spin, done)
            w.b.position_at_end(spin)
            w.set(spins, w.b.add(w.get(spins), w.i64(1)))
            if self.variant.x86:
                w.call("llvm.x86.sse2.pause", ir.VoidType(), [])
            with w.b.if_then(w.b.icmp_signed(">", w.get(spins), w.i64(SPINS))):
                w.call("sched_yield", I32, [])
            w.b.branch(test)
            w.b.position_at_end(done)


def new_sums(
    w: Writer, like: Sequence[Sequence[Sequence[Value]]], zero: Value
) -> list[list[list[Value]]]:
    """Variables that start as ``zero``, arranged as ``like``."""
    return [[[w.variable(zero) for _ in block] for block in stream] for stream in like]


def multiply_add(
    w: Writer, panels: Sequence[Value], kind: Any, width: Value, inputs: Sequence[Value],
    sums: Sequence[Sequence[Sequence[Value]]],
) -> None:  # fmt: skip
    """sums[stream][panel][a] += panels[panel][k, a] · inputs[stream][k], in the order of k."""
    count = len(sums[0][0])
    with w.loop(w.i64(0), width) as k:
        first = w.b.mul(k, w.i64(count * w.lanes))
        xs = [w.splat(w.read(base, k)) for base in inputs]
        for number, base in enumerate(panels):
            for a in range(count):  # one register for the weights, one for each stream's input
                vector = w.read_vector(base, w.b.add(first, w.i64(a * w.lanes)), kind)
                for x, stream in zip(xs, sums, strict=True):
                    total = stream[number][a]
                    w.set(total, w.fma(vector, x, w.get(total)))


def multiply_add_int8(
    w: Writer, panels: Sequence[Value], width: Value, inputs: Sequence[Value],
    sums: Sequence[Sequence[Sequence[Value]]], x86: bool,
) -> None:  # fmt: skip
    """The same for int8 weights and int16 inputs, two inputs at a time; sums are int32."""
    count = len(sums[0][0])
    with w.loop(w.i64(0), w.b.ashr(width, w.i64(1))) as k:
        first = w.b.mul(k, w.i64(count * 2 * w.lanes))
        xs = [w.splat_pair(w.read(base, k, I32)) for base in inputs]
        for number, base in enumerate(panels):
            for a in range(count):
                vector = w.read_pairs(base, w.b.add(first, w.i64(a * 2 * w.lanes)))
                for x, stream in zip(xs, sums, strict=True):
                    total = stream[number][a]
                    w.set(total, w.add_products(vector, x, w.get(total), x86))


def field(w: Writer, plan: Value, name: str) -> Value:
    """The integer field ``name`` of the plan."""
    return w.read(plan, w.i64(FIELDS.index(name)), I64)


def pointer(w: Writer, plan: Value, name: str) -> Value:
    """The address in field ``name`` of the plan."""
    return w.b.inttoptr(field(w, plan, name), PTR)


def layer_field(w: Writer, layer: Value, name: str) -> Value:
    """The integer field ``name`` of a layer."""
    return w.read(layer, w.i64(LAYER_FIELDS.index(name)), I64)


def layer_pointer(w: Writer, layer: Value, name: str) -> Value:
    """The address in field ``name`` of a layer."""
    return w.b.inttoptr(layer_field(w, layer, name), PTR)
