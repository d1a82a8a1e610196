"""The head and its loss for a vocabulary of tens of thousands, some positions at a time.

A window of 64 × 100 positions has 128 million logits for 20,000 characters: half a gigabyte, and as
much again for each operation on them. Nothing of that is needed for long: the gradient of a
position's logits is their softmax, less 1 for the character that came.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LOGITS = 2**23  # numbers at a time, 32 MiB


def is_large(positions: int, vocab_size: int) -> bool:
    """Whether there are so many logits that they should not be in memory all at once."""
    return positions * vocab_size > 2 * LOGITS


def mean_loss(
    features: Tensor, weight: Tensor, bias: Tensor, y: Tensor, dtype: torch.dtype | None
) -> Tensor:
    """The mean loss in nats of ``y (n,)`` for ``features (n, width)``, as 0-dim tensor.

    It is ``F.cross_entropy(F.linear(features, weight, bias), y)`` with products in ``dtype`` (None:
    that of ``weight``) and the rest in the type of ``weight (V, width)``.
    """
    values = features, weight, bias, y, dtype or weight.dtype
    loss: Tensor = _MeanLoss.apply(*values)  # type: ignore[no-untyped-call]
    return loss


class _MeanLoss(torch.autograd.Function):
    """Works the gradients out together with the loss, and hands them on in ``backward``."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, y: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """The loss; see ``mean_loss``."""
        n, rows = len(y), max(1, LOGITS // len(weight))
        x, w, b = (t.to(dtype) for t in (features, weight, bias))
        grads = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        total = weight.new_zeros(())
        for begin in range(0, n, rows):
            here = slice(begin, begin + rows)
            some, targets = x[here], y[here, None]
            logits = F.linear(some, w, b).to(weight.dtype)  # (rows, V)
            scale = logits.logsumexp(1, keepdim=True)
            total += (scale - logits.gather(1, targets)).sum()
            slope = logits.sub_(scale).exp_()
            slope.scatter_add_(1, targets, -torch.ones_like(scale)).div_(n)
            grads[2].add_(slope.sum(0))
            slope = slope.to(dtype)
            grads[0][here] = slope @ w
            grads[1].add_(slope.T @ some)
        ctx.save_for_backward(*grads)
        return total / n

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of features, weight and bias."""
        return *(saved * grad for saved in ctx.saved_tensors), None, None
