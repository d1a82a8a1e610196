"""All weights in one vector, and all gradients in another.

Clipping, AdamW and averaging are then single passes over memory, and a checkpoint's optimizer state
is a handful of tensors for any number of layers.

Order: matrices first, in ``ModelConfig.shapes`` order, then biases; weight decay applies only to
the matrices.
"""

from __future__ import annotations

from torch import nn

LINE = 16  # numbers, at least a cache line: each vector begins with one


class FlatParameters:
    """``values (P,)`` and ``grads (P,)``; a network's parameters and their ``grad`` become views.

    ``decayed`` is the length of the first part, which weight decay applies to. ``to_reduce
    (P + 1,)`` is ``grads`` and behind them ``beside``, a number that is summed over processes with
    them. ``whole`` is what processes may average: ``values``, the vectors ``more (extra, P)``,
    zeros at first, which belong to them, and the two numbers ``told``.
    """

    def __init__(self, network: nn.Module, extra: int = 0) -> None:
        named = list(network.named_parameters())
        ordered = [p for _, p in named if p.dim() > 1] + [p for _, p in named if p.dim() <= 1]
        self.decayed = sum(p.numel() for p in ordered if p.dim() > 1)
        count = sum(p.numel() for p in ordered)
        length = -(-count // LINE) * LINE
        self.whole = ordered[0].detach().new_zeros((1 + extra) * length + 2)
        self.told = self.whole[-2:]
        vectors = self.whole[:-2].view(1 + extra, length)[:, :count]
        self.values, self.more = vectors[0], vectors[1:]
        self.to_reduce = self.values.new_zeros(count + 1)
        self.grads, self.beside = self.to_reduce[:-1], self.to_reduce[-1]
        start = 0
        for parameter in ordered:
            stop = start + parameter.numel()
            self.values[start:stop].copy_(parameter.detach().flatten())
            parameter.data = self.values[start:stop].view(parameter.shape)
            parameter.grad = self.grads[start:stop].view(parameter.shape)
            start = stop
