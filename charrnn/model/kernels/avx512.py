"""The products of ``amx`` in AVX512-BF16 vectors, on the same tiles.

One instruction adds the product of a pair of bfloat16 to each of 16 float32. Eight rows of A times
two B tiles are 16 sums, which stay in registers for the whole contraction; with two more registers
for B and one for a pair of A, they keep the multiplier busy. Blocks of four rows handle the end of
a batch.
"""

from __future__ import annotations

import platform
import sys
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from charrnn.model.kernels.simd import (
    HOST_FEATURES,
    I32,
    I64,
    V16F,
    BFloat,
    broadcast,
    extern,
    pointer,
)

# vectors are so slow that the third-level cache supplies W_hh to every core in time, and threads
# that never wait for each other lose little time to other programs
SPLIT_ABOVE = sys.maxsize
_V32B = ir.VectorType(BFloat(), 32)
_DOT = "llvm.x86.avx512bf16.dpbf16ps.512"


def avx512_available() -> bool:
    """Whether this processor multiplies vectors of bfloat16."""
    return bool(HOST_FEATURES.get("avx512bf16")) and platform.machine() in ("x86_64", "AMD64")


@njit
def enter(config):
    """Does nothing; AMX needs it to set up tiles."""


@njit
def leave():
    """Does nothing; AMX needs it to release tiles."""


def _pair(builder: Any, address: Any) -> Any:
    """The pair of bfloat16 at ``address`` in every lane."""
    pair = builder.load(pointer(builder, address, I32), align=4)
    return builder.bitcast(broadcast(builder, pair), _V32B)


def _add_tiles(builder: Any, a: Any, b: Any, sums: list[list[Any]]) -> None:
    """sums (rows, 2) += the rows of an A tile at ``a`` @ the pair of B tiles at ``b``."""
    dot = extern(builder, _DOT, V16F, [V16F, _V32B, _V32B])
    for p in range(16):
        columns = []
        for tile in range(2):
            at = builder.add(b, I64(1024 * tile + 64 * p))
            columns.append(builder.load(pointer(builder, at, _V32B), align=4))
        for r, row in enumerate(sums):
            pair = _pair(builder, builder.add(a, I64(64 * r + 4 * p)))
            for total, column in zip(row, columns, strict=True):
                builder.store(builder.call(dot, [builder.load(total), pair, column]), total)


def _rows_codegen(rows: int) -> Any:
    """c (``rows`` rows ``stride`` bytes apart, two tiles ``apart``) += or, if fresh, := a @ b.

    a: ``rows`` rows in ``count`` consecutive tiles; b: ``count`` pairs of tiles.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b, c, stride, apart, count, fresh = args
        targets = [
            [
                pointer(builder, builder.add(builder.add(c, builder.mul(stride, I64(r))), at), V16F)
                for at in (I64(0), apart)
            ]
            for r in range(rows)
        ]
        sums = [[cgutils.alloca_once(builder, V16F) for _ in row] for row in targets]
        pairs = [
            pair for both in zip(sums, targets, strict=True) for pair in zip(*both, strict=True)
        ]
        with builder.if_else(builder.icmp_signed("!=", fresh, I64(0))) as (new, old):
            with new:
                for total, _ in pairs:
                    builder.store(ir.Constant(V16F, None), total)
            with old:
                for total, target in pairs:
                    builder.store(builder.load(target, align=4), total)
        with cgutils.for_range(builder, count) as loop:
            at = builder.mul(loop.index, I64(1024))
            _add_tiles(builder, builder.add(a, at), builder.add(b, builder.add(at, at)), sums)
        for total, target in pairs:
            builder.store(builder.load(total), target, align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


@intrinsic
def _eight_rows(
    typingctx: Any, a: Any, b: Any, c: Any, stride: Any, apart: Any, count: Any, fresh: Any
) -> Any:
    return _rows_codegen(8)


@intrinsic
def _four_rows(
    typingctx: Any, a: Any, b: Any, c: Any, stride: Any, apart: Any, count: Any, fresh: Any
) -> Any:
    return _rows_codegen(4)


@njit
def product(a, b, c, count, rows):
    """C (2 x 2 tiles at c: c00, c01, c10, c11) = two rows of A tiles @ a panel of B tile pairs.

    a: address of two times ``count`` consecutive tiles; b: of ``count`` pairs of tiles. Only the
    first ``rows`` rows of C, at most 32, are needed.
    """
    for r in range(0, rows, 8):
        tile, row = r // 16, 64 * (r % 16)
        source, target = a + tile * count * 1024 + row, c + 2048 * tile + row
        if rows - r > 4:
            _eight_rows(source, b, target, 64, 1024, count, 1)
        else:
            _four_rows(source, b, target, 64, 1024, count, 1)


@njit
def add_product_2x2(a, b, count, c, stride, fresh):
    """C (2 x 2 tiles, rows ``stride`` bytes apart) += or := two rows of A tiles @ B tile pairs."""
    for row in range(2):
        for r in range(0, 16, 8):
            at = a + row * count * 1024 + 64 * r
            _eight_rows(at, b, c + (16 * row + r) * stride, stride, 64, count, 1 if fresh else 0)
