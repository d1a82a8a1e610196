"""The fast training path: a layer over a whole window through the best kernels there are.

``charrnn.model.cells.naive_layer`` is the oracle; tests hold the two together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import _VF, Tensor

from charrnn.model.cells import LayerWeights

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
    return torch_layer(cell, x, hx, cx, w, dtype)


def torch_layer(
    cell: str, x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights, dtype: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor]:
    """``run_layer`` by torch's own layer: oneDNN on a CPU, cuDNN on a GPU."""
    compute = dtype or w.weight_hh.dtype
    x, h, c, *weights = (t.to(compute) for t in (x, hx, cx, *w))
    state = (h[None], c[None]) if cell == "lstm" else h[None]
    # has_biases, layers, dropout, training, bidirectional, batch_first
    settings = (True, 1, 0.0, torch.is_grad_enabled(), False, True)
    y, h, *rest = _TORCH_LAYERS[cell](x, state, weights, *settings)
    c = rest[0][0] if rest else cx
    return y, h[0].to(hx.dtype), c.to(cx.dtype)
