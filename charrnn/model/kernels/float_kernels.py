"""The time loops of one LSTM layer in float32 as C functions made by numba, for any processor.

Layouts and sharing are those of ``lstm_kernels``; the recurrent products are register-blocked
vector sums instead of tiles.  A panel of weights stays in the cache while all rows pass.
"""

from __future__ import annotations

from typing import Any

from numba import cfunc, njit, types

from charrnn.model.kernels.blocks import multiply_f32
from charrnn.model.kernels.simd import load_f32, peek, sigmoid, splat, store_f32, tanh
from charrnn.model.kernels.team import HEADER, join, meet

(T_, B_, H_, SPLIT, SCRATCH, WEIGHTS, XW, ROWS, BIAS, Y, C, ACTS) = range(HEADER, HEADER + 12)
(DY, DGATES, DBIAS, DHX, DCX) = (XW, ROWS, BIAS, Y, HEADER + 12)
SCRATCH_BYTES = 12 * 2 * 64 + 64  # of one thread
_SIGNATURE = types.void(types.int64)


@njit
def _share(p, thread, size):
    """(first row, end row, first unit pair, end unit pair) of a thread; a pair is 32 units."""
    B, pairs = peek(p, B_), peek(p, H_) // 32
    if peek(p, SPLIT) != 0:
        return 0, B, pairs * thread // size, pairs * (thread + 1) // size
    return B * thread // size, B * (thread + 1) // size, 0, pairs


@njit
def _group(left, most):
    """Rows of the next group: groups of at most ``most`` rows, as even as may be."""
    groups = (left + most - 1) // most
    return (left + groups - 1) // groups


@njit
def _gates_product(count, a, lda, b, H, c):
    if count > 5:
        multiply_f32(6, 4, a, lda, count - 1, b, H, c)
    elif count > 4:
        multiply_f32(5, 4, a, lda, count - 1, b, H, c)
    else:
        multiply_f32(4, 4, a, lda, count - 1, b, H, c)


@njit
def _units_product(count, a, lda, b, K, c):
    if count > 10:
        multiply_f32(12, 2, a, lda, count - 1, b, K, c)
    elif count > 8:
        multiply_f32(10, 2, a, lda, count - 1, b, K, c)
    else:
        multiply_f32(8, 2, a, lda, count - 1, b, K, c)


@njit
def _cells(p, t, b, count, u, c):
    """Gates, cell and output of rows b .. b + count, unit block u; c holds h @ W_hh^T."""
    B, H = peek(p, B_), peek(p, H_)
    bias = peek(p, BIAS) + 64 * u
    bi, bf = load_f32(bias), load_f32(bias + 4 * H)
    bg, bo = load_f32(bias + 8 * H), load_f32(bias + 12 * H)
    rows = peek(p, ROWS)
    for r in range(count):
        z, row = c + 256 * r, t * B + b + r
        x = peek(p, XW) + ((peek(rows, row) if rows != 0 else row) * 4 * H + 16 * u) * 4
        i = sigmoid(load_f32(z) + (load_f32(x) + bi))
        f = sigmoid(load_f32(z + 64) + (load_f32(x + 4 * H) + bf))
        g = tanh(load_f32(z + 128) + (load_f32(x + 8 * H) + bg))
        o = sigmoid(load_f32(z + 192) + (load_f32(x + 12 * H) + bo))
        at = (row * H + 16 * u) * 4
        after = at + B * H * 4
        cell = f * load_f32(peek(p, C) + at) + i * g
        store_f32(peek(p, C) + after, cell)
        store_f32(peek(p, Y) + after, o * tanh(cell))
        gate = peek(p, ACTS) + (row * H + 16 * u) * 16
        store_f32(gate, i)
        store_f32(gate + 64, f)
        store_f32(gate + 128, g)
        store_f32(gate + 192, o)


@cfunc(_SIGNATURE, cache=True, nopython=True)
def forward(p: Any) -> None:
    """One layer over a window, all float32.

    WEIGHTS (H/16, H, 4, 16); XW (rows, 4H), chosen by ROWS (T * B int64, or 0); BIAS (4H,);
    C, Y (T + 1, B, H) with the start in [0]; ACTS (T, B, H/16, 4, 16).
    """
    thread, size = join(p)
    b0, b1, v0, v1 = _share(p, thread, size)
    H = peek(p, H_)
    c = peek(p, SCRATCH) + thread * SCRATCH_BYTES
    for t in range(peek(p, T_)):
        h = peek(p, Y) + t * peek(p, B_) * H * 4
        for u in range(2 * v0, 2 * v1):
            b = b0
            while b < b1:
                count = _group(b1 - b, 6)
                w = peek(p, WEIGHTS) + u * H * 256
                _gates_product(count, h + b * H * 4, H * 4, w, H, c)
                _cells(p, t, b, count, u, c)
                b += count
        if peek(p, SPLIT) != 0:
            meet(p, size * (t + 1))


