"""The time loops of one LSTM layer in bfloat16 on tiles, as C functions compiled by numba.

Shapes: T steps, B rows, H units (a multiple of 32; callers pad). A unit block is 16 units. Each
function runs on all threads of a team. With ``SPLIT`` set, a thread owns a range of units, keeps
its slice of W_hh in its own L2 cache and waits for the others once per step; otherwise it owns a
range of rows and never waits.
"""

from __future__ import annotations

from typing import Any

from numba import cfunc, njit, types

from charrnn.model.kernels.simd import (
    load_bf16,
    load_f32,
    peek,
    sigmoid,
    splat,
    store_bf16,
    store_f32,
    tanh,
)
from charrnn.model.kernels.team import HEADER, SIZE, barrier, join
from charrnn.model.kernels.units import matrix_unit

enter, leave = matrix_unit().enter, matrix_unit().leave
product = matrix_unit().product

# Slots of the parameter table: sizes, switches, then addresses.
(T_, B_, H_, SPLIT, CONFIG, SCRATCH, WEIGHTS, PACKED, XW, ROWS, HX, BIAS, Y, C, ACTS) = range(
    HEADER, HEADER + 15
)
CARRY = HEADER + 15
(DY, DGATES, DBIAS, DHX, DCX) = (XW, ROWS, HX, BIAS, CARRY)
SCRATCH_BYTES = 8192 + 64  # per thread
_SIGNATURE = types.void(types.int64)


