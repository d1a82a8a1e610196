"""Code is compiled for the processor's matrix unit, and for no processor that lacks it."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from charrnn.model.kernels import fused_lstm
from tests.support.checkpoints import python
from tests.support.processes import TEXT

try:
    import llvmlite.binding as llvm
except ImportError:
    llvm = None


def test_no_code_is_compiled_for_a_processor_without_either_unit() -> None:
    """LLVM ends the process over instructions that the processor lacks: nothing may ask."""
    pytest.importorskip("numba", reason="numba is not installed")
    program = """
import sys, torch
from charrnn.model.kernels import amx, avx512
amx.amx_available = avx512.avx512_available = lambda: False
from charrnn import cells
from charrnn.model.layers import kernels
assert kernels(cells.get("lstm"), 8, torch.device("cpu"), torch.bfloat16) == "torch"
print(*(name for name in sys.modules if name.endswith("_kernels")))
"""
    assert python(program) == "\n"


# numba's own variables, with which it does not compile our kernels, or not for this processor
ELSEWHERE = [
    {"NUMBA_CPU_NAME": "generic"},
    {"NUMBA_CPU_NAME": "znver3"},
    {"NUMBA_CPU_FEATURES": "+sse2"},
    {"NUMBA_ENABLE_AVX": "0"},
    {"NUMBA_DISABLE_JIT": "1"},
    {"NUMBA_OPT": "0"},
    {"NUMBA_DEBUGINFO": "1"},
    {"NUMBA_NUM_THREADS": "0"},  # numba cannot even be imported
]
HARMLESS = [
    {"NUMBA_NUM_THREADS": "1"},
    {"NUMBA_CACHE_LOCATOR_CLASSES": "nonsense"},
    {"NUMBA_CPU_NAME": llvm.get_host_cpu_name()} if llvm else {},
]
# a process that has loaded torch, but not numba, trains a small run with each of many variables
_TRAINS = """
import json, os, sys
from pathlib import Path
from charrnn.checkpoint.file import load
from tests.support.runs import run

assert "numba" not in sys.modules
for number, env in enumerate(json.loads(sys.argv[2])):
    if os.fork():
        _, status = os.wait()
        assert status == 0, env
        continue
    os.environ.update(env)
    out = Path(f"run-{number}")
    run(Path(sys.argv[1]), out, precision="bfloat16", steps=2)
    last = load(out / "last.safetensors", extra=True)
    print(last.meta["resume"]["environment"]["kernels"], flush=True)
    os._exit(0)
"""
_SAMPLES = """
import charrnn
from tests.support.checkpoints import tiny

model = charrnn.TextModel(tiny())
print(model.sample(seed=1, length=50).encode(), type(model._engine).__name__)
"""


def trained_by(variables: list[dict[str, str]]) -> list[str]:
    """What runs the layers of a small run with each of these variables."""
    Path("novel.txt").write_text(TEXT)
    return python(_TRAINS, "novel.txt", json.dumps(variables)).split()


def test_torch_trains_where_numba_compiles_for_another_processor() -> None:
    assert trained_by(ELSEWHERE) == ["torch"] * len(ELSEWHERE)


def test_variables_of_numba_that_change_nothing_change_nothing() -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    from charrnn.model.kernels.units import matrix_unit

    if (unit := matrix_unit()) is None:
        pytest.skip("needs a processor that multiplies bfloat16")
    assert trained_by(HARMLESS) == [unit.__name__.rpartition(".")[2]] * len(HARMLESS)


@pytest.mark.parametrize("env", [*ELSEWHERE[:1], *ELSEWHERE[3:5]], ids=str)
def test_the_compiled_engine_does_not_depend_on_numba(env: dict[str, str]) -> None:
    assert python(_SAMPLES, **env) == python(_SAMPLES)


def test_code_that_numba_was_asked_to_make_otherwise_is_cached_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numba = pytest.importorskip("numba", reason="numba is not installed")
    from charrnn.model.kernels.numba_cache import digest

    usual = digest(tmp_path, "unit")
    monkeypatch.setattr(numba.config, "OPT", 1)
    assert digest(tmp_path, "unit") != usual


def test_a_kernel_that_does_not_compile_is_an_error_only_without_variables_of_numba(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    units = pytest.importorskip("charrnn.model.kernels.units", reason="numba is not installed")

    def fails() -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(units, "matrix_unit", fails)
    monkeypatch.setenv("NUMBA_ANYTHING", "1")
    assert fused_lstm.compiled_window.__wrapped__() is None
    monkeypatch.delenv("NUMBA_ANYTHING")
    with pytest.raises(IndexError):
        fused_lstm.compiled_window.__wrapped__()


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
    window = fused_lstm.compiled_window()
    if window is not None and unit == window.UNIT:
        pytest.skip("needs a processor without this unit: here, the code is compiled and runs")
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
