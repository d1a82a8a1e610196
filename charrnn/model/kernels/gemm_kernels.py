"""Matrix products on AMX tiles as C functions made by numba, for the whole-window products.

Two forms.  ``rows``: out (M, N) = A (M, K) @ packed B, all bfloat16, for the input product and its
gradient.  ``columns``: out (M, N) float32 = A (K, M)^T @ B (K, N), for weight gradients.
torch's own bfloat16 products reach about 40 % of these kernels' speed on transposed operands.
"""

from __future__ import annotations

from typing import Any

from numba import cfunc, njit, types

from charrnn.model.kernels.amx import (
    load_config,
    release_tiles,
    tile_dot,
    tile_load,
    tile_store,
    tile_zero,
)
from charrnn.model.kernels.simd import (
    copy_line,
    load_bf16,
    load_f32,
    pack_a_tile,
    pack_b_tile,
    peek,
    prefetch,
    splat,
    store_bf16,
)
from charrnn.model.kernels.team import HEADER, join

(M_, N_, K_, CONFIG, SCRATCH, A, LDA, B, LDB, OUT, LDO) = range(HEADER, HEADER + 11)
CHUNK = 512  # of K in ``rows``: 32 rows of A then fill two thirds of the L1 cache
DEPTH = 1024  # of K in ``columns``: a (DEPTH, 512) panel of B fills half of the L2 cache
WIDTH = 512
_SIGNATURE = types.void(types.int64)


def rows_scratch(n: int) -> int:
    """Bytes of work space a thread of ``rows`` needs."""
    return 32 * CHUNK * 2 + 32 * (n + 32) * 4 + 64


COLUMNS_SCRATCH = DEPTH * WIDTH * 2 + DEPTH * 64 + 2048 + 64


@njit
def _accumulate(a0, a1, b, count, c00, c01, c10, c11, stride, fresh):  # type: ignore[no-untyped-def]
    """C (four 16 x 16 float32 tiles, row ``stride`` bytes) += or := A tiles @ B tile pairs."""
    if fresh:
        tile_zero(0)
        tile_zero(1)
        tile_zero(2)
        tile_zero(3)
    else:
        tile_load(0, c00, stride)
        tile_load(1, c01, stride)
        tile_load(2, c10, stride)
        tile_load(3, c11, stride)
    for k in range(count):
        at = k * 1024
        tile_load(4, a0 + at, 64)
        tile_load(6, b + 2 * at, 64)
        tile_dot(0, 4, 6)
        tile_load(7, b + 2 * at + 1024, 64)
        tile_dot(1, 4, 7)
        tile_load(5, a1 + at, 64)
        tile_dot(2, 5, 6)
        tile_dot(3, 5, 7)
    tile_store(0, c00, stride)
    tile_store(1, c01, stride)
    tile_store(2, c10, stride)
    tile_store(3, c11, stride)


