"""Code is compiled for the processor's matrix unit, and for no processor that lacks it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.support.checkpoints import python


def test_no_code_is_compiled_for_a_processor_without_either_unit() -> None:
    """LLVM ends the process over instructions that the processor lacks: nothing may ask."""
    pytest.importorskip("numba", reason="numba is not installed")
    program = """
import sys, torch
from charrnn.model.kernels import amx, avx512
amx.amx_available = avx512.avx512_available = lambda: False
from charrnn.model.layers import kernels
assert kernels("lstm", torch.device("cpu"), torch.bfloat16) == "torch"
print(*(name for name in sys.modules if name.endswith("_kernels")))
"""
    assert python(program) == "\n"


AVX512 = "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512bf16,+fma"


@pytest.mark.parametrize(
    ("unit", "processor", "features"),
    [("amx", "sapphirerapids", f"+amx-tile,+amx-bf16,{AVX512}"), ("avx512", "znver4", AVX512)],
)
def test_the_code_compiles_for_a_processor_with_that_unit(
    unit: str, processor: str, features: str, tmp_path: Path
) -> None:
    """Where it cannot run, LLVM must at least be able to make it."""
    pytest.importorskip("numba", reason="numba is not installed")
    if platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 processor: LLVM here compiles for no other")
    program = f"""
from charrnn.model.kernels import {unit}, units
units.matrix_unit = lambda: {unit}
from charrnn.model.kernels import gemm_kernels, lstm_kernels, symbol_kernels
assert lstm_kernels.forward.address and lstm_kernels.backward.address
assert gemm_kernels.transposed_product.address and symbol_kernels.sum_by_symbol.address
"""
    python(
        program,
        NUMBA_CPU_NAME=processor,
        NUMBA_CPU_FEATURES=features,
        NUMBA_CACHE_DIR=str(tmp_path),
    )