@njit
def _share(p, thread, size):
    """A thread's share: first row, end row, first unit block, end block, first packed row block."""
    B, H = peek(p, B_), peek(p, H_)
    if peek(p, SPLIT) != 0:
        pairs = H // 32
        return 0, B, 2 * (pairs * thread // size), 2 * (pairs * (thread + 1) // size), 0
    first = B * thread // size
    return first, B * (thread + 1) // size, 0, H // 16, first // 16 + thread


@njit
def _packed_bytes(p, tiles):
    """Bytes of one of the two packed states, in whole row blocks for every thread."""
    return (peek(p, B_) // 16 + peek(p, SIZE)) * tiles * 1024


@njit
def _tile_row(block, row, tiles):
    """Byte offset of a row in packed A tiles whose first row block is ``block``."""
    return ((block + row // 16) * tiles) * 1024 + (row % 16) * 64


@njit
def _pack_start(p, b0, b1, u0, u1, block):
    """Write hx (B, H) float32 to y[0] and to the packed tiles of step 0."""
    H = peek(p, H_)
    for b in range(b0, b1):
        packed = peek(p, PACKED) + _tile_row(block, b - b0, H // 32)
        for u in range(u0, u1):
            h = load_f32(peek(p, HX) + (b * H + 16 * u) * 4)
            store_bf16(peek(p, Y) + (b * H + 16 * u) * 2, h)
            store_bf16(packed + (u // 2) * 1024 + (u % 2) * 32, h)


@njit
def _cells(count, H, u, c, xw, rows, bias, carry, cells, acts, y, packed):
    """Compute gates, cell and output of ``count`` rows of unit block ``u``; c is h @ W_hh^T."""
    bias += 64 * u
    bi, bf = load_f32(bias), load_f32(bias + 4 * H)
    bg, bo = load_f32(bias + 8 * H), load_f32(bias + 12 * H)
    for r in range(count):
        z = c + (r // 16) * 2048 + (r % 16) * 64
        source = peek(rows, r) if rows != 0 else r
        x = xw + (source * 4 * H + 16 * u) * 2
        i = sigmoid(load_f32(z) + (load_bf16(x) + bi))
        f = sigmoid(load_f32(z + 1024) + (load_bf16(x + 2 * H) + bf))
        g = tanh(load_f32(z + 4096) + (load_bf16(x + 4 * H) + bg))
        o = sigmoid(load_f32(z + 5120) + (load_bf16(x + 6 * H) + bo))
        at = r * H + 16 * u
        cell = f * load_f32(carry + 4 * at) + i * g
        h = o * tanh(cell)
        store_f32(carry + 4 * at, cell)
        store_bf16(cells + 2 * at, cell)
        store_bf16(y + 2 * at, h)
        store_bf16(packed + _tile_row(0, r, H // 32) + (u // 2) * 1024 + (u % 2) * 32, h)
        gate = acts + 8 * r * H + 128 * u
        store_bf16(gate, i)
        store_bf16(gate + 32, f)
        store_bf16(gate + 64, g)
        store_bf16(gate + 96, o)


@njit
def _forward_step(p, t, b0, b1, u0, u1, block, c):
    """Run step t for a thread's rows and units."""
    B, H = peek(p, B_), peek(p, H_)
    tiles = H // 32
    size = _packed_bytes(p, tiles)
    source = peek(p, PACKED) + (t % 2) * size + block * tiles * 1024
    target = peek(p, PACKED) + ((t + 1) % 2) * size + block * tiles * 1024
    for b in range(b0, b1, 32):
        count = min(32, b1 - b)
        a = source + ((b - b0) // 16) * tiles * 1024
        row = t * B + b
        rows = peek(p, ROWS)
        xw = peek(p, XW)
        if rows != 0:
            rows += row * 8
        else:
            xw += row * 8 * H
        for u in range(u0, u1):
            w = peek(p, WEIGHTS) + u * tiles * 4096
            product(a, w, c, tiles, count)
            product(a, w + tiles * 2048, c + 4096, tiles, count)
            carry = peek(p, CARRY) + b * H * 4
            cells = peek(p, C) + (row + B) * H * 2
            y = peek(p, Y) + (row + B) * H * 2
            packed = target + (a - source)
            acts = peek(p, ACTS) + row * H * 8
            bias = peek(p, BIAS)
            _cells(count, H, u, c, xw, rows, bias, carry, cells, acts, y, packed)


@cfunc(_SIGNATURE, cache=True, nopython=True)
def forward(p: Any) -> None:
    """Run a layer forward over a window.

    WEIGHTS: from ``pack_forward``; XW: (rows, 4H) bfloat16, indexed by ROWS (T * B int64; 0: row
    t * B + b); BIAS (4H,), HX (B, H) float32; CARRY (B, H) float32: the cells, updated in place;
    C (T + 1, B, H) bfloat16: their history from C[1] on; Y (T + 1, B, H) bfloat16; ACTS
    (T, B, H/16, 4, 16) bfloat16; PACKED: work space.
    """
    thread, size = join(p)
    b0, b1, u0, u1, block = _share(p, thread, size)
    enter(peek(p, CONFIG))
    c = peek(p, SCRATCH) + thread * SCRATCH_BYTES
    _pack_start(p, b0, b1, u0, u1, block)
    for t in range(peek(p, T_)):
        if peek(p, SPLIT) != 0:
            barrier(p, size * (t + 1))
        _forward_step(p, t, b0, b1, u0, u1, block, c)
    leave()


@njit
def _gate_gradients(count, H, u, dh_rec, dy, cells, acts, dgates, packed, dc_at, step):
    """Compute gate gradients of ``count`` rows of unit block u; return their sums over the rows.

    dh_rec: dh from the recurrence, in tiles 2048 bytes apart; step: B * H, the distance to the
    next step's cells.
    """
    one = splat(1.0)
    bi, bf, bg, bo = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for r in range(count):
        at = r * H + 16 * u
        gate = acts + 8 * r * H + 128 * u
        i, f = load_bf16(gate), load_bf16(gate + 32)
        g, o = load_bf16(gate + 64), load_bf16(gate + 96)
        dh = load_f32(dh_rec + (r // 16) * 2048 + (r % 16) * 64) + load_bf16(dy + 2 * at)
        th = tanh(load_bf16(cells + 2 * (at + step)))
        dc = load_f32(dc_at + 4 * at) + dh * o * (one - th * th)
        store_f32(dc_at + 4 * at, dc * f)
        di = dc * g * i * (one - i)
        df = dc * load_bf16(cells + 2 * at) * f * (one - f)
        dg = dc * i * (one - g * g)
        do = dh * th * o * (one - o)
        bi, bf, bg, bo = bi + di, bf + df, bg + dg, bo + do
        out = dgates + (r * 4 * H + 16 * u) * 2
        store_bf16(out, di)
        store_bf16(out + 2 * H, df)
        store_bf16(out + 4 * H, dg)
        store_bf16(out + 6 * H, do)
        tile = packed + _tile_row(0, r, H // 8) + u * 2048
        store_bf16(tile, di)
        store_bf16(tile + 32, df)
        store_bf16(tile + 1024, dg)
        store_bf16(tile + 1056, do)
    return bi, bf, bg, bo


@njit
def _add_to(address, value):
    store_f32(address, load_f32(address) + value)


@njit
def _recurrent(p, t, b, count, v, source, c):
    """c := dgates[t + 1] @ W_hh for rows from b on and unit pair v; DHX at the window's end."""
    H = peek(p, H_)
    tiles = H // 8
    if t < peek(p, T_) - 1:
        w = peek(p, WEIGHTS) + v * tiles * 2048
        product(source, w, c, tiles, count)
        return
    for r in range(count):
        for k in range(2):
            dh = load_f32(peek(p, DHX) + ((b + r) * H + 32 * v + 16 * k) * 4)
            store_f32(c + (r // 16) * 2048 + k * 1024 + (r % 16) * 64, dh)


@njit
def _backward_step(p, t, b0, b1, u0, u1, block, c, dbias):
    """Run step t backward for a thread's rows and units; t = -1 writes dhx."""
    B, H = peek(p, B_), peek(p, H_)
    tiles = H // 8
    size = _packed_bytes(p, tiles)
    source = peek(p, PACKED) + ((t + 1) % 2) * size + block * tiles * 1024
    target = peek(p, PACKED) + ((t + 2) % 2) * size + block * tiles * 1024
    for b in range(b0, b1, 32):
        count = min(32, b1 - b)
        skip = ((b - b0) // 16) * tiles * 1024
        row = t * B + b
        for v in range(u0 // 2, u1 // 2):
            _recurrent(p, t, b, count, v, source + skip, c)
            for k in range(2):
                u = 2 * v + k
                if t < 0:
                    for r in range(count):
                        dh = load_f32(c + (r // 16) * 2048 + k * 1024 + (r % 16) * 64)
                        store_f32(peek(p, DHX) + ((b + r) * H + 16 * u) * 4, dh)
                    continue
                di, df, dg, do = _gate_gradients(
                    count,
                    H,
                    u,
                    c + k * 1024,
                    peek(p, DY) + row * H * 2,
                    peek(p, C) + row * H * 2,
                    peek(p, ACTS) + row * H * 8,
                    peek(p, DGATES) + row * H * 8,
                    target + skip,
                    peek(p, DCX) + b * H * 4,
                    B * H,
                )
                _add_to(dbias + 64 * u, di)
                _add_to(dbias + 64 * u + 4 * H, df)
                _add_to(dbias + 64 * u + 8 * H, dg)
                _add_to(dbias + 64 * u + 12 * H, do)


@cfunc(_SIGNATURE, cache=True, nopython=True)
def backward(p: Any) -> None:
    """Run a layer backward over a window.

    WEIGHTS: from ``pack_backward``; DY (T, B, H) bfloat16; C, ACTS: from ``forward``; DGATES
    (T, B, 4H) bfloat16: output; DHX, DCX (B, H) float32: gradients of the end state in, of the
    start state out; DBIAS (team size, 4H) float32, zero on entry: each thread's sum of its gate
    gradients.
    """
    thread, size = join(p)
    b0, b1, u0, u1, block = _share(p, thread, size)
    enter(peek(p, CONFIG))
    c = peek(p, SCRATCH) + thread * SCRATCH_BYTES
    dbias = peek(p, DBIAS) + thread * 16 * peek(p, H_)
    T = peek(p, T_)
    for step in range(T + 1):
        if peek(p, SPLIT) != 0 and step > 0:
            barrier(p, size * step)
        _backward_step(p, T - 1 - step, b0, b1, u0, u1, block, c, dbias)
    leave()