@njit
def _copy_rows(p, m, k0, tiles, count, target):  # type: ignore[no-untyped-def]
    """32 rows of A from column k0 as tiles: rows 4 KiB apart would share one L1 set."""
    for r in range(32):
        source = peek(p, A) + (m + min(r, count - 1)) * peek(p, LDA) + 2 * k0
        to = target + (r // 16) * tiles * 1024 + (r % 16) * 64
        for k in range(tiles):
            copy_line(source + 64 * k, to + 1024 * k)


@njit
def _narrow(c, count, out, stride):  # type: ignore[no-untyped-def]
    """2 x 2 float32 tiles to ``count`` rows of 32 bfloat16."""
    for r in range(count):
        z = c + (r // 16) * 2048 + (r % 16) * 64
        store_bf16(out + r * stride, load_f32(z))
        store_bf16(out + r * stride + 32, load_f32(z + 1024))


@cfunc(_SIGNATURE, cache=True, nopython=True)
def rows(p: Any) -> None:
    """out (M, N) = A (M, K) @ B, bfloat16; K, N multiples of 32; LDA, LDO in bytes.

    B: (N/32, K/32, 2, 16, 16, 2) tiles.  A thread owns a range of columns, so that its part of B
    stays in its L2 cache.
    """
    thread, size = join(p)
    N, K = peek(p, N_), peek(p, K_)
    load_config(peek(p, CONFIG))
    first, end = (N // 32) * thread // size, (N // 32) * (thread + 1) // size
    a = peek(p, SCRATCH) + thread * (32 * CHUNK * 2 + 32 * (N + 32) * 4 + 64)
    c = a + 32 * CHUNK * 2
    for m in range(0, peek(p, M_), 32):
        count = min(32, peek(p, M_) - m)
        for k0 in range(0, K, CHUNK):
            tiles = min(CHUNK, K - k0) // 32
            _copy_rows(p, m, k0, tiles, count, a)
            for n in range(first, end):
                b = peek(p, B) + (n * (K // 32) + k0 // 32) * 2048
                at = c + (n - first) * 4096
                _accumulate(a, a + tiles * 1024, b, tiles, at, at + 1024, at + 2048, at + 3072,
                            64, k0 == 0)  # fmt: skip
                if k0 + CHUNK >= K:
                    _narrow(at, count, peek(p, OUT) + m * peek(p, LDO) + 64 * n, peek(p, LDO))
    release_tiles()


@njit
def _pack_pair(source, stride, rows_left, tiles, target, step, spare, transpose):  # type: ignore[no-untyped-def]
    """Two columns of tiles from 32 columns of a row-major matrix; zeroes behind its last row.

    The tiles of a pair lie ``step`` bytes apart.  Both are read together: with a power of two as
    row length, lines of 32 rows fall on so few cache sets that the second half would be gone.
    """
    apart = 1024 if transpose else 2048
    for k in range(tiles):
        at, pitch = source + 32 * k * stride, stride
        count = rows_left - 32 * k
        for r in range(32):
            if r + 32 < count:
                prefetch(at + (32 + r) * stride)
        if count < 32:
            for r in range(32):
                for v in range(0, 64, 32):
                    value = load_bf16(at + r * stride + v) if r < count else splat(0.0)
                    store_bf16(spare + 64 * r + v, value)
            at, pitch = spare, 64
        for v in range(2):
            if transpose:
                pack_a_tile(at + 32 * v, pitch, target + apart * k + step * v)
            else:
                pack_b_tile(at + 32 * v, pitch, target + apart * k + step * v)


@njit
def _panel(p, n, k, pairs, first, end, b):  # type: ignore[no-untyped-def]
    """Add rows k .. k + DEPTH of the contraction to columns n .. n + 32 * pairs of the output."""
    lda, ldb, ldo = peek(p, LDA), peek(p, LDB), peek(p, LDO)
    left = peek(p, K_) - k
    tiles = (min(DEPTH, left) + 31) // 32
    a = b + DEPTH * WIDTH * 2
    spare = a + DEPTH * 64
    for v in range(pairs):
        source = peek(p, B) + k * ldb + (n + 32 * v) * 2
        _pack_pair(source, ldb, left, tiles, b + v * tiles * 2048, 1024, spare, False)
    for m in range(first, end):
        source = peek(p, A) + k * lda + 64 * m
        _pack_pair(source, lda, left, tiles, a, tiles * 1024, spare, True)
        for v in range(pairs):
            c = peek(p, OUT) + 32 * m * ldo + (n + 32 * v) * 4
            _accumulate(a, a + tiles * 1024, b + v * tiles * 2048, tiles, c, c + 64,
                        c + 16 * ldo, c + 16 * ldo + 64, ldo, k == 0)  # fmt: skip


@cfunc(_SIGNATURE, cache=True, nopython=True)
def columns(p: Any) -> None:
    """out (M, N) float32 = A (K, M)^T @ B (K, N) bfloat16; M a multiple of 32, N of 32.

    A thread owns a range of A's columns; LDA, LDB, LDO in bytes.
    """
    thread, size = join(p)
    M, N = peek(p, M_), peek(p, N_)
    load_config(peek(p, CONFIG))
    first, end = (M // 32) * thread // size, (M // 32) * (thread + 1) // size
    b = peek(p, SCRATCH) + thread * (DEPTH * WIDTH * 2 + DEPTH * 64 + 2048 + 64)
    for n in range(0, N, WIDTH):
        pairs = min(WIDTH, N - n) // 32
        for k in range(0, peek(p, K_), DEPTH):
            _panel(p, n, k, pairs, first, end, b)
    release_tiles()
