"""The fast training path: a layer over a whole window through the best kernels there are.

On a CPU an LSTM runs through ``charrnn.model.kernels``; everything else through torch's own
layers. ``charrnn.model.cells.naive_layer`` is the oracle; tests hold them all together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import _VF, Tensor
from torch.nn import functional as F

from charrnn.model.cells import LayerWeights
from charrnn.model.kernels import fused_lstm
from charrnn.model.kernels.fused_lstm import compiled_window, lstm_layer, lstm_symbols

_TORCH_LAYERS: dict[str, Any] = {
    "lstm": _VF.lstm,
    "gru": _VF.gru,
    "rnn-tanh": _VF.rnn_tanh,
    "rnn-relu": _VF.rnn_relu,
}


def run_layer(
    cell: str, x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights, dtype: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor]:
    """A recurrent layer over a window.

    Args:
        cell: a cell's name.
        x: ``(B, T, in)``.
        hx: ``(B, H)``.
        cx: ``(B, H)``, or ``(B, 0)`` for a cell that carries none.
        w: the layer's weights.
        dtype: the type of the matrix products; None for the weights' own.

    Returns:
        Outputs ``(B, T, H)``, and ``hx`` and ``cx`` after the window in the types they came in.
    """
    compute = dtype or w.weight_hh.dtype
    if kernels(cell, x.device, compute) != "torch":
        return fused_layer(x, hx, cx, w, compute)
    return torch_layer(cell, x, hx, cx, w, dtype)


def run_first_layer(
    cell: str,
    ids: Tensor,
    embedding: Tensor,
    hx: Tensor,
    cx: Tensor,
    w: LayerWeights,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``run_layer`` on the rows ``ids (B, T)`` of ``embedding (V, E)``.

    Our kernels take the input product once a symbol instead of once a place.
    """
    compute = dtype or w.weight_hh.dtype
    if kernels(cell, ids.device, compute) != "torch":
        bias = w.bias_ih + w.bias_hh
        y, h, c = lstm_symbols(ids.T, embedding, w.weight_ih, w.weight_hh, bias, hx, cx, compute)
        return y.transpose(0, 1), h, c
    return run_layer(cell, F.embedding(ids, embedding), hx, cx, w, dtype)


def kernels(cell: str, device: torch.device, dtype: torch.dtype) -> str:
    """What runs a layer there in ``dtype``: our ``amx`` or ``avx512`` kernels, or ``torch``.

    They may have to be compiled, which takes seconds (``must_compile``).
    """
    window = compiled_window() if _is_ours(cell, device, dtype) else None
    return "torch" if window is None else window.UNIT


def must_compile(cell: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether ``kernels`` will take seconds, for the first time on this machine."""
    return _is_ours(cell, device, dtype) and fused_lstm.must_compile()


def _is_ours(cell: str, device: torch.device, dtype: torch.dtype) -> bool:
    return cell == "lstm" and device.type == "cpu" and dtype == torch.bfloat16


def fused_layer(
    x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """``run_layer`` for an LSTM by our own kernels, which run time first."""
    bias = w.bias_ih + w.bias_hh
    y, h, c = lstm_layer(x.transpose(0, 1), w.weight_ih, w.weight_hh, bias, hx, cx, dtype)
    return y.transpose(0, 1), h, c


def torch_layer(
    cell: str, x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights, dtype: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor]:
    """``run_layer`` by torch's own layer: oneDNN on a CPU, cuDNN on a GPU."""
    compute = dtype or w.weight_hh.dtype
    x, h, c = (t.to(compute) for t in (x, hx, cx))
    weights = one_after_another(w, compute) if x.is_cuda else [t.to(compute) for t in w]
    state = (h[None], c[None]) if cell == "lstm" else h[None]
    # has_biases, layers, dropout, training, bidirectional, batch_first
    settings = (True, 1, 0.0, torch.is_grad_enabled(), False, True)
    y, h, *rest = _TORCH_LAYERS[cell](x, state, weights, *settings)
    c = rest[0][0] if rest else cx
    return y, h[0].to(hx.dtype), c.to(cx.dtype)


def one_after_another(w: LayerWeights, dtype: torch.dtype) -> list[Tensor]:
    """``w`` in ``dtype`` in one piece of memory, in the order that cuDNN reads.

    Weights that lie elsewhere torch copies at every call, and warns.
    """
    flat = torch.cat([t.flatten() for t in w]).to(dtype)
    pieces = torch.split(flat, [t.numel() for t in w])
    return [piece.view(t.shape) for piece, t in zip(pieces, w, strict=True)]
