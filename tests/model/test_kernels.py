"""Values and gradients of the fused layers against a naive float64 loop."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from charrnn.model.kernels import fused_lstm
from charrnn.model.kernels.fused_lstm import compiled_window, lstm_layer, lstm_symbols
from tests.support import torch_window
from tests.support.checkpoints import environment

SIZES = [(5, 7, 96, 33), (9, 64, 128, 128), (6, 50, 200, 64), (4, 3, 20, 17), (3, 40, 512, 512)]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
Layer = tuple[Tensor, Tensor, Tensor]


def naive(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, hx: Tensor, cx: Tensor) -> Layer:
    """The textbook loop."""
    ys = []
    for step in x:
        i, f, g, o = (step @ w_ih.t() + hx @ w_hh.t() + bias).chunk(4, 1)
        cx = f.sigmoid() * cx + i.sigmoid() * g.tanh()
        hx = o.sigmoid() * cx.tanh()
        ys.append(hx)
    return torch.stack(ys), hx, cx


def tensors(T: int, B: int, H: int, width: int) -> list[Tensor]:
    torch.manual_seed(1)
    k = H**-0.5
    shapes = [(T, B, width), (4 * H, width), (4 * H, H), (4 * H,), (B, H), (B, H)]
    scales = [1.0, k, k, k, 0.5, 1.0]
    return [torch.randn(shape) * scale for shape, scale in zip(shapes, scales, strict=True)]


def outcome(layer: Callable[..., Layer], leaves: list[Tensor], kind: torch.dtype) -> list[Tensor]:
    """Outputs, then the gradients of a fixed weighting of all of them."""
    leaves = [leaf.detach().to(kind).requires_grad_() for leaf in leaves]
    outputs = layer(*leaves)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(out.shape, generator=generator) for out in outputs]
    total = sum((out.to(kind) * w.to(kind)).sum() for out, w in zip(outputs, weights, strict=True))
    assert isinstance(total, Tensor)
    return [*outputs, *torch.autograd.grad(total, leaves)]


def compare(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    for k, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert a.shape == b.shape
        error = (a.double() - b).norm() / b.norm()
        assert error < tolerance, f"tensor {k}: relative error {error:.2e}"


@pytest.fixture(params=["compiled", "float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The type of the products: with the compiled loops, then with torch operators for loops."""
    if request.param != "compiled":
        monkeypatch.setattr(fused_lstm, "_window", lambda: torch_window)
        return torch.float32 if request.param == "float32" else torch.bfloat16
    if compiled_window() is None:
        pytest.skip("this processor has neither AMX nor AVX512-BF16, which the loops are made of")
    return torch.bfloat16


