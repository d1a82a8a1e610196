"""One LSTM layer over a whole window as one autograd node.

Gates are in torch's order i, f, g, o. Shapes are time first: x (T, B, I), y (T, B, H), state
(B, H). Parameters, states and their gradients are float32; ``dtype`` is the type of the products,
which are always summed in float32.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# the compiled loops work on blocks of units: H is padded to a multiple
UNITS = 32


@functools.cache
def compiled_window() -> ModuleType | None:
    """The module with our compiled bfloat16 time loops; None if this machine cannot run them.

    It cannot if numba's own variables (``NUMBA_…``) keep it from compiling. Nothing is compiled
    before the processor is known to support it: LLVM ends the whole process when asked for
    instructions that the processor lacks. A cache on a full disk costs only time, as long as there
    is room for temporary files.
    """
    if not _has_numba():
        return None
    try:
        from charrnn.model.kernels.numba_cache import numba_cache
        from charrnn.model.kernels.units import matrix_unit

        unit = matrix_unit()
        for private in (False, True) if unit else ():
            with suppress(OSError), numba_cache(unit.__name__, private=private):
                from charrnn.model.kernels import tile_window

                return tile_window
    except ImportError:
        pass
    except Exception:
        if not any(name.startswith("NUMBA_") for name in os.environ):
            raise
    return None


@functools.cache
def _has_numba() -> bool:
    """Whether numba can be imported; it refuses where one of its variables is invalid."""
    try:
        import numba  # noqa: F401
    except Exception:
        return False
    return True


def must_compile() -> bool:
    """Whether ``compiled_window`` has to compile, which takes seconds."""
    if compiled_window.cache_info().currsize or not _has_numba():
        return False
    try:
        from charrnn.model.kernels.numba_cache import is_cached
        from charrnn.model.kernels.units import matrix_unit
    except ImportError:
        return False
    unit = matrix_unit()
    return unit is not None and not is_cached(unit.__name__)


def _window() -> Any:
    """The module with the time loops."""
    window = compiled_window()
    assert window is not None, "callers check compiled_window first"
    return window


class _Dense(torch.autograd.Function):
    """The layer on x (T, B, I), with w_ih (4H, I), bias (4H,), w_hh (4H, H)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_ih: Tensor,
        bias: Tensor,
        w_hh: Tensor,
        hx: Tensor,
        cx: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        T, B, _ = x.shape
        window = _window()
        inputs = x.to(dtype).flatten(0, 1)
        xw = window.input_product(inputs, w_ih).view(T, B, -1)
        y, cy, saved = window.forward_window(xw, None, w_hh, bias, hx, cx)
        ctx.window, ctx.saved = window, saved
        ctx.save_for_backward(inputs, w_ih, w_hh, y)
        return y[1:], y[-1].float(), cy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, w_ih, w_hh, y = ctx.saved_tensors
        (dy, dhy, dcy), window = grads, ctx.window
        dgates, dbias, dhx, dcx = window.backward_window(dy, ctx.saved, w_hh, dhy, dcy)
        flat, dx = dgates.flatten(0, 1), None
        dw_hh = window.weight_gradient(flat, y[:-1].flatten(0, 1))
        dw_ih = window.weight_gradient(flat, inputs)
        if ctx.needs_input_grad[0]:
            dx = window.input_gradient(flat, w_ih).view(*dy.shape[:2], -1)
        return dx, dw_ih, dbias, dw_hh, dhx, dcx, None


class _Table(torch.autograd.Function):
    """The layer on rows of a table (V, 4H), every symbol's input product, with w_hh (4H, H)."""

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        rows: Tensor,
        w_hh: Tensor,
        hx: Tensor,
        cx: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        window = _window()
        bias = table.new_zeros(table.shape[1])  # the table includes the real one
        y, cy, saved = window.forward_window(table.to(dtype), rows, w_hh, bias, hx, cx)
        ctx.window, ctx.saved, ctx.symbols = window, saved, table.shape[0]
        ctx.save_for_backward(rows, w_hh, y)
        return y[1:], y[-1].float(), cy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, w_hh, y = ctx.saved_tensors
        (dy, dhy, dcy), window = grads, ctx.window
        dgates, _, dhx, dcx = window.backward_window(dy, ctx.saved, w_hh, dhy, dcy)
        flat = dgates.flatten(0, 1)
        dw_hh = window.weight_gradient(flat, y[:-1].flatten(0, 1))
        dtable = window.sums_by_symbol(flat, rows.flatten(), ctx.symbols)
        return dtable, None, dw_hh, dhx, dcx, None


def _pad_gates(w: Tensor, H: int) -> Tensor:
    """Pad each gate's H rows of (4H, ...) with zero rows to a multiple of ``UNITS``."""
    missing = -H % UNITS
    if not missing:
        return w
    gates = w.view(4, H, -1)
    return F.pad(gates, (0, 0, 0, missing)).reshape(4 * (H + missing), *w.shape[1:])


def _apply_padded(
    function: Any, inputs: tuple[Tensor, ...], w_hh: Tensor, hx: Tensor, cx: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply ``function`` to H padded to a multiple of ``UNITS``; the added units stay zero."""
    H = hx.shape[1]
    missing = -H % UNITS
    if missing:
        w_hh = F.pad(_pad_gates(w_hh, H), (0, missing))
        hx, cx = F.pad(hx, (0, missing)), F.pad(cx, (0, missing))
    y, hy, cy = function.apply(*inputs, w_hh, hx, cx, *rest)
    return (y[..., :H], hy[:, :H], cy[:, :H]) if missing else (y, hy, cy)


def lstm_layer(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    hx: Tensor,
    cx: Tensor,
    dtype: torch.dtype = torch.bfloat16,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer on x (T, B, I): y (T, B, H) in ``dtype``, hy and cy (B, H) in float32.

    bias (4H,) is the sum of torch's two biases.
    """
    H = hx.shape[1]
    inputs = x, _pad_gates(w_ih, H), _pad_gates(bias, H)
    return _apply_padded(_Dense, inputs, w_hh, hx, cx, dtype)


def lstm_symbols(
    symbols: Tensor,
    embedding: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    hx: Tensor,
    cx: Tensor,
    dtype: torch.dtype = torch.bfloat16,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the first layer on symbols (T, B) int64 with an embedding (V, E).

    The input product is computed once per symbol instead of once per position.
    """
    H = hx.shape[1]
    table = _pad_gates(torch.addmm(bias, embedding, w_ih.t()).t(), H).t()
    return _apply_padded(_Table, (table, symbols), w_hh, hx, cx, dtype)
