"""Intel AMX: permission to use its tiles, and their shapes. Training and sampling both need them.

A processor has eight tiles of up to 16 rows of 64 bytes. ``CHARRNN_AMX=0`` keeps every kernel from
using them, to compare; what is sampled does not depend on it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Sequence

TILES, ROWS, ROW_BYTES = 8, 16, 64

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
_SWITCH = "CHARRNN_AMX"


@functools.cache
def permitted() -> bool:
    """Whether this process may use tiles, on a processor that has them; the first call asks Linux.

    The permission is for all threads of the process and for processes forked from it. From then on
    the system saves tiles whenever it interrupts a thread that has not released them.
    """
    if os.environ.get(_SWITCH) == "0":
        return False
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    syscall = ctypes.CDLL(None).syscall
    syscall.restype = ctypes.c_long
    # long arguments: the kernel reads all 64 bits of each
    numbers = (ctypes.c_long(n) for n in (_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA))
    return bool(syscall(*numbers) == 0)


def palette(shapes: Sequence[tuple[int, int]] = ((ROWS, ROW_BYTES),) * TILES) -> bytes:
    """The 64 bytes that set each tile's rows and the bytes of a row (LDTILECFG's operand)."""
    widths, heights = [0] * 16, [0] * 16
    for tile, (rows, row_bytes) in enumerate(shapes):
        heights[tile], widths[tile] = rows, row_bytes
    return (
        bytes([1, *[0] * 15]) + b"".join(n.to_bytes(2, "little") for n in widths) + bytes(heights)
    )
