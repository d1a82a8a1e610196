"""The bfloat16 time loops on tiles, for torch tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.model.kernels import lstm_kernels as kernels
from charrnn.model.kernels.amx import tile_config
from charrnn.model.kernels.packing import pack_backward, pack_forward
from charrnn.model.kernels.team import team
from charrnn.model.kernels.tile_products import (
    input_gradient,
    input_product,
    sums_by_symbol,
    weight_gradient,
)
from charrnn.model.kernels.units import matrix_unit

__all__ = [
    "backward_window",
    "forward_window",
    "input_gradient",
    "input_product",
    "sums_by_symbol",
    "weight_gradient",
]

UNIT: str = matrix_unit().__name__.rpartition(".")[2]


class Saved(NamedTuple):
    """What backward needs: activations (T, B, H/16, 4, 16), cells (T + 1, B, H), bfloat16."""

    acts: Tensor
    cells: Tensor


def _team_size(split: bool, B: int, H: int) -> int:
    threads = torch.get_num_threads()
    return max(1, min(threads, H // 32 if split else B // 8))


def _run(
    entry: int | None, w: Tensor, sizes: tuple[int, int, int], slots: list[Tensor | None]
) -> int:
    T, B, H = sizes
    split = 8 * H * H > matrix_unit().SPLIT_ABOVE
    size = _team_size(split, B, H)
    scratch = torch.empty(size * kernels.SCRATCH_BYTES, dtype=torch.uint8)
    # two packed states, in whole blocks of 16 rows for every thread; see lstm_kernels
    packed = torch.empty(2 * (B // 16 + size) * (H // 8) * 1024, dtype=torch.uint8)
    tensors: list[Tensor | None] = [tile_config(), scratch, w, packed, *slots]
    addresses = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
    team.run(entry, [T, B, H, int(split), *addresses], size)
    return size


def forward_window(
    xw: Tensor, rows: Tensor | None, w_hh: Tensor, bias: Tensor, hx: Tensor, cx: Tensor
) -> tuple[Tensor, Tensor, Saved]:
    """Run a layer forward; H is a multiple of 32.

    xw is (T, B, 4H) bfloat16, or a table (V, 4H) indexed by rows (T, B); bias (4H,) is added; hx
    and cx are (B, H) float32.

    Returns y (T + 1, B, H) bfloat16 with y[0] = hx, the last cells (B, H) float32, and what
    ``backward_window`` needs.
    """
    T, B = (xw if rows is None else rows).shape[:2]
    H = hx.shape[1]
    y = torch.empty(T + 1, B, H, dtype=torch.bfloat16)
    cells, carry = torch.empty(T + 1, B, H, dtype=torch.bfloat16), cx.float().clone()
    acts = torch.empty(T, B, H // 16, 4, 16, dtype=torch.bfloat16)
    cells[0] = cx
    w = pack_forward(w_hh.view(4, H, H))
    xw, hx, bias = xw.contiguous(), hx.contiguous(), bias.contiguous()
    rows = None if rows is None else rows.contiguous()
    _run(kernels.forward.address, w, (T, B, H), [xw, rows, hx, bias, y, cells, acts, carry])
    return y, carry, Saved(acts, cells)


def backward_window(
    dy: Tensor, saved: Saved, w_hh: Tensor, dhy: Tensor, dcy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run a layer backward: dgates (T, B, 4H) bfloat16, their sum (4H,), dhx and dcx (B, H)."""
    T, B, H = dy.shape
    dy = dy.to(torch.bfloat16).contiguous()
    dgates = torch.empty(T, B, 4 * H, dtype=torch.bfloat16)
    dhx, dcx = dhy.float().clone(), dcy.float().clone()
    dbias = torch.zeros(torch.get_num_threads(), 4 * H)
    w = pack_backward(w_hh.view(4, H, H))
    slots: list[Tensor | None] = [dy, dgates, dbias, dhx, None, saved.cells, saved.acts, dcx]
    _run(kernels.backward.address, w, (T, B, H), slots)
    return dgates, dbias.sum(0), dhx, dcx
