"""Weight gradients on tiles, as a C function compiled by numba.

out (M, N) float32 = A (K, M)^T @ B (K, N) over all rows of a window. torch's own bfloat16 product
with a transposed A runs at half speed; its other two products of a window are as fast as the
hardware.
"""

from __future__ import annotations

from typing import Any

from numba import cfunc, njit, types

from charrnn.model.kernels.blocks import pack_a_tile, pack_b_tile
from charrnn.model.kernels.simd import load_bf16, peek, splat, store_bf16
from charrnn.model.kernels.team import HEADER, join
from charrnn.model.kernels.units import matrix_unit

enter, leave = matrix_unit().enter, matrix_unit().leave
add_product_2x2 = matrix_unit().add_product_2x2

(M_, N_, K_, CONFIG, SCRATCH, A, LDA, B, LDB, OUT, LDO) = range(HEADER, HEADER + 11)
DEPTH = 1024  # rows of K at a time: a (DEPTH, WIDTH) panel of B fills half of the L2 cache
WIDTH = 512
GROUP = 8
SCRATCH_BYTES = DEPTH * WIDTH * 2 + GROUP * DEPTH * 64 + 2048
_SIGNATURE = types.void(types.int64)


@njit
def _pack_pair(source, stride, count, target, step, spare, transpose):
    """Pack 32 columns of ``count`` rows, padded to 32, into two tiles ``step`` bytes apart."""
    if count < 32:
        for r in range(32):
            for v in range(0, 64, 32):
                value = load_bf16(source + r * stride + v) if r < count else splat(0.0)
                store_bf16(spare + 64 * r + v, value)
        source, stride = spare, 64
    for v in range(2):
        if transpose:
            pack_a_tile(source + 32 * v, stride, target + step * v)
        else:
            pack_b_tile(source + 32 * v, stride, target + step * v)


@njit
def _pack(source, stride, left, tiles, pairs, target, spare, transpose):
    """Pack 32 * pairs columns of a row-major matrix into tile pairs: ``tiles`` times 32 rows.

    It reads some hundred bytes of a row at a time: rows are pages apart, and reading one cache line
    at a time would cost an address translation for each.
    """
    step = tiles * 1024 if transpose else 1024
    apart = 1024 if transpose else 2048
    for k in range(tiles):
        at, count = source + 32 * k * stride, left - 32 * k
        for v in range(pairs):
            to = target + v * tiles * 2048 + k * apart
            _pack_pair(at + 64 * v, stride, count, to, step, spare, transpose)


@njit
def _panel(p, n, k, pairs, first, end, b):
    """Add rows k .. k + DEPTH of the contraction to columns n .. n + 32 * pairs of the output."""
    lda, ldb, ldo = peek(p, LDA), peek(p, LDB), peek(p, LDO)
    left = peek(p, K_) - k
    tiles = (min(DEPTH, left) + 31) // 32
    a = b + DEPTH * WIDTH * 2
    spare = a + GROUP * DEPTH * 64
    _pack(peek(p, B) + k * ldb + n * 2, ldb, left, tiles, pairs, b, spare, False)
    for m0 in range(first, end, GROUP):
        group = min(GROUP, end - m0)
        _pack(peek(p, A) + k * lda + 64 * m0, lda, left, tiles, group, a, spare, True)
        for m in range(m0, m0 + group):
            tile_row = a + (m - m0) * tiles * 2048
            for v in range(pairs):
                panel = b + v * tiles * 2048
                out = peek(p, OUT) + 32 * m * ldo + (n + 32 * v) * 4
                add_product_2x2(tile_row, panel, tiles, out, ldo, k == 0)


@cfunc(_SIGNATURE, cache=True, nopython=True)
def transposed_product(p: Any) -> None:
    """out (M, N) float32 = A (K, M)^T @ B (K, N) bfloat16; M and N are multiples of 32.

    A thread owns a range of A's columns; LDA, LDB and LDO are in bytes.
    """
    thread, size = join(p)
    M, N = peek(p, M_), peek(p, N_)
    enter(peek(p, CONFIG))
    first, end = (M // 32) * thread // size, (M // 32) * (thread + 1) // size
    b = peek(p, SCRATCH) + thread * SCRATCH_BYTES
    for n in range(0, N, WIDTH):
        pairs = min(WIDTH, N - n) // 32
        for k in range(0, peek(p, K_), DEPTH):
            _panel(p, n, k, pairs, first, end, b)
    leave()
