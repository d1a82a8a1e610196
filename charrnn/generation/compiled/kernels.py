"""The whole step as one compiled function: layers, gates, head and draw. Needs llvmlite.

Weights are stored in panels of ``lanes`` hidden units: for every input k, one vector of weights per
gate, in the order in which they are read. A panel's sums stay in registers until its gates are
computed, and each sum adds its products in the order of k. So a stream's numbers are the same to
the last bit whether it is stepped alone or in a block, by one thread or by two.

Where states are rounded to integers (``Variant.integer``), a vector holds the int8 weights of two
inputs for each unit, and sums are exact. Where they are bytes (``Variant.bytes``), it holds those
of four. A byte is a state plus ``BYTE_ZERO``, so sums start at minus that times all weights. Where
the processor has tiles for bytes, ``tiles`` writes the layers of many streams.

``run(plan)`` advances all streams. It works in stages, a layer, the head or the draws of some
streams, which other threads share (``teamwork``). ``plan`` is an int64 array of ``FIELDS``,
followed by ``LAYER_FIELDS`` for every layer. Sizes are padded with zeros to whole vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from llvmlite import ir

from charrnn.generation.compiled import draw as drawing
from charrnn.generation.compiled import teamwork, tiles
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
from charrnn.generation.compiled.layout import HEAD_VECTORS, PAIR, Variant
from charrnn.generation.compiled.plan import (
    Slot,
    field,
    layer_at,
    layer_field,
    layer_pointer,
    pointer,
    real,
    slot,
)
from charrnn.generation.compiled.teamwork import DRAW, HEAD, LAYER

WEIGHT_TYPES = {"float32": FLOAT, "float16": HALF, "int8": I8}


def build(variant: Variant) -> ir.Module:
    """The LLVM module with ``run`` and ``assist`` for ``variant``."""
    return _Kernel(variant).module


class _Kernel:
    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.module = ir.Module("charrnn")
        rounded = I8 if variant.bytes else I16
        self.state_type = rounded if variant.integer else FLOAT  # of what products read
        # streams that read a panel together, and the panels that they read side by side
        sizes = {1: PAIR} | ({variant.block: 1} if variant.many else {})
        if variant.tile_bytes:
            self.tiles = tiles.Panel(self.module, variant, self._start, self._state)
        else:
            self.panels = {n: self._panel(n, m) for n, m in sizes.items()}
        self.heads = {n: self._head(n) for n in sizes}
        self.draw = drawing.build(self.module, variant.lanes)
        self.team = teamwork.Team(self.module, variant, self._work())
        self._run()

    def _writer(self, name: str, arguments: Sequence[Any], public: bool = False) -> Writer:
        return Writer(self.module, name, arguments, self.variant.lanes, public)

    def _panel(self, n: int, m: int) -> Any:
        """Sums, gates and new state of ``m`` panels, for ``n`` streams from ``first`` on."""
        w = self._writer(f"panel{n}", [PTR, I64, I64, I64, I64, I64, I64])
        plan, index, panel, first, *addresses = w.arguments
        layer, ids, H = layer_at(w, plan, index), pointer(w, plan, "read"), field(w, plan, "hidden")
        rows = [w.b.add(first, w.i64(j)) for j in range(n)]
        panels = [w.b.add(panel, w.i64(j)) for j in range(m)]
        sums = [[self._start(w, layer, p, w.read(ids, row, I32)) for p in panels] for row in rows]
        below, old, new = (slot(w, plan, address) for address in addresses)
        cell, offsets = self.variant.compiled_cell, [w.b.mul(row, H) for row in rows]
        for name, source, width, which in (
            ("x", below, layer_field(w, layer, "x_width"), cell.x_sums),
            ("h", old, H, cell.h_sums),
        ):
            state = source.rounded if self.variant.integer else source.h
            inputs = [w.at(state, offset, self.state_type) for offset in offsets]
            targets = [[[block[a] for a in which] for block in stream] for stream in sums]
            self._dot(w, layer, name, panels, width, inputs, targets)
        for offset, stream in zip(offsets, sums, strict=True):
            for p, block in zip(panels, stream, strict=True):
                unit = w.b.add(offset, w.b.mul(p, w.i64(w.lanes)))
                self._state(w, plan, [w.get(s) for s in block], old, new, unit)
        w.end()
        return w.function

    def _state(
        self, w: Writer, plan: Value, sums: list[Value], old: Slot, new: Slot, offset: Value
    ) -> None:
        """Compute and store the new state of a panel's units."""
        h = self.variant.compiled_cell.gates(
            w,
            sums,
            lambda: w.read_vector(old.h, offset),
            lambda: w.read_vector(old.c, offset),
            lambda c: w.write_vector(c, new.c, offset),
        )
        w.write_vector(h, new.h, offset)
        if self.variant.integer:
            scale = w.b.fptrunc(real(w, plan, "state_scale"), FLOAT)
            rounded = w.at(new.rounded, offset, self.state_type)
            w.write_rounded(h, scale, rounded, self.state_type)

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
        self, w: Writer, layer: Value, name: str, panels: Sequence[Value], width: Value,
        inputs: Sequence[Value], sums: Sequence[Sequence[Sequence[Value]]],
    ) -> None:  # fmt: skip
        """Add the products of ``width`` inputs to ``sums[stream][panel]``."""
        kind, stride = WEIGHT_TYPES[self.variant.weight_dtype], len(sums[0][0]) * w.lanes
        base = layer_pointer(w, layer, name)
        weights = [w.at(base, w.b.mul(w.b.mul(p, width), w.i64(stride)), kind) for p in panels]
        if kind is not I8:
            multiply_add(w, weights, kind, width, inputs, sums)
            return
        count = len(sums[0][0])
        if self.variant.bytes:
            firsts = layer_pointer(w, layer, name + "_first")
            starts = [w.b.mul(p, w.i64(count)) for p in panels]
            places = [[w.b.add(start, w.i64(a)) for a in range(count)] for start in starts]
            begun = [[w.read(firsts, place, w.i32_vector) for place in block] for block in places]
            scaled = [[[w.variable(value) for value in block] for block in begun] for _ in sums]
            multiply_add_bytes(w, weights, width, inputs, scaled)
        elif self.variant.integer:
            scaled = new_sums(w, sums, w.constant_i32(0))
            multiply_add_int8(w, weights, width, inputs, scaled, self.variant.x86)
        else:
            scaled = new_sums(w, sums, w.constant(0.0))
            multiply_add(w, weights, kind, width, inputs, scaled)
        scales = layer_pointer(w, layer, name + "_scale")
        for number, p in enumerate(panels):
            first = w.b.mul(p, w.i64(stride))
            for a in range(count):
                scale = w.read_vector(scales, w.b.add(first, w.i64(a * w.lanes)))
                for total, part in zip(sums, scaled, strict=True):
                    value = w.get(part[number][a])
                    if self.variant.integer:
                        value = w.b.sitofp(value, w.vector)
                    target = total[number][a]
                    w.set(target, w.fma(value, scale, w.get(target)))

    def _head(self, n: int) -> Any:
        """Logits of one panel of characters, for ``n`` streams from ``first`` on."""
        w = self._writer(f"head{n}", [PTR, I64, I64, PTR, PTR])
        plan, panel, first, features, out = w.arguments
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
            base = w.at(out, w.b.mul(row, V))
            for offset, total in zip(offsets, stream, strict=True):
                w.write_vector(w.get(total), base, offset)
        w.end()
        return w.function

    def _work(self) -> Any:
        """``work``: do the shares ``begin`` to ``end`` of a stage.

        With ``private`` memory, logits and draws go there. New states go to their slot in any case.
        """
        w = self._writer("work", teamwork.WORK)
        plan, kind, index, first, end, below, old, new, begin_share, end_share, private = (
            w.arguments
        )
        shares, streams = (begin_share, end_share), (first, end)
        logits, ids = teamwork.outputs(w, plan, first, private)
        with w.b.if_then(w.b.icmp_signed("==", kind, w.i64(LAYER))):
            pairs = teamwork.units(w, self.variant, plan, LAYER, streams)
            tiled = bool(self.variant.tile_bytes)
            with (
                tiles.configured(w, self.variant) if tiled else nullcontext(),
                teamwork.share(w, plan, pairs, *shares) as pair,
            ):
                layer = self._tile_layer if tiled else self._layer
                layer(w, plan, (index, pair), streams, (below, old, new))
        with w.b.if_then(w.b.icmp_signed("==", kind, w.i64(HEAD))):
            panels, features = (
                teamwork.units(w, self.variant, plan, HEAD, streams),
                slot(w, plan, old),
            )
            with teamwork.share(w, plan, panels, *shares) as panel:
                for n, low, high in self._blocks(w, *streams):
                    with w.loop(low, high, n) as row:
                        w.b.call(self.heads[n], [plan, panel, row, features.h, logits])
        with w.b.if_then(w.b.icmp_signed("==", kind, w.i64(DRAW))):
            count = teamwork.units(w, self.variant, plan, DRAW, streams)
            with teamwork.share(w, plan, count, *shares) as n:
                self._draw(w, plan, w.b.add(first, n), logits, ids)
        w.end()
        return w.function

    def _layer(
        self, w: Writer, plan: Value, where: Sequence[Value], streams: Sequence[Value],
        slots: Sequence[Value],
    ) -> None:  # fmt: skip
        """A layer's step for ``PAIR`` panels: streams in blocks, the rest one by one."""
        index, pair = where
        start = w.b.mul(pair, w.i64(PAIR))
        for n, low, high in self._blocks(w, *streams):
            panels = 1 if n > 1 else PAIR  # at once
            with (
                w.loop(start, w.b.add(start, w.i64(PAIR)), panels) as panel,
                w.loop(low, high, n) as row,
            ):
                w.b.call(self.panels[n], [plan, index, panel, row, *slots])

    def _tile_layer(
        self, w: Writer, plan: Value, where: Sequence[Value], streams: Sequence[Value],
        slots: Sequence[Value],
    ) -> None:  # fmt: skip
        """``_layer`` on tiles."""
        (index, pair), (first, end) = where, streams
        start = w.b.mul(pair, w.i64(PAIR))
        with w.loop(start, w.b.add(start, w.i64(PAIR))) as panel:
            w.b.call(self.tiles.function, [plan, index, panel, first, end, *slots])

    def _blocks(self, w: Writer, first: Value, end: Value) -> list[tuple[int, Value, Value]]:
        """Streams split into ranges: ``(block size, first stream, end stream)`` of each."""
        if not self.variant.many:
            return [(1, first, end)]
        block = w.i64(self.variant.block)
        whole = w.b.mul(w.b.sdiv(w.b.sub(end, first), block), block)
        middle = w.b.add(first, whole)
        return [(self.variant.block, first, middle), (1, middle, end)]

    def _draw(self, w: Writer, plan: Value, row: Value, own: Value, ids: Value) -> None:
        """Draw stream ``row``'s next character; the draw overwrites its ``own`` logits."""
        V = field(w, plan, "padded_vocab")
        own, logits = (w.at(base, w.b.mul(row, V)) for base in (own, pointer(w, plan, "logits")))
        with w.b.if_then(w.b.icmp_unsigned("!=", own, logits)):
            w.copy_vectors(logits, own, V, FLOAT)
        uniform = w.read(pointer(w, plan, "read_uniforms"), row, DOUBLE)
        scale, top_p, min_p = (real(w, plan, name) for name in ("scale", "top_p", "min_p"))
        size, top_k = field(w, plan, "vocab"), field(w, plan, "top_k")
        out = w.at(ids, row, I32)
        w.b.call(self.draw, [own, size, V, uniform, out, scale, top_k, top_p, min_p])

    def _run(self) -> None:
        """``run``: advance all streams by ``steps`` steps."""
        w = self._writer("run", [PTR, I64], public=True)
        plan = w.arguments[0]
        N, L = field(w, plan, "streams"), field(w, plan, "layers")
        parity = w.variable(field(w, plan, "parity"))
        teamwork.set_active(w, plan, 1)
        with w.loop(w.i64(0), field(w, plan, "steps")) as t:
            row = w.b.mul(t, N)
            w.copy(w.at(pointer(w, plan, "ids"), row, I32), pointer(w, plan, "read"), N, I32)
            now = w.get(parity)
            with w.loop(w.i64(0), L) as index:
                self._stages(w, plan, LAYER, partial(teamwork.slots, w, plan, index, now), now)
                if self.variant.sum_layers:
                    self._add_features(w, plan, index, now)
            with w.b.if_then(w.b.icmp_signed("!=", field(w, plan, "want_logits"), w.i64(0))):
                self._stages(w, plan, HEAD, partial(self._head_inputs, w, plan, now), now)
            with w.b.if_then(w.b.icmp_signed("!=", field(w, plan, "want_draw"), w.i64(0))):
                given = w.at(pointer(w, plan, "uniforms"), row, DOUBLE)
                w.copy(given, pointer(w, plan, "read_uniforms"), N, DOUBLE)
                nothing = teamwork.Slots(*[w.i64(0)] * 4)
                self._stages(w, plan, DRAW, lambda: nothing, now)
                drawn = w.at(pointer(w, plan, "ids"), w.b.add(row, N), I32)
                w.copy(pointer(w, plan, "read"), drawn, N, I32)
            w.set(parity, w.b.sub(w.i64(1), now))
        teamwork.set_active(w, plan, 0)
        w.end()

    def _add_features(self, w: Writer, plan: Value, index: Value, parity: Value) -> None:
        """Add a layer's new ``h`` to the head's inputs."""
        h = slot(w, plan, teamwork.slots(w, plan, index, parity).new).h
        features, first = pointer(w, plan, "features"), w.b.icmp_signed("==", index, w.i64(0))
        size = w.b.mul(field(w, plan, "streams"), field(w, plan, "hidden"))
        with w.loop(w.i64(0), size, w.lanes) as i:
            value = w.read_vector(h, i)
            total = w.b.fadd(w.read_vector(features, i), value)
            w.write_vector(w.b.select(first, value, total), features, i)

    def _head_inputs(self, w: Writer, plan: Value, parity: Value) -> teamwork.Slots:
        """Where the head's inputs ``(N, H)`` are."""
        last = w.b.sub(field(w, plan, "layers"), w.i64(1))
        found = teamwork.slots(w, plan, last, parity).new
        if self.variant.sum_layers:
            found = field(w, plan, "features")
        return teamwork.Slots(w.i64(0), w.i64(0), found, w.i64(0))

    def _stages(
        self,
        w: Writer,
        plan: Value,
        kind: int,
        slots: Callable[[], teamwork.Slots],
        parity: Value,
    ) -> None:
        """Run the stages of ``kind`` that all streams need.

        ``slots`` reads the addresses anew for each: a stage with a late helper replaces a slot.
        """
        N, first = field(w, plan, "streams"), w.variable(w.i64(0))
        with w.repeat() as leave_if:
            begin = w.get(first)
            end = w.b.add(begin, field(w, plan, "stage_streams"))
            end = w.b.select(w.b.icmp_signed("<", end, N), end, N)
            index, *addresses = slots()
            stage = [w.i64(kind), index, begin, end, *addresses]
            w.b.call(self.team.stage, [plan, *stage, parity])
            w.set(first, end)
            leave_if(w.b.icmp_signed("==", end, N))


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


def multiply_add_bytes(
    w: Writer, panels: Sequence[Value], width: Value, inputs: Sequence[Value],
    sums: Sequence[Sequence[Sequence[Value]]],
) -> None:  # fmt: skip
    """The same for int8 weights and inputs that are unsigned bytes, four inputs at a time."""
    count = len(sums[0][0])
    with w.loop(w.i64(0), w.b.ashr(width, w.i64(2))) as k:
        first = w.b.mul(k, w.i64(count))
        xs = [w.splat(w.read(base, k, I32)) for base in inputs]
        for number, base in enumerate(panels):
            for a in range(count):
                vector = w.read(base, w.b.add(first, w.i64(a)), w.i32_vector)
                for x, stream in zip(xs, sums, strict=True):
                    total = stream[number][a]
                    w.set(total, w.add_byte_products(x, vector, w.get(total)))
