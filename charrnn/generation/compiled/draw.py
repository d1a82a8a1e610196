"""``charrnn.generation.draw.choose`` for one row, as compiled code. Needs llvmlite.

It applies the filters that are declared ``compiled``: top_k, top_p and min_p, in this order. They
find the smallest weight to keep without sorting: weights are at least 0, so their bits, read as
integers, have the same order, and 31 bisections of the range of integers find it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.generation.compiled.codegen import DOUBLE, FLOAT, I32, I64, PTR, Value, Writer

ZERO = ir.Constant(DOUBLE, 0.0)
BIT = ir.IntType(1)


def build(module: ir.Module, lanes: int) -> Any:
    """``draw(logits, size, padded, uniform, id, scale, top_k, top_p, min_p)`` in ``module``.

    The ``size`` logits, padded to ``padded`` for whole vectors, are overwritten with their weights.
    The drawn id is stored at ``id``. A ``scale`` (1 / temperature) below 0 stands for temperature 0
    and takes the first of the largest.
    """
    restrict = _restrict(module, lanes)
    kinds = [PTR, I64, I64, DOUBLE, PTR, DOUBLE, I64, DOUBLE, DOUBLE]
    w = Writer(module, "draw", kinds, lanes, False)
    p, size, padded, uniform, out, scale, top_k, top_p, min_p = w.arguments
    most, best = _largest(w, p, size)
    with w.b.if_then(w.b.fcmp_ordered(">=", scale, ZERO)):
        _weigh(w, p, size, padded, w.get(most), w.b.fptrunc(scale, FLOAT))
        with w.b.if_then(w.b.icmp_signed(">", top_k, w.i64(0))):
            one = ir.Constant(BIT, 1)
            w.b.call(restrict, [p, size, padded, w.b.sitofp(top_k, DOUBLE), one])
        with w.b.if_then(w.b.fcmp_ordered("<", top_p, ir.Constant(DOUBLE, 1.0))):
            wanted = w.b.fmul(top_p, _sum(w, p, size))
            w.b.call(restrict, [p, size, padded, wanted, ir.Constant(BIT, 0)])
        # the largest weight is 1
        least = w.splat(w.b.fptrunc(min_p, FLOAT))
        with w.loop(w.i64(0), padded, lanes) as i:
            weight = w.read_vector(p, i)
            w.write_vector(w.select("<", weight, least, w.constant(0.0), weight), p, i)
        _draw(w, p, size, uniform, best)
    w.b.store(w.b.trunc(w.get(best), I32), out)
    w.end()
    return w.function


def _largest(w: Writer, p: Value, size: Value) -> tuple[Value, Value]:
    """The largest of ``size`` floats and the index where it first occurs, as variables."""
    most, best = w.variable(w.read(p, w.i64(0))), w.variable(w.i64(0))
    with w.loop(w.i64(1), size) as i:
        value = w.read(p, i)
        more = w.b.fcmp_ordered(">", value, w.get(most))
        w.set(best, w.b.select(more, i, w.get(best)))
        w.set(most, w.b.select(more, value, w.get(most)))
    return most, best


def _weigh(w: Writer, p: Value, size: Value, padded: Value, most: Value, scale: Value) -> None:
    """Set ``p`` to exp((p − most) · scale), and its padding to 0."""
    top, factor = w.splat(most), w.splat(scale)
    with w.loop(w.i64(0), padded, w.lanes) as i:
        w.write_vector(w.exp(w.b.fmul(w.b.fsub(w.read_vector(p, i), top), factor)), p, i)
    with w.loop(size, padded) as i:
        w.b.store(ir.Constant(FLOAT, 0.0), w.at(p, i))


def _sum(w: Writer, p: Value, size: Value) -> Value:
    total = w.variable(ZERO)
    with w.loop(w.i64(0), size) as i:
        w.set(total, w.b.fadd(w.get(total), w.b.fpext(w.read(p, i), DOUBLE)))
    return w.get(total)


def _draw(w: Writer, p: Value, size: Value, uniform: Value, best: Value) -> None:
    """Set ``best`` to the first index at which the running sum exceeds ``uniform`` times the total.

    If rounding keeps every sum below it, ``best`` stays the likeliest.
    """
    target = w.b.fmul(uniform, _sum(w, p, size))
    total, found = w.variable(ZERO), w.variable(ir.Constant(BIT, 0))
    with w.loop(w.i64(0), size) as i:
        w.set(total, w.b.fadd(w.get(total), w.b.fpext(w.read(p, i), DOUBLE)))
        passed = w.b.fcmp_ordered(">", w.get(total), target)
        first = w.b.and_(passed, w.b.not_(w.get(found)))
        w.set(best, w.b.select(first, i, w.get(best)))
        w.set(found, w.b.or_(passed, w.get(found)))


def _restrict(module: ir.Module, lanes: int) -> Any:
    """``restrict(p, size, padded, wanted, counting)``: zero all but the largest weights.

    Keeps the fewest whose number (if ``counting``) or total weight reaches ``wanted``; among equal
    weights it keeps the first.
    """
    w = Writer(module, "restrict", [PTR, I64, I64, DOUBLE, BIT], lanes, False)
    p, size, padded, wanted, counting = w.arguments
    # the largest bit pattern such that the weights at or above it still reach ``wanted``
    low, high = w.variable(w.i64(0)), w.variable(w.i64(0x3F800001))
    with w.loop(w.i64(0), w.i64(31)):
        middle = w.b.ashr(w.b.add(w.get(low), w.get(high)), w.i64(1))
        reached = w.b.fcmp_ordered(">=", _sum_from(w, p, padded, middle, counting), wanted)
        w.set(low, w.b.select(reached, middle, w.get(low)))
        w.set(high, w.b.select(reached, w.get(high), middle))
    least = w.b.bitcast(w.b.trunc(w.get(low), I32), FLOAT)
    over = _sum_from(w, p, padded, w.b.add(w.get(low), w.i64(1)), counting)
    total = w.variable(over)
    share = w.b.select(counting, ir.Constant(DOUBLE, 1.0), w.b.fpext(least, DOUBLE))
    with w.loop(w.i64(0), size) as i:
        weight = w.read(p, i)
        full = w.b.fcmp_ordered(">=", w.get(total), wanted)
        equal = w.b.fcmp_ordered("==", weight, least)
        drop = w.b.or_(w.b.fcmp_ordered("<", weight, least), w.b.and_(equal, full))
        taken = w.b.select(w.b.and_(equal, w.b.not_(full)), share, ZERO)
        w.set(total, w.b.fadd(w.get(total), taken))
        w.b.store(w.b.select(drop, ir.Constant(FLOAT, 0.0), weight), w.at(p, i))
    w.end()
    return w.function


def _sum_from(w: Writer, p: Value, padded: Value, bits: Value, counting: Value) -> Value:
    """Number (if ``counting``) or total of the weights that are at least the float of ``bits``."""
    least = w.splat(w.b.bitcast(w.b.trunc(bits, I32), FLOAT))
    one = w.splat(w.b.select(counting, ir.Constant(FLOAT, 1.0), ir.Constant(FLOAT, 0.0)))
    zero, total = w.constant(0.0), w.variable(w.constant(0.0))
    with w.loop(w.i64(0), padded, w.lanes) as i:
        weight = w.read_vector(p, i)
        share = w.b.select(counting, one, weight)
        w.set(total, w.b.fadd(w.get(total), w.select(">=", weight, least, share, zero)))
    lanes = w.get(total)
    sums = [
        w.b.fpext(w.b.extract_element(lanes, ir.Constant(I32, lane)), DOUBLE)
        for lane in range(w.lanes)
    ]
    while len(sums) > 1:
        sums = [w.b.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    return sums[0]