@pytest.mark.parametrize("size", SIZES)
def test_layer(size: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    leaves = tensors(*size)
    found = outcome(lambda *a: lstm_layer(*a, dtype), leaves, torch.float32)
    compare(found, outcome(naive, leaves, torch.float64), TOLERANCE[dtype])


@pytest.mark.parametrize("size", SIZES)
def test_symbols(size: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    T, B, _H, width = size
    symbols = torch.randint(87, (T, B), generator=torch.Generator().manual_seed(3))
    leaves = [torch.randn(87, width, generator=torch.Generator().manual_seed(4)),
              *tensors(*size)[1:]]  # fmt: skip
    found = outcome(lambda *a: lstm_symbols(symbols, *a, dtype), leaves, torch.float32)
    wanted = outcome(lambda e, *a: naive(e[symbols], *a), leaves, torch.float64)
    compare(found, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("rows", "width", "symbols"), [(1, 32, 1), (7, 48, 2), (300, 512, 87), (50, 128, 60_000)]
)
def test_sums_by_symbol(rows: int, width: int, symbols: int) -> None:
    window = compiled_window()
    if window is None:
        pytest.skip("this processor has neither AMX nor AVX512-BF16: nothing is compiled")
    rng = torch.Generator().manual_seed(5)
    dgates = torch.randn(rows, width, generator=rng).bfloat16()
    symbol = torch.randint(symbols, (rows,), generator=rng)
    found = window.sums_by_symbol(dgates, symbol, symbols)
    wanted = torch_window.sums_by_symbol(dgates, symbol, symbols)
    torch.testing.assert_close(found, wanted)
    # columns that do not lie side by side
    assert torch.equal(window.sums_by_symbol(dgates.t().contiguous().t(), symbol, symbols), found)


def test_state_carries_over(dtype: torch.dtype) -> None:
    x, w_ih, w_hh, bias, hx, cx = tensors(8, 5, 64, 32)
    whole = lstm_layer(x, w_ih, w_hh, bias, hx, cx, dtype)
    first = lstm_layer(x[:3], w_ih, w_hh, bias, hx, cx, dtype)
    second = lstm_layer(x[3:], w_ih, w_hh, bias, first[1], first[2], dtype)
    assert torch.equal(torch.cat([first[0], second[0]]), whole[0])
    assert torch.equal(second[2], whole[2])


def test_two_windows_before_going_back(dtype: torch.dtype) -> None:
    """Work space is not shared between calls: an earlier window's gradient stays right."""
    leaves = tensors(4, 8, 64, 64)
    x = leaves[0].clone().requires_grad_()
    y, _, _ = lstm_layer(x, *leaves[1:], dtype)
    alone = torch.autograd.grad(y.float().sum(), x, retain_graph=True)[0]
    lstm_layer(torch.randn_like(x), *leaves[1:], dtype)
    assert torch.equal(torch.autograd.grad(y.float().sum(), x)[0], alone)


def test_a_nan_is_not_hidden(dtype: torch.dtype) -> None:
    leaves = tensors(3, 4, 32, 32)
    leaves[0][1, 2, 3] = float("nan")
    y, _, _ = lstm_layer(*leaves, dtype)
    assert y[1:, 2].isnan().all()
    assert not y[:, 1].isnan().any()


def test_one_thread(dtype: torch.dtype) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        leaves = tensors(3, 8, 512, 64)
        found = outcome(lambda *a: lstm_layer(*a, dtype), leaves, torch.float32)
    finally:
        torch.set_num_threads(threads)
    compare(found, outcome(naive, leaves, torch.float64), TOLERANCE[dtype])


def python(program: str, **env: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(**env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_more_threads_than_work_space_was_once_made_for() -> None:
    """Every thread has whole blocks of rows for its own; too few of them end the process."""
    if compiled_window() is None:
        pytest.skip("this processor has neither AMX nor AVX512-BF16, which the loops are made of")
    program = """
import torch
from charrnn.model.kernels.fused_lstm import lstm_layer
from tests.model.test_kernels import outcome, tensors
leaves, found = tensors(4, 1040, 32, 32), []
for threads in (1, 128):
    torch.set_num_threads(threads)
    found.append(outcome(lambda *a: lstm_layer(*a, torch.bfloat16), leaves, torch.float32))
print([float((a - b).float().norm() / a.float().norm()) < 1e-3 for a, b in zip(*found)])
"""
    assert python(program) == f"{[True] * 9}\n"


def test_no_code_is_compiled_for_a_processor_without_either_unit() -> None:
    """LLVM ends the process over instructions that the processor lacks: nothing may ask."""
    pytest.importorskip("numba", reason="the extra fast is not installed")
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
    pytest.importorskip("numba", reason="the extra fast is not installed")
    if platform.machine() != "x86_64":
        pytest.skip("this processor is of another kind")
    program = f"""
from charrnn.model.kernels import {unit}, units
units.matrix_unit = lambda: {unit}
from charrnn.model.kernels import gemm_kernels, lstm_kernels, symbol_kernels
assert lstm_kernels.forward.address and lstm_kernels.backward.address
assert gemm_kernels.columns.address and symbol_kernels.by_symbol.address
"""
    python(
        program,
        NUMBA_CPU_NAME=processor,
        NUMBA_CPU_FEATURES=features,
        NUMBA_CACHE_DIR=str(tmp_path),
    )


def test_vectors_pass_where_tiles_are_preferred(tmp_path: Path) -> None:
    """A processor with tiles has the vector unit too: the tests above run once more with that."""
    pytest.importorskip("numba", reason="the extra fast is not installed")
    from charrnn.model.kernels.amx import amx_available

    if not amx_available():
        pytest.skip("this processor has no tiles: the tests above ran with vectors if at all")
    program = f"""
import pytest
from charrnn.model.kernels import amx
amx.amx_available = lambda: False
raise SystemExit(pytest.main([{__file__!r}, "-k", "compiled and not code"]))
"""
    assert " passed" in python(program, CHARRNN_CACHE=str(tmp_path))


def test_tiles_pass_where_there_are_none(tmp_path: Path) -> None:
    """The tests above once more with the tile kernels, each instruction in NumPy."""
    window = compiled_window()
    if window is None or window.UNIT == "amx":
        pytest.skip("this processor has tiles, or none of the vectors that go with them")
    program = f"""
import warnings
import pytest
from tests.support import tiles_in_memory
tiles_in_memory.install()
from charrnn.model.kernels.fused_lstm import compiled_window
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # code that calls Python is not kept
    assert compiled_window().UNIT == "amx"
code = pytest.main([{__file__!r}, "-k", "compiled and not code and not (symbols and size4)"])
assert not tiles_in_memory.faults, tiles_in_memory.faults[:9]
assert not tiles_in_memory.tiles
assert tiles_in_memory.done["dot"] > 100_000
raise SystemExit(code)
"""
    assert " passed" in python(program, CHARRNN_CACHE=str(tmp_path))


def test_compiled_code_is_kept_by_all_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numba = pytest.importorskip("numba", reason="the extra fast is not installed")
    from charrnn.model.kernels.kept import digest, is_kept, kept_code

    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path))
    before = numba.config.CACHE_DIR
    assert not is_kept("unit")
    with kept_code("unit") as folder:
        assert str(folder) == numba.config.CACHE_DIR
        numba.cfunc("int64(int64)", cache=True)(_same)
        assert not is_kept("unit")  # there may be more to come
    assert before == numba.config.CACHE_DIR
    assert folder.parent.parent == tmp_path
    assert is_kept("unit")
    assert not is_kept("another")
    assert list(folder.rglob("*.nbi"))
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in ("simd.py", "lstm_kernels.py"):
        (copies / name).write_text(name)
    first = digest(copies, "unit")
    (copies / "simd.py").write_text("changed")
    assert digest(copies, "unit") != first


def _same(number: int) -> int:
    return number


def test_a_cache_on_a_full_disk_costs_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="the extra fast is not installed")
    from charrnn.model.kernels import kept, units

    if units.matrix_unit() is None:
        pytest.skip("needs a processor that multiplies bfloat16")
    places: list[bool] = []

    @contextmanager
    def full(unit: str, *, alone: bool = False) -> Iterator[None]:
        places.append(alone)
        yield
        if not alone:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kept, "kept_code", full)
    assert fused_lstm.compiled_window.__wrapped__() is not None
    assert places == [False, True]


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba", reason="the extra fast is not installed")
    from charrnn.model.kernels.kept import kept_code

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "file"))
    with kept_code("unit") as folder:
        assert folder.is_dir()
