"""AMX's tiles as NumPy arrays, for processors that have none.

Each instruction as Intel's manual describes it (Software Developer's Manual, volume 2: LDTILECFG,
TILERELEASE, TILEZERO, TILELOADD, TILESTORED, TDPBF16PS, TDPBUSD), but for the flushing of
denormals. What a processor would refuse is kept in ``faults``.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

from charrnn.amx import ROW_BYTES, ROWS, TILES

Shape = tuple[int, int]  # rows, bytes of a row


@dataclass
class Tiles:
    """What a thread has while its tiles are configured."""

    shapes: list[Shape]
    content: np.ndarray = field(
        default_factory=lambda: np.zeros((TILES, ROWS, ROW_BYTES), np.uint8)
    )


faults: list[str] = []
done = {"dot": 0}  # how often; nothing proves less than a test that never came here
tiles: dict[int, Tiles] = {}  # of each thread, while its tiles are configured
users: set[int] = set()  # threads that have configured tiles
# thread, first byte that was loaded, and the one after the last
reads: set[tuple[int, int, int]] = set()
_VOID, _INT = None, ctypes.c_int64


def install() -> None:
    """Let the training kernels, not yet compiled, take these instructions for the processor's."""
    from charrnn.model.kernels import amx

    amx.amx_available = lambda: True  # type: ignore[assignment]
    for name, function in INSTRUCTIONS.items():
        setattr(amx, name, function)


@contextmanager
def in_sampling() -> Iterator[None]:
    """Let the compiled engine take these instructions for the processor's, in uncached code."""
    from charrnn import amx
    from charrnn.generation.compiled import machine_code
    from charrnn.generation.compiled import tiles as compiled_tiles

    here = replace(machine_code.processor(), byte_tiles=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amx, "permitted", lambda: True)
        patch.setattr(compiled_tiles, "instruct", _instruct)
        patch.setattr(machine_code, "processor", lambda: here)
        patch.setattr(machine_code, "load", _compiled)
        yield


@functools.cache
def _compiled(variant: Any) -> Any:
    from charrnn.generation.compiled import kernels, machine_code

    code = machine_code.compile_module(str(kernels.build(variant)))
    return machine_code.link(code, "run", "assist")


def _instruct(w: Any, name: str, *arguments: Any) -> None:
    """Write a call of the function here that stands for instruction ``name``."""
    function, values = BYTE_INSTRUCTIONS[name], []
    for value in arguments:
        if isinstance(value, int):
            values.append(w.i64(value))
        else:
            is_address = isinstance(value.type, ir.PointerType)
            values.append(w.b.ptrtoint(value, ir.IntType(64)) if is_address else value)
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(values))
    address = w.i64(ctypes.cast(function, ctypes.c_void_p).value)
    w.b.call(w.b.inttoptr(address, kind.as_pointer()), values)


@ctypes.CFUNCTYPE(_VOID, _INT)
def enter(address: int) -> None:
    palette = _memory(address, 1, ROW_BYTES, ROW_BYTES)[0]
    widths, heights = palette[16:48].view(np.uint16), palette[48:64]
    if palette[0] != 1 or palette[1:16].any() or widths[TILES:].any() or heights[TILES:].any():
        faults.append("palette")
    shapes = [(int(h), int(w)) for h, w in zip(heights, widths, strict=True)][:TILES]
    if any(not 0 < h <= ROWS or not 0 < w <= ROW_BYTES for h, w in shapes):
        faults.append("shapes")
    if threading.get_ident() in tiles:
        faults.append("not released")
    tiles[threading.get_ident()] = Tiles(shapes)
    users.add(threading.get_ident())


@ctypes.CFUNCTYPE(_VOID)
def leave() -> None:
    if tiles.pop(threading.get_ident(), None) is None:
        faults.append("released twice")


@ctypes.CFUNCTYPE(_VOID, _INT)
def tile_zero(tile: int) -> None:
    _own().content[tile] = 0


@ctypes.CFUNCTYPE(_VOID, _INT, _INT, _INT)
def tile_load(tile: int, address: int, stride: int) -> None:
    own = _own()
    rows, width = own.shapes[tile]
    own.content[tile] = 0
    own.content[tile, :rows, :width] = _memory(address, rows, width, stride)
    reads.add((threading.get_ident(), address, address + (rows - 1) * stride + width))


@ctypes.CFUNCTYPE(_VOID, _INT, _INT, _INT)
def tile_store(tile: int, address: int, stride: int) -> None:
    own = _own()
    rows, width = own.shapes[tile]
    _memory(address, rows, width, stride)[:] = own.content[tile, :rows, :width]


@ctypes.CFUNCTYPE(_VOID, _INT, _INT, _INT)
def tile_dot(c: int, a: int, b: int) -> None:
    sums, left, right = _operands(c, a, b)
    rows, width = right.shape[0], right.shape[1] // 4
    pairs = _wide(right).reshape(rows, width, 2).swapaxes(1, 2).reshape(2 * rows, width)
    with np.errstate(all="ignore"):  # rows that nobody wants may hold anything
        sums.view(np.float32)[...] += _wide(left) @ pairs


@ctypes.CFUNCTYPE(_VOID, _INT, _INT, _INT)
def tile_dot_bytes(c: int, a: int, b: int) -> None:
    sums, left, right = _operands(c, a, b)
    rows, width = right.shape[0], right.shape[1] // 4
    fours = right.view(np.int8).reshape(rows, width, 4).swapaxes(1, 2).reshape(4 * rows, width)
    # exact in float32: 64 products of at most 255 * 128
    products = left.astype(np.float32) @ fours.astype(np.float32)
    sums.view(np.int32)[...] += products.astype(np.int32)


INSTRUCTIONS = {
    "enter": enter,
    "leave": leave,
    "tile_zero": tile_zero,
    "tile_load": tile_load,
    "tile_store": tile_store,
    "tile_dot": tile_dot,
}
# the same under LLVM's names, for the compiled engine
BYTE_INSTRUCTIONS = {
    "ldtilecfg": enter,
    "tilerelease": leave,
    "tileloadd64": tile_load,
    "tilestored64": tile_store,
    "tdpbusd": tile_dot_bytes,
}


def _own() -> Tiles:
    own = tiles.get(threading.get_ident())
    if own is None:
        faults.append("no configuration")
        return Tiles([(ROWS, ROW_BYTES)] * TILES)
    return own


def _operands(c: int, a: int, b: int) -> list[np.ndarray]:
    """The parts of three tiles that their shapes name: sums, and what is multiplied."""
    own = _own()
    done["dot"] += 1
    if len({c, a, b}) < 3:
        faults.append("one tile in two places")
    (rows, width), (a_rows, a_width), (b_rows, b_width) = (own.shapes[t] for t in (c, a, b))
    if (a_rows, a_width, b_width) != (rows, 4 * b_rows, width):
        faults.append("shapes that do not fit")
    return [own.content[t, : own.shapes[t][0], : own.shapes[t][1]] for t in (c, a, b)]


def _memory(address: int, rows: int, width: int, stride: int) -> np.ndarray:
    """``rows`` of ``width`` bytes at an address, ``stride`` bytes apart."""
    size = (rows - 1) * stride + width
    raw = memoryview((ctypes.c_uint8 * size).from_address(address))
    return np.ndarray((rows, width), np.uint8, raw, 0, (stride, 1))


def _wide(tile: np.ndarray) -> np.ndarray:
    """A tile's bfloat16 numbers as float32."""
    return (np.ascontiguousarray(tile).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
