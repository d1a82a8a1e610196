"""The whole-window products of ``gemm_kernels`` for torch tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.model.kernels import gemm_kernels as kernels
from charrnn.model.kernels.amx import tile_config
from charrnn.model.kernels.team import team


def pack_columns(w: Tensor) -> Tensor:
    """B = w (K, N) as tiles (N/32, K/32, 2, 16, 16, 2) bfloat16."""
    K, N = w.shape
    half = w.to(torch.bfloat16).view(K // 32, 16, 2, N // 32, 2, 16)
    return half.permute(3, 0, 4, 1, 5, 2).contiguous()


def pack_rows(w: Tensor) -> Tensor:
    """B = w^T, for w (N, K), as tiles (N/32, K/32, 2, 16, 16, 2) bfloat16."""
    N, K = w.shape
    pairs = w.to(torch.bfloat16).contiguous().view(torch.int32).view(N // 32, 2, 16, K // 32, 16)
    tiles = pairs.permute(0, 3, 1, 4, 2).contiguous().view(torch.bfloat16)
    return tiles.view(N // 32, K // 32, 2, 16, 16, 2)


def _run(entry: int, scratch: int, M: int, N: int, K: int, a: Tensor, b: Tensor, ldb: int,
         out: Tensor, ranges: int) -> None:  # fmt: skip
    size = max(1, min(torch.get_num_threads(), ranges))
    work = torch.empty(size * scratch, dtype=torch.uint8)
    lda, ldo = a.stride(0) * 2, out.stride(0) * out.element_size()
    values = [M, N, K, tile_config().data_ptr(), work.data_ptr(), a.data_ptr(), lda, b.data_ptr()]
    team.run(entry, [*values, ldb, out.data_ptr(), ldo], size)


def product(a: Tensor, b: Tensor, N: int) -> Tensor:
    """a (M, K) bfloat16 with unit column stride @ packed B (K, N): (M, N) bfloat16."""
    M, K = a.shape
    out = torch.empty(M, N, dtype=torch.bfloat16)
    _run(kernels.rows.address, kernels.rows_scratch(N), M, N, K, a, b, 0, out, N // 32)
    return out


def gram(a: Tensor, b: Tensor) -> Tensor:
    """a (K, M)^T @ b (K, N) in bfloat16, summed in float32: (M, N) float32."""
    (K, M), N = a.shape, b.shape[1]
    out = torch.empty(M, N)
    entry, scratch = kernels.columns.address, kernels.COLUMNS_SCRATCH
    _run(entry, scratch, M, N, K, a, b, b.stride(0) * 2, out, M // 32)
    return out