@njit
def _gate_gradients(p, t, b, count, u, c, dbias):
    """Gate gradients of rows b .. b + count, unit block u; c: dh through the recurrence."""
    B, H = peek(p, B_), peek(p, H_)
    one = splat(1.0)
    bias = dbias + 64 * u
    bi, bf = load_f32(bias), load_f32(bias + 4 * H)
    bg, bo = load_f32(bias + 8 * H), load_f32(bias + 12 * H)
    for r in range(count):
        row = t * B + b + r
        at = (row * H + 16 * u) * 4
        gate = peek(p, ACTS) + 4 * at
        i, f, g, o = load_f32(gate), load_f32(gate + 64), load_f32(gate + 128), load_f32(gate + 192)
        dh = load_f32(c + 128 * r) + load_f32(peek(p, DY) + at)
        th = tanh(load_f32(peek(p, C) + at + B * H * 4))
        carry = peek(p, DCX) + ((b + r) * H + 16 * u) * 4
        dc = load_f32(carry) + dh * o * (one - th * th)
        store_f32(carry, dc * f)
        di = dc * g * i * (one - i)
        df = dc * load_f32(peek(p, C) + at) * f * (one - f)
        dg = dc * i * (one - g * g)
        do = dh * th * o * (one - o)
        bi, bf, bg, bo = bi + di, bf + df, bg + dg, bo + do
        out = peek(p, DGATES) + (row * 4 * H + 16 * u) * 4
        store_f32(out, di)
        store_f32(out + 4 * H, df)
        store_f32(out + 8 * H, dg)
        store_f32(out + 12 * H, do)
    store_f32(bias, bi)
    store_f32(bias + 4 * H, bf)
    store_f32(bias + 8 * H, bg)
    store_f32(bias + 12 * H, bo)


@njit
def _backward_group(p, t, b, count, v, c, dbias):
    """Rows b .. b + count, unit pair v of step t; t = -1 leaves dhx."""
    B, H = peek(p, B_), peek(p, H_)
    dhx = peek(p, DHX) + (b * H + 32 * v) * 4
    if t < peek(p, T_) - 1:
        after = peek(p, DGATES) + ((t + 1) * B + b) * 16 * H
        w = peek(p, WEIGHTS) + v * 4 * H * 128
        _units_product(count, after, 16 * H, w, 4 * H, c)
    else:
        for r in range(count):
            store_f32(c + 128 * r, load_f32(dhx + r * H * 4))
            store_f32(c + 128 * r + 64, load_f32(dhx + r * H * 4 + 64))
    if t >= 0:
        _gate_gradients(p, t, b, count, 2 * v, c, dbias)
        _gate_gradients(p, t, b, count, 2 * v + 1, c + 64, dbias)
        return
    for r in range(count):
        store_f32(dhx + r * H * 4, load_f32(c + 128 * r))
        store_f32(dhx + r * H * 4 + 64, load_f32(c + 128 * r + 64))


@cfunc(_SIGNATURE, cache=True, nopython=True)
def backward(p: Any) -> None:
    """The way back, all float32.

    WEIGHTS (H/32, 4H, 32); DY (T, B, H); DGATES (T, B, 4H) out; DHX, DCX (B, H): the end's
    gradients in, the start's out; DBIAS (team size, 4H), zero on entry: each thread's sums.
    """
    thread, size = join(p)
    b0, b1, v0, v1 = _share(p, thread, size)
    c = peek(p, SCRATCH) + thread * SCRATCH_BYTES
    dbias = peek(p, DBIAS) + thread * 16 * peek(p, H_)
    T = peek(p, T_)
    for step in range(T + 1):
        if peek(p, SPLIT) != 0 and step > 0:
            meet(p, size * step)
        for v in range(v0, v1):
            b = b0
            while b < b1:
                count = _group(b1 - b, 12)
                _backward_group(p, T - 1 - step, b, count, v, c, dbias)
                b += count
