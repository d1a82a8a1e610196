"""Chooses the processor's unit that multiplies tiles: AMX, AVX512-BF16, or none."""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm
import numba

from charrnn.model.kernels import amx, avx512

_LLVM = 20  # that of numba 0.62; version 15 ends the process at vectors of bfloat16


@functools.cache
def matrix_unit() -> Any:
    """The module with this processor's tile products, ``amx`` or ``avx512``; or None."""
    if llvm.llvm_version_info[0] < _LLVM or not compiles_for_host():
        return None
    if amx.amx_available():
        return amx
    return avx512 if avx512.avx512_available() else None


def compiles_for_host() -> bool:
    """Whether numba optimizes code for this very processor: its own variables can ask otherwise.

    For a processor without these vectors LLVM would end the process, or call what does not exist;
    with debugging information or without optimization, numba cannot compile or cache the kernels.
    """
    config: Any = numba.config
    return bool(
        not config.DISABLE_JIT
        and not config.DEBUGINFO_DEFAULT
        and config.OPT > 0
        and config.ENABLE_AVX
        and config.CPU_NAME in (None, llvm.get_host_cpu_name())
        and config.CPU_FEATURES in (None, llvm.get_host_cpu_features().flatten())
    )
