"""Weight gradients on AMX tiles for torch tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.model.kernels import gemm_kernels as kernels
from charrnn.model.kernels.amx import tile_config
from charrnn.model.kernels.team import team


def gram(a: Tensor, b: Tensor) -> Tensor:
    """a (K, M)^T @ b (K, N) in bfloat16, summed in float32: (M, N) float32.

    M and N are multiples of 32, K is any number; columns lie side by side.
    """
    (K, M), N = a.shape, b.shape[1]
    out = torch.empty(M, N)
    size = max(1, min(torch.get_num_threads(), M // 32))
    work = torch.empty(size * kernels.SCRATCH_BYTES, dtype=torch.uint8)
    matrices = [a.data_ptr(), a.stride(0) * 2, b.data_ptr(), b.stride(0) * 2, out.data_ptr(), N * 4]
    sizes = [M, N, K, tile_config().data_ptr(), work.data_ptr()]
    team.run(kernels.columns.address, [*sizes, *matrices], size)
    return out
