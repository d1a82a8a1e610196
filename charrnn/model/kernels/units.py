"""Which of the processor's units multiplies tiles: AMX, AVX512-BF16, or none."""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm

from charrnn.model.kernels import amx, avx512

_LLVM = 20  # numba 0.62's: version 15 ends the process over vectors of bfloat16


@functools.cache
def matrix_unit() -> Any:
    """The module with this processor's products of tiles, ``amx`` or ``avx512``; None for none."""
    if llvm.llvm_version_info[0] < _LLVM:
        return None
    if amx.amx_available():
        return amx
    return avx512 if avx512.avx512_available() else None
