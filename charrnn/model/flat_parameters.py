"""All weights in one vector, and all gradients in another.

Clipping, AdamW and averaging are then single passes over memory, and a checkpoint's optimizer state
is a handful of tensors for any number of layers.

Order: matrices first, in ``ModelConfig.shapes`` order, then biases; weight decay applies only to
the matrices.
"""

from __future__ import annotations

import torch
from torch import nn


class FlatParameters:
    """``values (P,)`` and ``grads (P,)``; a network's parameters and their ``grad`` become views.

    ``decayed`` is the length of the first part, which weight decay applies to. ``to_reduce
    (P + 1,)`` is ``grads`` and behind them ``beside``, a number that is summed over processes with
    them.
    """

    def __init__(self, network: nn.Module) -> None:
        named = list(network.named_parameters())
        ordered = [p for _, p in named if p.dim() > 1] + [p for _, p in named if p.dim() <= 1]
        self.decayed = sum(p.numel() for p in ordered if p.dim() > 1)
        self.values = torch.cat([p.detach().flatten() for p in ordered])
        self.to_reduce = self.values.new_zeros(len(self.values) + 1)
        self.grads, self.beside = self.to_reduce[:-1], self.to_reduce[-1]
        start = 0
        for parameter in ordered:
            stop = start + parameter.numel()
            parameter.data = self.values[start:stop].view(parameter.shape)
            parameter.grad = self.grads[start:stop].view(parameter.shape)
            start = stop
