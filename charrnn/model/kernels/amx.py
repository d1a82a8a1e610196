"""Intel AMX tiles for numba functions: configuration, instructions, products.

A tile is 16 rows of 64 bytes. ``C += A @ B`` takes A as 16 rows of 32 bfloat16, B as 16 rows of 16
pairs (rows 2p and 2p + 1 of the matrix side by side), and C as 16 x 16 float32. Tiles must start at
multiples of 64 bytes: misaligned loads cost two thirds of the speed.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from charrnn.amx import palette, permitted
from charrnn.model.kernels.simd import HOST_FEATURES, I8, I64, PTR, extern, pointer

# if W_hh has more bytes, it does not fit in a core's second-level cache, and splitting the units
# (one barrier per step) beats splitting the rows (no barrier, but each core reads all weights)
SPLIT_ABOVE = 1 << 20
_VOID = ir.VoidType()


@functools.cache
def amx_available() -> bool:
    """Whether this process may use AMX bfloat16 tiles; the first call asks Linux for permission."""
    return all(HOST_FEATURES.get(name) for name in ("amx-tile", "amx-bf16")) and permitted()


@functools.cache
def tile_config() -> torch.Tensor:
    """The 64-byte palette: all eight tiles 16 rows x 64 bytes."""
    return torch.tensor(list(palette()), dtype=torch.uint8)


def _void_call(context: Any, builder: Any, name: str, args: list[Any], kinds: list[Any]) -> Any:
    builder.call(extern(builder, name, _VOID, kinds), args)
    return context.get_dummy_value()


@intrinsic
def enter(typingctx: Any, address: Any) -> Any:
    """Set this thread's tile shapes and zero the tiles."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        target = pointer(builder, args[0], I8)
        return _void_call(context, builder, "llvm.x86.ldtilecfg", [target], [PTR])

    return types.void(types.int64), codegen


@intrinsic
def leave(typingctx: Any) -> Any:
    """Release the tile state, which makes thread switches cheap again."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _void_call(context, builder, "llvm.x86.tilerelease", [], [])

    return types.void(), codegen


@intrinsic(prefer_literal=True)
def tile_zero(typingctx: Any, tile: Any) -> Any:
    """Set a tile to 0. Tile numbers are literals: they are part of the instruction."""
    number = I8(tile.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _void_call(context, builder, "llvm.x86.tilezero", [number], [I8])

    return types.void(tile), codegen


def _memory(name: str, tile: Any) -> Any:
    number = I8(tile.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [number, pointer(builder, args[1], I8), args[2]]
        return _void_call(context, builder, name, values, [I8, PTR, I64])

    return types.void(tile, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def tile_load(typingctx: Any, tile: Any, address: Any, stride: Any) -> Any:
    """Fill a tile from 16 rows ``stride`` bytes apart."""
    return _memory("llvm.x86.tileloadd64", tile)


@intrinsic(prefer_literal=True)
def tile_store(typingctx: Any, tile: Any, address: Any, stride: Any) -> Any:
    """Write a tile to 16 rows ``stride`` bytes apart."""
    return _memory("llvm.x86.tilestored64", tile)


@intrinsic(prefer_literal=True)
def tile_dot(typingctx: Any, c: Any, a: Any, b: Any) -> Any:
    """c += a @ b for bfloat16 tiles a, b and a float32 tile c."""
    numbers = [I8(t.literal_value) for t in (c, a, b)]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _void_call(context, builder, "llvm.x86.tdpbf16ps", numbers, [I8, I8, I8])

    return types.void(c, a, b), codegen


@njit
def _product_2x2(a, b, count, c, stride, across, down, fresh):
    """C += or, if fresh, := two rows of ``count`` A tiles @ a panel of ``count`` B tile pairs.

    C is 2 x 2 tiles, ``across`` and ``down`` bytes apart, of rows ``stride`` bytes apart.
    """
    lower = a + count * 1024
    if fresh:
        tile_zero(0)
        tile_zero(1)
        tile_zero(2)
        tile_zero(3)
    else:
        tile_load(0, c, stride)
        tile_load(1, c + across, stride)
        tile_load(2, c + down, stride)
        tile_load(3, c + down + across, stride)
    for k in range(count):
        at = k * 1024
        tile_load(4, a + at, 64)
        tile_load(6, b + 2 * at, 64)
        tile_dot(0, 4, 6)
        tile_load(7, b + 2 * at + 1024, 64)
        tile_dot(1, 4, 7)
        tile_load(5, lower + at, 64)
        tile_dot(2, 5, 6)
        tile_dot(3, 5, 7)
    tile_store(0, c, stride)
    tile_store(1, c + across, stride)
    tile_store(2, c + down, stride)
    tile_store(3, c + down + across, stride)


@njit
def _product_1x2(a0, b, c, count):
    """C (two tiles at c) = a row of A tiles @ a panel of B tile pairs."""
    tile_zero(0)
    tile_zero(1)
    for k in range(count):
        at = k * 1024
        tile_load(4, a0 + at, 64)
        tile_load(6, b + 2 * at, 64)
        tile_dot(0, 4, 6)
        tile_load(7, b + 2 * at + 1024, 64)
        tile_dot(1, 4, 7)
    tile_store(0, c, 64)
    tile_store(1, c + 1024, 64)


@njit
def product(a, b, c, count, rows):
    """C (2 x 2 tiles at c: c00, c01, c10, c11) = two rows of A tiles @ a panel of B tile pairs.

    a: address of two times ``count`` consecutive tiles; b: of ``count`` pairs of tiles. Only the
    first ``rows`` rows of C, at most 32, are needed.
    """
    if rows > 16:
        _product_2x2(a, b, count, c, 64, 1024, 2048, True)
    else:
        _product_1x2(a, b, c, count)


@njit
def add_product_2x2(a, b, count, c, stride, fresh):
    """C (2 x 2 tiles, rows ``stride`` bytes apart) += or := two rows of A tiles @ B tile pairs."""
    _product_2x2(a, b, count, c, stride, 64, 16 * stride, fresh)
