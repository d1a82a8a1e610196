"""Chooses the processor's unit that multiplies tiles: AMX, AVX512-BF16, or none."""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm

from charrnn.model.kernels import amx, avx512

_LLVM = 20  # that of numba 0.62; version 15 ends the process at vectors of bfloat16


@functools.cache
def matrix_unit() -> Any:
    """The module with this processor's tile products, ``amx`` or ``avx512``; or None."""
    if llvm.llvm_version_info[0] < _LLVM:
        return None
    if amx.amx_available():
        return amx
    return avx512 if avx512.avx512_available() else None
