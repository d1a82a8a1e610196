"""Runs a recurrent layer over a whole window, by the fastest way available for its cell.

On a CPU an LSTM in bfloat16 runs in ``charrnn.model.kernels``, on some GPUs an LSTM of 16-bit
products, or without gradients, in ``charrnn.model.kernels.cuda``; cells for which torch has a layer
run in that layer; every other cell runs its readable step, which is also the test oracle of the
others.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.cells import Cell
from charrnn.model.kernels import fused_lstm
from charrnn.model.kernels.cuda import cluster_lstm, exact_lstm
from charrnn.model.kernels.fused_lstm import compiled_window, lstm_layer, lstm_symbols
from charrnn.model.namespace import TORCH
from charrnn.model.torch_private import RECURRENT_LAYERS, recurrent_layer

# a layer's parameters by name; the parts (B, width) of its state, in the order the cell declares
Parameters: TypeAlias = dict[str, Tensor]
LayerState: TypeAlias = tuple[Tensor, ...]

OUR_KERNELS = frozenset({"lstm"})  # the cells that ``charrnn.model.kernels`` supports
CPU_UNITS = frozenset({"amx", "avx512"})


def run_layer(
    cell: Cell, x: Tensor, state: LayerState, w: Parameters, dtype: torch.dtype | None
) -> tuple[Tensor, LayerState]:
    """Run a recurrent layer over a window.

    Args:
        cell: the layer's cell.
        x: ``(B, T, in)``.
        state: its parts, ``(B, width)`` each.
        w: the layer's parameters.
        dtype: the type of the matrix products; None for that of the weights.

    Returns:
        Outputs ``(B, T, output width)``, and the state after the window in its original types.

    """
    compute = dtype or _own_dtype(w)
    path = kernels(cell, state[0].shape[1], x.device, compute)
    if path == "readable":
        return readable_layer(cell, x, state, w, compute)
    if path == "torch":
        if _is_exact(cell, state, compute):
            (h, c), (weights, bias) = state, _weights_and_bias(w)
            y, h, c = exact_lstm.exact_layer(x.transpose(0, 1), *weights, bias, h, c)
            return y.transpose(0, 1), (h, c)
        return torch_layer(cell, x, state, w, compute)
    if path == "clusters":
        return cluster_layer(x, state, w, compute)
    return fused_layer(x, state, w, compute)


def run_first_layer(
    cell: Cell,
    ids: Tensor,
    embedding: Tensor,
    state: LayerState,
    w: Parameters,
    dtype: torch.dtype | None,
) -> tuple[Tensor, LayerState]:
    """``run_layer`` on the rows ``ids (B, T)`` of ``embedding (V, E)``.

    Our kernels compute the input product once per symbol instead of once per position.
    """
    compute = dtype or _own_dtype(w)
    is_exact = _is_exact(cell, state, compute)
    if not is_exact and kernels(cell, state[0].shape[1], ids.device, compute) not in CPU_UNITS:
        return run_layer(cell, F.embedding(ids, embedding), state, w, dtype)
    (h, c), (weights, bias) = state, _weights_and_bias(w)
    if is_exact:
        y, h, c = exact_lstm.exact_symbols(ids.T, embedding, *weights, bias, h, c)
    else:
        y, h, c = lstm_symbols(ids.T, embedding, *weights, bias, h, c, compute)
    return y.transpose(0, 1), (h, c)


def kernels(cell: Cell, hidden: int, device: torch.device, dtype: torch.dtype) -> str:
    """What runs a layer of ``hidden`` units of ``cell`` on ``device`` in ``dtype``.

    ``amx``, ``avx512`` or ``clusters`` for our kernels, ``torch`` for torch's own layer, or
    ``readable`` for the cell's step. Ours on a CPU may have to be compiled first, which takes
    seconds (``must_compile``).
    """
    if cell.name not in RECURRENT_LAYERS:
        return "readable"
    if cell.name in OUR_KERNELS and cluster_lstm.runs(hidden, dtype, device):
        return "clusters"
    window = compiled_window() if _is_ours(cell, device, dtype) else None
    return "torch" if window is None else window.UNIT


def _is_exact(cell: Cell, state: LayerState, dtype: torch.dtype) -> bool:
    """Whether a window without gradients runs in ``exact_lstm``."""
    if cell.name not in OUR_KERNELS or torch.is_grad_enabled():
        return False
    return exact_lstm.runs(state[0].shape[1], dtype, state[0].device)


def must_compile(cell: Cell, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether ``kernels`` will take seconds because it compiles for the first time here."""
    return _is_ours(cell, device, dtype) and fused_lstm.must_compile()


