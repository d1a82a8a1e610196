"""Products and sums over a whole window in bfloat16, by torch or on tiles, for torch tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.model.kernels import gemm_kernels as kernels
from charrnn.model.kernels.amx import tile_config
from charrnn.model.kernels.symbol_kernels import sum_by_symbol
from charrnn.model.kernels.team import team


def transposed_product(a: Tensor, b: Tensor) -> Tensor:
    """a (K, M)^T @ b (K, N) in bfloat16, summed in float32: (M, N) float32.

    M and N are multiples of 32, K is any number; rows are contiguous.
    """
    (K, M), N = a.shape, b.shape[1]
    out = torch.empty(M, N)
    size = max(1, min(torch.get_num_threads(), M // 32))
    work = torch.empty(size * kernels.SCRATCH_BYTES, dtype=torch.uint8)
    matrices = [a.data_ptr(), a.stride(0) * 2, b.data_ptr(), b.stride(0) * 2, out.data_ptr(), N * 4]
    sizes = [M, N, K, tile_config().data_ptr(), work.data_ptr()]
    team.run(kernels.transposed_product.address, [*sizes, *matrices], size)
    return out


def input_product(x: Tensor, w: Tensor) -> Tensor:
    """x (N, I) @ w (4H, I)^T."""
    return torch.mm(x, w.to(x.dtype).t())


def input_gradient(dgates: Tensor, w: Tensor) -> Tensor:
    """dgates (N, 4H) @ w (4H, I)."""
    return torch.mm(dgates, w.to(dgates.dtype))


def weight_gradient(dgates: Tensor, x: Tensor) -> Tensor:
    """dgates (N, 4H)^T @ x (N, I) as float32; rounded to bfloat16 unless 32 divides I."""
    if x.shape[1] % 32 or x.stride(1) != 1:
        return torch.mm(dgates.t(), x).float()
    return transposed_product(dgates, x)


def sums_by_symbol(dgates: Tensor, rows: Tensor, symbols: int) -> Tensor:
    """The sum of the rows of dgates (N, 4H) for every symbol: (symbols, 4H) float32.

    rows (N,) int64 holds each row's symbol, below ``symbols``; 4H is a multiple of 16.
    """
    dgates, rows = dgates.contiguous(), rows.contiguous()
    N, width = dgates.shape
    out = torch.zeros(symbols, width)
    values = [width, N, dgates.data_ptr(), rows.data_ptr(), out.data_ptr()]
    team.run(sum_by_symbol.address, values, max(1, min(torch.get_num_threads(), width // 16)))
    return out
