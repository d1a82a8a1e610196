"""The array functions of a cell's step (``charrnn.cells.Namespace``) in torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class TorchNamespace:
    """Computes products in the weights' type, everything else in the states' type."""

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """``x (..., in)`` times ``weight (out, in)`` transposed: ``(..., out)``."""
        return F.linear(x.to(weight.dtype), weight).to(x.dtype)

    def split(self, x: Tensor, parts: int) -> list[Tensor]:
        """``x`` split into ``parts`` equal pieces along its last axis."""
        return list(x.chunk(parts, dim=-1))

    def sigmoid(self, x: Tensor) -> Tensor:
        """1 / (1 + exp(-x))."""
        return torch.sigmoid(x)

    def tanh(self, x: Tensor) -> Tensor:
        """Hyperbolic tangent."""
        return torch.tanh(x)

    def relu(self, x: Tensor) -> Tensor:
        """max(x, 0)."""
        return torch.relu(x)

    def softmax(self, x: Tensor) -> Tensor:
        """exp(x) along the last axis, divided by its sum."""
        return torch.softmax(x, dim=-1)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


TORCH = TorchNamespace()
