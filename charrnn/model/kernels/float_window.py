"""The float32 time loops of ``float_kernels`` for torch tensors; products are torch's own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.model.kernels import float_kernels as kernels
from charrnn.model.kernels.team import team
from charrnn.model.kernels.torch_window import input_gradient, input_product, weight_gradient

__all__ = [
    "backward_window",
    "forward_window",
    "input_gradient",
    "input_product",
    "weight_gradient",
]

# Bytes of W_hh above which a core keeps only its units' part (see ``amx_window``).
_SPLIT_BYTES = 1 << 20


class Saved(NamedTuple):
    """What the way back needs: activations (T, B, H/16, 4, 16), cells (T + 1, B, H)."""

    acts: Tensor
    cells: Tensor


def _run(entry: int | None, sizes: tuple[int, int, int], slots: list[Tensor | None]) -> None:
    T, B, H = sizes
    split = 16 * H * H > _SPLIT_BYTES
    size = max(1, min(torch.get_num_threads(), H // 32 if split else B // 4))
    scratch = torch.empty(size * kernels.SCRATCH_BYTES, dtype=torch.uint8)
    addresses = [0 if tensor is None else tensor.data_ptr() for tensor in [scratch, *slots]]
    team.run(entry, [T, B, H, int(split), *addresses], size)


def forward_window(
    xw: Tensor, rows: Tensor | None, w_hh: Tensor, bias: Tensor, hx: Tensor, cx: Tensor
) -> tuple[Tensor, Tensor, Saved]:
    """xw (T, B, 4H), or a table (V, 4H) with rows (T, B); bias (4H,); hx, cx (B, H).

    Returns y (T + 1, B, H) with y[0] = hx, the last cells and what to save.  H is a multiple of 32.
    """
    T, B = (xw if rows is None else rows).shape[:2]
    H = hx.shape[1]
    y, cells = torch.empty(T + 1, B, H), torch.empty(T + 1, B, H)
    acts = torch.empty(T, B, H // 16, 4, 16)
    y[0], cells[0] = hx, cx
    w = w_hh.view(4, H // 16, 16, H).permute(1, 3, 0, 2).contiguous()
    xw, bias = xw.contiguous(), bias.contiguous()
    rows = None if rows is None else rows.contiguous()
    _run(kernels.forward.address, (T, B, H), [w, xw, rows, bias, y, cells, acts])
    return y, cells[-1].clone(), Saved(acts, cells)


def backward_window(
    dy: Tensor, saved: Saved, w_hh: Tensor, dhy: Tensor, dcy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dgates (T, B, 4H), their sum (4H,), dhx, dcx (B, H), all float32."""
    T, B, H = dy.shape
    dy, dgates = dy.float().contiguous(), torch.empty(T, B, 4 * H)
    dhx, dcx = dhy.float().clone(), dcy.float().clone()
    dbias = torch.zeros(torch.get_num_threads(), 4 * H)
    w = w_hh.view(4 * H, H // 32, 32).permute(1, 0, 2).contiguous()
    slots: list[Tensor | None] = [w, dy, dgates, dbias, dhx, saved.cells, saved.acts, dcx]
    _run(kernels.backward.address, (T, B, H), slots)
    return dgates, dbias.sum(0), dhx, dcx
