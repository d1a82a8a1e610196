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

    ``decayed`` is the length of the first part, which weight decay applies to.
    """

    def __init__(self, network: nn.Module) -> None:
        named = list(network.named_parameters())
        ordered = [p for _, p in named if p.dim() > 1] + [p for _, p in named if p.dim() <= 1]
        self.decayed = sum(p.numel() for p in ordered if p.dim() > 1)
        self.values = torch.cat([p.detach().flatten() for p in ordered])
        self.grads = torch.zeros_like(self.values)
        start = 0
        for parameter in ordered:
            stop = start + parameter.numel()
            parameter.data = self.values[start:stop].view(parameter.shape)
            parameter.grad = self.grads[start:stop].view(parameter.shape)
            start = stop
