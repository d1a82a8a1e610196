"""Packs matrices into tiles, in unrolled vector code that Python loops emit at compile time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charrnn.model.kernels.simd import I32, I64, V16H, V16I, ints, pointer


def _row_pairs(builder: Any, address: Any, stride: Any) -> list[Any]:
    """Sixteen int32 vectors, each with rows 2p and 2p + 1 of 16 bfloat16 columns side by side."""
    rows = []
    for r in range(32):
        at = builder.add(address, builder.mul(stride, I64(r)))
        half = builder.load(pointer(builder, at, V16H), align=2)
        rows.append(builder.zext(half, V16I))
    high = [builder.shl(row, ints(16)) for row in rows[1::2]]
    return [builder.or_(low, up) for low, up in zip(rows[::2], high, strict=True)]


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The transpose of 16 x 16 elements: swap off-diagonal blocks of sizes 1, 2, 4, 8."""
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
    """Write the B tile of 32 rows, ``stride`` bytes apart, of 16 bfloat16."""
    return _pack_codegen(False)


@intrinsic
def pack_a_tile(typingctx: Any, source: Any, stride: Any, target: Any) -> Any:
    """Write the A tile of the transpose of 32 rows, ``stride`` bytes apart, of 16 bfloat16."""
    return _pack_codegen(True)