def _is_ours(cell: Cell, device: torch.device, dtype: torch.dtype) -> bool:
    return cell.name in OUR_KERNELS and device.type == "cpu" and dtype == torch.bfloat16


def _own_dtype(w: Parameters) -> torch.dtype:
    return next(iter(w.values())).dtype


def _weights_and_bias(w: Parameters) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """An LSTM's matrices, and the sum of its biases."""
    return (w["weight_ih"], w["weight_hh"]), w["bias_ih"] + w["bias_hh"]


def fused_layer(
    x: Tensor, state: LayerState, w: Parameters, dtype: torch.dtype
) -> tuple[Tensor, LayerState]:
    """``run_layer`` for an LSTM by our own kernels, whose tensors are time first."""
    (h, c), (weights, bias) = state, _weights_and_bias(w)
    y, h, c = lstm_layer(x.transpose(0, 1), *weights, bias, h, c, dtype)
    return y.transpose(0, 1), (h, c)


def cluster_layer(
    x: Tensor, state: LayerState, w: Parameters, dtype: torch.dtype
) -> tuple[Tensor, LayerState]:
    """``run_layer`` for an LSTM by our kernels for GPUs, whose tensors are time first."""
    (h, c), (weights, bias) = state, _weights_and_bias(w)
    y, h, c = cluster_lstm.lstm_layer(x.transpose(0, 1), *weights, bias, h, c, dtype)
    return y.transpose(0, 1), (h, c)


def torch_layer(
    cell: Cell, x: Tensor, state: LayerState, w: Parameters, dtype: torch.dtype
) -> tuple[Tensor, LayerState]:
    """``run_layer`` by torch's own layer: oneDNN on a CPU, cuDNN on a GPU."""
    weights = contiguous(w, dtype) if x.is_cuda else [t.to(dtype) for t in w.values()]
    before = tuple(part.to(dtype) for part in state)
    y, after = recurrent_layer(cell.name, x.to(dtype), before, weights, torch.is_grad_enabled())
    return y, tuple(part.to(own.dtype) for part, own in zip(after, state, strict=True))


def readable_layer(
    cell: Cell, x: Tensor, state: LayerState, w: Parameters, dtype: torch.dtype
) -> tuple[Tensor, LayerState]:
    """``run_layer`` by the cell's readable step, one time step after the other.

    The part that depends only on the input is computed for the whole window at once.
    """
    typed = prepared(cell, w, dtype)
    z = cell.project(TORCH, x.to(state[0].dtype), typed)  # (B, T, ...)
    outputs = []
    for z_t in z.unbind(1):
        y, state = cell.step(TORCH, z_t, state, typed)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def prepared(cell: Cell, w: Parameters, dtype: torch.dtype) -> SimpleNamespace:
    """What the steps of ``cell`` read in place of its parameters; matrices in ``dtype``."""
    own = cell.prepare(TORCH, SimpleNamespace(**w))
    typed = {name: _typed(t, dtype) for name, t in vars(own).items()}
    return SimpleNamespace(**typed)


def _typed(value: Any, dtype: torch.dtype) -> Any:
    matrix = isinstance(value, Tensor) and value.dim() == 2
    return value.to(dtype) if matrix else value


def contiguous(w: Parameters, dtype: torch.dtype) -> list[Tensor]:
    """``w`` in ``dtype`` in one block of memory, in the order in which cuDNN reads it.

    Otherwise torch copies the weights at every call, and warns.
    """
    flat = torch.cat([t.flatten() for t in w.values()]).to(dtype)
    pieces = torch.split(flat, [t.numel() for t in w.values()])
    return [piece.view(t.shape) for piece, t in zip(pieces, w.values(), strict=True)]
