"""The functions of torch that are not public: all in one file, to look at when torch changes.

They are called here with the arguments that torch 2.11 to 2.13 take.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fused_adamw(
    values: Tensor,
    grads: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    step: Tensor,
    skip: Tensor,
    lr: float,
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
        skip: 0-dim float32; where it is not 0 nothing changes (ignored on mps).
        lr: learning rate.
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
