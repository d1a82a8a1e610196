"""Blocks of vector code too regular to write by hand: tile packing, float32 products.

The code is emitted by Python loops at compile time.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charrnn.model.kernels.simd import (
    F32,
    FLAGS,
    I32,
    I64,
    V16F,
    V16H,
    V16I,
    constant,
    ints,
    pointer,
)


def _row_pairs(builder: Any, address: Any, stride: Any) -> list[Any]:
    """Sixteen int32 vectors: rows 2p and 2p + 1 of 16 bfloat16 columns, side by side."""
    rows = []
    for r in range(32):
        at = builder.add(address, builder.mul(stride, I64(r)))
        half = builder.load(pointer(builder, at, V16H), align=2)
        rows.append(builder.zext(half, V16I))
    high = [builder.shl(row, ints(16)) for row in rows[1::2]]
    return [builder.or_(low, up) for low, up in zip(rows[::2], high, strict=True)]


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The 16 x 16 transpose: swap off-diagonal blocks of 1, 2, 4, 8."""
    for s in (1, 2, 4, 8):
        first = ir.Constant(V16I, [I32(j if not j & s else 16 + j - s) for j in range(16)])
        second = ir.Constant(V16I, [I32(j + s if not j & s else 16 + j) for j in range(16)])
        for k in range(16):
            if not k & s:
                a, b = rows[k], rows[k | s]
                rows[k] = builder.shuffle_vector(a, b, first)
                rows[k | s] = builder.shuffle_vector(a, b, second)
    return rows


def _pack_codegen(transpose: bool) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, stride, target = args
        rows = _row_pairs(builder, source, stride)
        for k, row in enumerate(_transposed(builder, rows) if transpose else rows):
            at = builder.add(target, I64(64 * k))
            builder.store(row, pointer(builder, at, V16I), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def pack_b_tile(typingctx: Any, source: Any, stride: Any, target: Any) -> Any:
    """A B tile from 32 rows, ``stride`` bytes apart, of 16 bfloat16."""
    return _pack_codegen(False)


@intrinsic
def pack_a_tile(typingctx: Any, source: Any, stride: Any, target: Any) -> Any:
    """The A tile of the transpose of 32 rows, ``stride`` bytes apart, of 16 bfloat16."""
    return _pack_codegen(True)


def _multiply_codegen(rows: int, vectors: int) -> Any:
    """Registers: rows x vectors sums, one row of B, one broadcast element of A."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, lda, last, b, count, c = args[2:]
        starts = []
        for r in range(rows):  # rows behind the last one repeat it
            row = builder.select(builder.icmp_signed("<", I64(r), last), I64(r), last)
            starts.append(builder.add(a, builder.mul(row, lda)))
        zero = constant(0.0)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(rows * vectors)]
        with cgutils.for_range(builder, count) as loop:
            at = builder.mul(loop.index, I64(64 * vectors))
            line = [
                builder.load(
                    pointer(builder, builder.add(b, builder.add(at, I64(64 * v))), V16F), align=4
                )
                for v in range(vectors)
            ]
            for r in range(rows):
                place = builder.add(starts[r], builder.mul(loop.index, I64(4)))
                single = builder.load(pointer(builder, place, F32), align=4)
                low = builder.insert_element(ir.Constant(V16F, ir.Undefined), single, I32(0))
                x = builder.shuffle_vector(low, low, ir.Constant(V16I, [I32(0)] * 16))
                for v in range(vectors):
                    cell = sums[r * vectors + v]
                    product = builder.fmul(x, line[v], flags=FLAGS)
                    builder.store(builder.fadd(builder.load(cell), product, flags=FLAGS), cell)
        for k, cell in enumerate(sums):
            builder.store(
                builder.load(cell), pointer(builder, builder.add(c, I64(64 * k)), V16F), align=4
            )
        return context.get_dummy_value()

    return codegen


@intrinsic(prefer_literal=True)
def multiply_f32(
    typingctx: Any, rows: Any, vectors: Any, a: Any, lda: Any, last: Any, b: Any, count: Any, c: Any
) -> Any:
    """c[r][v] (16 float32 each) = sum over k < count of a[min(r, last)][k] * b[k][v].

    ``rows`` and ``vectors`` are literals, at most 28 registers together; lda is in bytes.
    """
    big = types.int64
    kind = types.void(rows, vectors, big, big, big, big, big, big)
    return kind, _multiply_codegen(rows.literal_value, vectors.literal_value)
