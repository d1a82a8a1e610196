"""The textbook loop of an LSTM, and layers compared with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Layer = tuple[Tensor, Tensor, Tensor]


def naive(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, hx: Tensor, cx: Tensor) -> Layer:
    """The textbook loop."""
    ys = []
    for step in x:
        i, f, g, o = (step @ w_ih.t() + hx @ w_hh.t() + bias).chunk(4, 1)
        cx = f.sigmoid() * cx + i.sigmoid() * g.tanh()
        hx = o.sigmoid() * cx.tanh()
        ys.append(hx)
    return torch.stack(ys), hx, cx


def tensors(T: int, B: int, H: int, width: int) -> list[Tensor]:
    torch.manual_seed(1)
    k = H**-0.5
    shapes = [(T, B, width), (4 * H, width), (4 * H, H), (4 * H,), (B, H), (B, H)]
    scales = [1.0, k, k, k, 0.5, 1.0]
    return [torch.randn(shape) * scale for shape, scale in zip(shapes, scales, strict=True)]


def outcome(layer: Callable[..., Layer], leaves: list[Tensor], kind: torch.dtype) -> list[Tensor]:
    """Outputs, then the gradients of a fixed weighting of all of them."""
    leaves = [leaf.detach().to(kind).requires_grad_() for leaf in leaves]
    outputs = layer(*leaves)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(out.shape, generator=generator) for out in outputs]
    total = sum((out.to(kind) * w.to(kind)).sum() for out, w in zip(outputs, weights, strict=True))
    assert isinstance(total, Tensor)
    return [*outputs, *torch.autograd.grad(total, leaves)]


def compare(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    for k, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert a.shape == b.shape
        error = (a.double() - b).norm() / b.norm()
        assert error < tolerance, f"tensor {k}: relative error {error:.2e}"
