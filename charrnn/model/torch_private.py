"""All calls of torch's private functions, in one file to check when torch changes.

Their arguments are those of torch 2.11 to 2.13.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import _VF, Tensor


def fused_adamw(
    values: Tensor,
    grads: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    step: Tensor,
    skip: Tensor,
    lr: float | Tensor,
    beta1: float,
    beta2: float,
    weight_decay: float,
    eps: float = 1e-8,
) -> None:
    """One step of AdamW (Loshchilov & Hutter 2019) on vectors, in place, in one pass over memory.

    Args:
        values: the weights ``(n,)``.
        grads: their gradients ``(n,)``.
        exp_avg: running mean of the gradients ``(n,)``.
        exp_avg_sq: running mean of their squares ``(n,)``.
        step: the number of this step, from 1; 0-dim float32 on the same device.
        skip: 0-dim float32; unless it is 0, nothing changes (ignored on mps).
        lr: learning rate; a 0-dim tensor on the same device in a CUDA graph.
        beta1: decay of ``exp_avg``.
        beta2: decay of ``exp_avg_sq``.
        weight_decay: decoupled from the gradient.
        eps: added to the denominator.

    """
    torch._fused_adamw_(
        [values],
        [grads],
        [exp_avg],
        [exp_avg_sq],
        [],
        [step],
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=weight_decay,
        eps=eps,
        amsgrad=False,
        maximize=False,
        found_inf=skip,
    )


# torch's own recurrent layers: oneDNN on a CPU, cuDNN on a GPU
_LAYERS: dict[str, Any] = {
    "lstm": _VF.lstm,
    "gru": _VF.gru,
    "elman": _VF.rnn_tanh,
    "rnn-relu": _VF.rnn_relu,
    "irnn": _VF.rnn_relu,
}
RECURRENT_LAYERS = frozenset(_LAYERS)


def recurrent_layer(
    cell: str, x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor], training: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer of ``cell``, a name of ``RECURRENT_LAYERS``, over a window.

    Args:
        cell: the cell's name.
        x: ``(B, T, in)``.
        state: the parts of the state, ``(B, H)`` each.
        weights: ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``.
        training: whether gradients will be computed.

    Returns:
        Outputs ``(B, T, H)`` and the state after the window.

    """
    # with biases, one layer, dropout 0, not bidirectional, batch first
    settings = (True, 1, 0.0, training, False, True)
    parts = tuple(part[None] for part in state)
    y, *after = _LAYERS[cell](x, parts if cell == "lstm" else parts[0], weights, *settings)
    return y, tuple(part[0] for part in after)
