"""Values and gradients of the fused layers are those of a naive float64 loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from charrnn.model.kernels import fused_lstm
from charrnn.model.kernels.fused_lstm import compiled_window, lstm_layer, lstm_symbols
from tests.support import torch_window
from tests.support.checkpoints import python
from tests.support.lstm import Layer, compare, naive, outcome, tensors

SIZES = [(5, 7, 96, 33), (9, 64, 128, 128), (6, 50, 200, 64), (4, 3, 20, 17), (3, 40, 512, 512)]


TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture(params=["compiled", "float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The type of the products: with the compiled loops, then with torch operators for loops."""
    if request.param != "compiled":
        monkeypatch.setattr(fused_lstm, "_window", lambda: torch_window)
        return torch.float32 if request.param == "float32" else torch.bfloat16
    if compiled_window() is None:
        pytest.skip("needs a processor with AMX or AVX512-BF16")
    return torch.bfloat16


def layer_in(dtype: torch.dtype) -> Callable[..., Layer]:
    """The fused layer with products in ``dtype``."""
    return partial(lstm_layer, dtype=dtype)


@pytest.mark.parametrize("size", SIZES)
def test_layer(size: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    leaves = tensors(*size)
    found = outcome(layer_in(dtype), leaves, torch.float32)
    compare(found, outcome(naive, leaves, torch.float64), TOLERANCE[dtype])


@pytest.mark.parametrize("size", SIZES)
def test_symbols(size: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    T, B, _H, width = size
    symbols = torch.randint(87, (T, B), generator=torch.Generator().manual_seed(3))
    leaves = [torch.randn(87, width, generator=torch.Generator().manual_seed(4)),
              *tensors(*size)[1:]]  # fmt: skip
    found = outcome(partial(lstm_symbols, symbols, dtype=dtype), leaves, torch.float32)
    wanted = outcome(lambda e, *a: naive(e[symbols], *a), leaves, torch.float64)
    compare(found, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("rows", "width", "symbols"), [(1, 32, 1), (7, 48, 2), (300, 512, 87), (50, 128, 60_000)]
)
def test_sums_by_symbol(rows: int, width: int, symbols: int) -> None:
    window = compiled_window()
    if window is None:
        pytest.skip("needs a processor with AMX or AVX512-BF16: on others, nothing is compiled")
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
    layer = layer_in(dtype)
    y, _, _ = layer(x, *leaves[1:])
    alone = torch.autograd.grad(y.float().sum(), x, retain_graph=True)[0]
    layer(torch.randn_like(x), *leaves[1:])
    assert torch.equal(torch.autograd.grad(y.float().sum(), x)[0], alone)


def test_a_nan_is_not_hidden(dtype: torch.dtype) -> None:
    leaves = tensors(3, 4, 32, 32)
    leaves[0][1, 2, 3] = float("nan")
    y, _, _ = layer_in(dtype)(*leaves)
    assert y[1:, 2].isnan().all()
    assert not y[:, 1].isnan().any()


def test_one_thread(dtype: torch.dtype) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        leaves = tensors(3, 8, 512, 64)
        found = outcome(layer_in(dtype), leaves, torch.float32)
    finally:
        torch.set_num_threads(threads)
    compare(found, outcome(naive, leaves, torch.float64), TOLERANCE[dtype])


def test_more_threads_than_there_was_work_space_for() -> None:
    """Every thread has whole blocks of rows for its own; too few of them end the process."""
    if compiled_window() is None:
        pytest.skip("needs a processor with AMX or AVX512-BF16")
    program = """
import torch
from charrnn.model.kernels.fused_lstm import lstm_layer
from tests.support.lstm import outcome, tensors
leaves, found = tensors(4, 1040, 32, 32), []
for threads in (1, 128):
    torch.set_num_threads(threads)
    found.append(outcome(lambda *a: lstm_layer(*a, torch.bfloat16), leaves, torch.float32))
print([float((a - b).float().norm() / a.float().norm()) < 1e-3 for a, b in zip(*found)])
"""
    assert python(program) == f"{[True] * 9}\n"


def test_vector_kernels_pass_where_tiles_are_preferred(tmp_path: Path) -> None:
    """A processor with tiles has the vector unit too: the tests above run once more with that."""
    pytest.importorskip("numba", reason="numba is not installed")
    from charrnn.model.kernels.amx import amx_available

    if not amx_available():
        pytest.skip("needs AMX; without it, the tests above use vectors already")
    program = f"""
import pytest
from charrnn.model.kernels import amx
amx.amx_available = lambda: False
raise SystemExit(pytest.main([{__file__!r}, "-k", "compiled"]))
"""
    assert " passed" in python(program, CHARRNN_CACHE=str(tmp_path))


def test_tile_kernels_pass_with_imitated_instructions(tmp_path: Path) -> None:
    """The tests above once more with the tile kernels, each instruction in NumPy."""
    window = compiled_window()
    if window is None or window.UNIT == "amx":
        pytest.skip("needs AVX512-BF16 without AMX; with AMX, the tests above use real tiles")
    program = f"""
import warnings
import pytest
from tests.support import tiles_in_memory
tiles_in_memory.install()
from charrnn.model.kernels.fused_lstm import compiled_window
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # code that calls Python is not kept
    assert compiled_window().UNIT == "amx"
code = pytest.main([{__file__!r}, "-k", "compiled and not (symbols and size4)"])
assert not tiles_in_memory.faults, tiles_in_memory.faults[:9]
assert not tiles_in_memory.tiles
assert tiles_in_memory.done["dot"] > 100_000
raise SystemExit(code)
"""
    assert " passed" in python(program, CHARRNN_CACHE=str(tmp_path))
