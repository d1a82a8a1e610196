"""Sums of rows by symbol, as a C function compiled by numba.

Row v of out (V, N) float32 is the sum of the rows of A (K, N) bfloat16 whose symbol is v. A product
with a one-hot matrix gives the same with V times as many multiplications.
"""

from __future__ import annotations

from typing import Any

from numba import cfunc, types

from charrnn.model.kernels.simd import load_bf16, load_f32, peek, store_f32
from charrnn.model.kernels.team import HEADER, join

(N_, K_, A, ROWS, OUT) = range(HEADER, HEADER + 5)


@cfunc(types.void(types.int64), cache=True, nopython=True)
def sum_by_symbol(p: Any) -> None:
    """Add A's rows to OUT, zero on entry; N is a multiple of 16, ROWS (K,) int64.

    A thread owns a range of columns.
    """
    thread, size = join(p)
    N, a, rows, out = peek(p, N_), peek(p, A), peek(p, ROWS), peek(p, OUT)
    first, end = 16 * (N // 16 * thread // size), 16 * (N // 16 * (thread + 1) // size)
    for k in range(peek(p, K_)):
        source, target = a + 2 * N * k, out + 4 * N * peek(rows, k)
        for n in range(first, end, 16):
            total = load_f32(target + 4 * n) + load_bf16(source + 2 * n)
            store_f32(target + 4 * n, total)
