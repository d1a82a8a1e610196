"""One time step of each cell, as the formulas read: the oracle of everything faster.

Every function takes ``x (B, in)``, ``hx (B, H)``, ``cx (B, H)`` (``(B, 0)`` where the cell carries
none) and a layer's weights, and hands back the new ``(hx, cx)``. Equations are those of
``torch.nn.LSTM``, ``GRU`` and ``RNN``, and so are the names and the order of the gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class LayerWeights(NamedTuple):
    """``weight_ih (G·H, in)``, ``weight_hh (G·H, H)``, ``bias_ih (G·H)``, ``bias_hh (G·H)``."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


Step = Callable[[Tensor, Tensor, Tensor, LayerWeights], tuple[Tensor, Tensor]]


def lstm_step(x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights) -> tuple[Tensor, Tensor]:
    """Hochreiter & Schmidhuber 1997 with forget gates (Gers et al. 2000)."""
    gates = x @ w.weight_ih.T + w.bias_ih + hx @ w.weight_hh.T + w.bias_hh  # (B, 4H)
    i, f, g, o = gates.chunk(4, dim=1)
    cx = torch.sigmoid(f) * cx + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cx), cx


def gru_step(x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights) -> tuple[Tensor, Tensor]:
    """Cho et al. 2014, the reset gate after the product as in cuDNN."""
    xr, xz, xn = (x @ w.weight_ih.T + w.bias_ih).chunk(3, dim=1)
    hr, hz, hn = (hx @ w.weight_hh.T + w.bias_hh).chunk(3, dim=1)
    r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    n = torch.tanh(xn + r * hn)
    return (1 - z) * n + z * hx, cx


def rnn_tanh_step(x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights) -> tuple[Tensor, Tensor]:
    """Elman 1990."""
    return torch.tanh(x @ w.weight_ih.T + w.bias_ih + hx @ w.weight_hh.T + w.bias_hh), cx


def rnn_relu_step(x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights) -> tuple[Tensor, Tensor]:
    """Elman's cell with a rectifier (Le, Jaitly & Hinton 2015)."""
    return torch.relu(x @ w.weight_ih.T + w.bias_ih + hx @ w.weight_hh.T + w.bias_hh), cx


STEPS: dict[str, Step] = {
    "lstm": lstm_step,
    "gru": gru_step,
    "rnn-tanh": rnn_tanh_step,
    "rnn-relu": rnn_relu_step,
}


def naive_layer(
    cell: str, x: Tensor, hx: Tensor, cx: Tensor, w: LayerWeights
) -> tuple[Tensor, Tensor, Tensor]:
    """A layer over a window, one step after the other.

    Args:
        cell: one of ``STEPS``.
        x: ``(B, T, in)``.
        hx: ``(B, H)``.
        cx: ``(B, H)`` or ``(B, 0)``.
        w: the layer's weights.

    Returns:
        Outputs ``(B, T, H)`` and the last ``hx`` and ``cx``.

    """
    step = STEPS[cell]
    outputs = []
    for x_t in x.unbind(1):
        hx, cx = step(x_t, hx, cx, w)
        outputs.append(hx)
    return torch.stack(outputs, 1), hx, cx
