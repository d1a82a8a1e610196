"""``charrnn.generation.draw.choose`` for one row, as compiled code. Needs llvmlite.

It knows the filters that are declared ``compiled``: top_k, top_p and min_p, in this order. They
find the smallest weight to keep without sorting: weights are at least 0, so their bits as whole
numbers are in the same order as they are, and 31 bisections of the range of bits find it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.generation.compiled.codegen import DOUBLE, FLOAT, I32, I64, PTR, Value, Writer

ZERO = ir.Constant(DOUBLE, 0.0)
BIT = ir.IntType(1)


def build(module: ir.Module, lanes: int) -> Any:
    """``draw(logits, size, padded, uniform, id, scale, top_k, top_p, min_p)`` in ``module``.

    The ``size`` logits, padded to whole vectors, are overwritten with their weights. The drawn id
    is stored at ``id``. A ``scale`` (1 / temperature) below 0 takes the first of the largest.
    """
    restrict = _restrict(module, lanes)
    kinds = [PTR, I64, I64, DOUBLE, PTR, DOUBLE, I64, DOUBLE, DOUBLE]
    w = Writer(module, "draw", kinds, lanes, False)
    p, size, padded, uniform, out, scale, top_k, top_p, min_p = w.arguments
    most, best = _largest(w, p, size)
    with w.b.if_then(w.b.fcmp_ordered(">=", scale, ZERO)):
        _weigh(w, p, size, padded, w.get(most), w.b.fptrunc(scale, FLOAT))
        with w.b.if_then(w.b.icmp_signed(">", top_k, w.whole(0))):
            one = ir.Constant(BIT, 1)
            w.b.call(restrict, [p, size, padded, w.b.sitofp(top_k, DOUBLE), one])
        with w.b.if_then(w.b.fcmp_ordered("<", top_p, ir.Constant(DOUBLE, 1.0))):
            wanted = w.b.fmul(top_p, _sum(w, p, size))
            w.b.call(restrict, [p, size, padded, wanted, ir.Constant(BIT, 0)])
        # the largest weight is 1
        least = w.spread(w.b.fptrunc(min_p, FLOAT))
        with w.loop(w.whole(0), padded, lanes) as i:
            here = w.read_vector(p, i)
            w.write_vector(w.pick("<", here, least, w.real(0.0), here), p, i)
        _pass(w, p, size, uniform, best)
    w.b.store(w.b.trunc(w.get(best), I32), out)
    w.end()
    return w.function


def _largest(w: Writer, p: Value, size: Value) -> tuple[Value, Value]:
    """The largest of ``size`` floats and the index where it first occurs, as variables."""
    most, best = w.variable(w.read(p, w.whole(0))), w.variable(w.whole(0))
    with w.loop(w.whole(1), size) as i:
        here = w.read(p, i)
        more = w.b.fcmp_ordered(">", here, w.get(most))
        w.set(best, w.b.select(more, i, w.get(best)))
        w.set(most, w.b.select(more, here, w.get(most)))
    return most, best


def _weigh(w: Writer, p: Value, size: Value, padded: Value, most: Value, scale: Value) -> None:
    """exp((p − most) · scale), and 0 in the padding."""
    top, factor = w.spread(most), w.spread(scale)
    with w.loop(w.whole(0), padded, w.lanes) as i:
        w.write_vector(w.exp(w.b.fmul(w.b.fsub(w.read_vector(p, i), top), factor)), p, i)
    with w.loop(size, padded) as i:
        w.b.store(ir.Constant(FLOAT, 0.0), w.at(p, i))


def _sum(w: Writer, p: Value, size: Value) -> Value:
    total = w.variable(ZERO)
    with w.loop(w.whole(0), size) as i:
        w.set(total, w.b.fadd(w.get(total), w.b.fpext(w.read(p, i), DOUBLE)))
    return w.get(total)


def _pass(w: Writer, p: Value, size: Value, uniform: Value, best: Value) -> None:
    """Set ``best`` to the first index at which the running sum exceeds ``uniform`` times the total.

    If no sum exceeds it, owing to rounding, ``best`` stays the likeliest.
    """
    target = w.b.fmul(uniform, _sum(w, p, size))
    total, found = w.variable(ZERO), w.variable(ir.Constant(BIT, 0))
    with w.loop(w.whole(0), size) as i:
        w.set(total, w.b.fadd(w.get(total), w.b.fpext(w.read(p, i), DOUBLE)))
        passed = w.b.fcmp_ordered(">", w.get(total), target)
        first = w.b.and_(passed, w.b.not_(w.get(found)))
        w.set(best, w.b.select(first, i, w.get(best)))
        w.set(found, w.b.or_(passed, w.get(found)))


def _restrict(module: ir.Module, lanes: int) -> Any:
    """``restrict(p, size, padded, wanted, counting)``: zero all but the largest weights.

    The fewest that reach ``wanted`` are kept: in number if ``counting``, otherwise in total weight.
    Among equals the first are kept.
    """
    w = Writer(module, "restrict", [PTR, I64, I64, DOUBLE, BIT], lanes, False)
    p, size, padded, wanted, counting = w.arguments
    # the largest bit pattern such that the weights from it upwards still reach ``wanted``
    low, high = w.variable(w.whole(0)), w.variable(w.whole(0x3F800001))
    with w.loop(w.whole(0), w.whole(31)):
        middle = w.b.ashr(w.b.add(w.get(low), w.get(high)), w.whole(1))
        reached = w.b.fcmp_ordered(">=", _reach(w, p, padded, middle, counting), wanted)
        w.set(low, w.b.select(reached, middle, w.get(low)))
        w.set(high, w.b.select(reached, w.get(high), middle))
    least = w.b.bitcast(w.b.trunc(w.get(low), I32), FLOAT)
    over = _reach(w, p, padded, w.b.add(w.get(low), w.whole(1)), counting)
    total = w.variable(over)
    share = w.b.select(counting, ir.Constant(DOUBLE, 1.0), w.b.fpext(least, DOUBLE))
    with w.loop(w.whole(0), size) as i:
        here = w.read(p, i)
        full = w.b.fcmp_ordered(">=", w.get(total), wanted)
        equal = w.b.fcmp_ordered("==", here, least)
        drop = w.b.or_(w.b.fcmp_ordered("<", here, least), w.b.and_(equal, full))
        taken = w.b.select(w.b.and_(equal, w.b.not_(full)), share, ZERO)
        w.set(total, w.b.fadd(w.get(total), taken))
        w.b.store(w.b.select(drop, ir.Constant(FLOAT, 0.0), here), w.at(p, i))
    w.end()
    return w.function


def _reach(w: Writer, p: Value, padded: Value, bits: Value, counting: Value) -> Value:
    """The number (or the total) of the weights that are at least the float with these ``bits``."""
    least = w.spread(w.b.bitcast(w.b.trunc(bits, I32), FLOAT))
    one = w.spread(w.b.select(counting, ir.Constant(FLOAT, 1.0), ir.Constant(FLOAT, 0.0)))
    none, total = w.real(0.0), w.variable(w.real(0.0))
    with w.loop(w.whole(0), padded, w.lanes) as i:
        here = w.read_vector(p, i)
        share = w.b.select(counting, one, here)
        w.set(total, w.b.fadd(w.get(total), w.pick(">=", here, least, share, none)))
    lanes = w.get(total)
    sums = [
        w.b.fpext(w.b.extract_element(lanes, ir.Constant(I32, lane)), DOUBLE)
        for lane in range(w.lanes)
    ]
    while len(sums) > 1:
        sums = [w.b.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    return sums[0]
