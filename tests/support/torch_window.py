"""The time loops of an LSTM layer with torch operators alone, in place of the compiled ones.

With it the tests of what surrounds the loops run on every machine, in float32 and bfloat16.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Saved(NamedTuple):
    """What the way back needs: activations (T, B, 4H), cells (T + 1, B, H), tanh(c) (T, B, H)."""

    acts: Tensor
    cells: Tensor
    tanh_cells: Tensor


def forward_window(
    xw: Tensor, rows: Tensor | None, w_hh: Tensor, bias: Tensor, hx: Tensor, cx: Tensor
) -> tuple[Tensor, Tensor, Saved]:
    """xw (T, B, 4H), or a table (V, 4H) with rows (T, B); returns y (T + 1, B, H) with
    y[0] = hx, the last cells and what to save.
    """
    acts = (xw + bias.to(xw.dtype))[rows] if rows is not None else xw + bias.to(xw.dtype)
    T, B, _ = acts.shape
    H = hx.shape[1]
    y, w = acts.new_empty(T + 1, B, H), w_hh.to(acts.dtype).t()
    cells = torch.empty(T + 1, B, H)
    tanh_cells = torch.empty_like(cells[1:])
    y[0], cells[0] = hx, cx
    for t in range(T):
        z = acts[t]
        torch.addmm(z, y[t], w, out=z)
        z[:, : 2 * H].sigmoid_()
        z[:, 3 * H :].sigmoid_()
        i, f, g, o = torch.split(z, H, 1)
        g.tanh_()
        torch.mul(f, cells[t], out=cells[t + 1])
        cells[t + 1].addcmul_(i, g)
        torch.tanh(cells[t + 1], out=tanh_cells[t])
        torch.mul(o, tanh_cells[t], out=y[t + 1])
    return y, cells[-1].clone(), Saved(acts, cells, tanh_cells)


def backward_window(
    dy: Tensor, saved: Saved, w_hh: Tensor, dhy: Tensor, dcy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dgates (T, B, 4H), their sum (4H,), dhx, dcx (B, H) from dy (T, B, H) and the end's."""
    acts, cells, tanh_cells = saved
    T, B, G = acts.shape
    H = G // 4
    dgates, w = torch.empty_like(acts), w_hh.to(acts.dtype)
    i, f, g, o = torch.split(acts, H, 2)
    # All products that do not hang on the recurrence, for the whole window at once.
    into_c = o * (1 - tanh_cells * tanh_cells)
    slopes = torch.cat([g * i * (1 - i), cells[:-1] * f * (1 - f), i * (1 - g * g)], 2)
    slope_o = tanh_cells * o * (1 - o)
    dc, dh, work = dcy.float().clone(), dhy.to(acts.dtype), torch.empty(B, H)
    for t in range(T - 1, -1, -1):
        torch.add(dh, dy[t], out=work)
        dc.addcmul_(work, into_c[t])
        d = dgates[t].view(B, 4, H)
        torch.mul(dc.unsqueeze(1), slopes[t].view(B, 3, H), out=d[:, :3])
        torch.mul(work, slope_o[t], out=d[:, 3])
        dc.mul_(f[t])
        dh = torch.mm(dgates[t], w)
    return dgates, dgates.sum((0, 1), dtype=torch.float32), dh.float(), dc


def input_product(x: Tensor, w: Tensor) -> Tensor:
    """x (N, I) @ w (4H, I)^T."""
    return torch.mm(x, w.to(x.dtype).t())


def input_gradient(dgates: Tensor, w: Tensor) -> Tensor:
    """dgates (N, 4H) @ w (4H, I)."""
    return torch.mm(dgates, w.to(dgates.dtype))


def weight_gradient(dgates: Tensor, x: Tensor) -> Tensor:
    """dgates (N, 4H)^T @ x (N, I) as float32."""
    return torch.mm(dgates.t(), x).float()


def sums_by_symbol(dgates: Tensor, rows: Tensor, symbols: int) -> Tensor:
    """The rows of dgates (N, 4H) of each symbol in rows (N,) together: (symbols, 4H) float32."""
    sums = torch.zeros(symbols, dgates.shape[1], dtype=torch.float64)
    return sums.index_add_(0, rows, dgates.double()).float()
