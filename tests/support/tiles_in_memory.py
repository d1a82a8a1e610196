"""AMX's tiles as NumPy arrays, for processors that have none.

Each instruction as Intel's manual describes it (Software Developer's Manual, volume 2: LDTILECFG,
TILERELEASE, TILEZERO, TILELOADD, TILESTORED, TDPBF16PS), but for the flushing of denormals. What
a processor would refuse is kept in ``faults``.
"""

from __future__ import annotations

import ctypes
import threading

import numpy as np

from charrnn.model.kernels import amx

ROWS, ROW_BYTES, TILES = 16, 64, 8
faults: list[str] = []
done = {"dot": 0}  # how often; nothing proves less than a test that never came here
tiles: dict[int, np.ndarray] = {}  # of each thread, while its tiles are configured
_VOID, _INT = None, ctypes.c_int64


def install() -> None:
    """Let the tile kernels, not yet compiled, take these instructions for the processor's."""
    amx.amx_available = lambda: True  # type: ignore[assignment]
    for name, function in INSTRUCTIONS.items():
        setattr(amx, name, function)


@ctypes.CFUNCTYPE(_VOID, _INT)
def enter(address: int) -> None:
    palette = _bytes(address, ROW_BYTES)
    widths, heights = palette[16:48].view(np.uint16), palette[48:64]
    if address % 64 or palette[0] != 1 or palette[1]:
        faults.append("palette")
    if set(widths[:TILES]) != {ROW_BYTES} or set(heights[:TILES]) != {ROWS}:
        faults.append("shapes")
    if threading.get_ident() in tiles:
        faults.append("not released")
    tiles[threading.get_ident()] = np.zeros((TILES, ROWS, ROW_BYTES), np.uint8)


@ctypes.CFUNCTYPE(_VOID)
def leave() -> None:
    if tiles.pop(threading.get_ident(), None) is None:
        faults.append("released twice")


@ctypes.CFUNCTYPE(_VOID, _INT)
def tile_zero(tile: int) -> None:
    _own()[tile] = 0


@ctypes.CFUNCTYPE(_VOID, _INT, _INT, _INT)
def tile_load(tile: int, address: int, stride: int) -> None:
    own = _own()
    for row in range(ROWS):
        own[tile, row] = _bytes(address + row * stride, ROW_BYTES)


@ctypes.CFUNCTYPE(_VOID, _INT, _INT, _INT)
def tile_store(tile: int, address: int, stride: int) -> None:
    own = _own()
    for row in range(ROWS):
        _bytes(address + row * stride, ROW_BYTES)[:] = own[tile, row]


@ctypes.CFUNCTYPE(_VOID, _INT, _INT, _INT)
def tile_dot(c: int, a: int, b: int) -> None:
    if len({c, a, b}) < 3:
        faults.append("one tile in two places")
    own = _own()
    done["dot"] += 1
    left = _wide(own[a])  # (16, 32)
    right = _wide(own[b]).reshape(ROWS, 16, 2).swapaxes(1, 2).reshape(32, 16)
    with np.errstate(all="ignore"):  # rows that nobody wants may hold anything
        own[c].view(np.float32)[...] += left @ right


INSTRUCTIONS = {
    "enter": enter,
    "leave": leave,
    "tile_zero": tile_zero,
    "tile_load": tile_load,
    "tile_store": tile_store,
    "tile_dot": tile_dot,
}


def _own() -> np.ndarray:
    own = tiles.get(threading.get_ident())
    if own is None:
        faults.append("no configuration")
        return np.zeros((TILES, ROWS, ROW_BYTES), np.uint8)
    return own


def _bytes(address: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))


def _wide(tile: np.ndarray) -> np.ndarray:
    """A tile's bfloat16 numbers as float32: (16, 32)."""
    return (tile.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
