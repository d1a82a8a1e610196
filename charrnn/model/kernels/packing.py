"""Recurrent weights as B tiles: 16 rows of 16 pairs of bfloat16, rows 2p and 2p + 1 side by side.

Both ``amx`` and ``avx512`` read this layout.
"""

from __future__ import annotations

import torch


def pack_forward(w_hh: torch.Tensor) -> torch.Tensor:
    """W_hh (4, H, K) as B tiles of ``h @ W_hh^T``: (H/16, 2, K/32, 2, 16, 16, 2) bfloat16.

    The unit block comes first, then the gate pair (i, f / g, o), the K tile and the gate.
    """
    _, H, K = w_hh.shape
    pairs = w_hh.to(torch.bfloat16).contiguous().view(torch.int32)
    tiles = pairs.view(2, 2, H // 16, 16, K // 32, 16)
    packed = tiles.permute(2, 0, 4, 1, 5, 3).contiguous()
    return packed.view(torch.bfloat16)


def pack_backward(w_hh: torch.Tensor) -> torch.Tensor:
    """W_hh (4, H, K) as B tiles of ``dgates @ W_hh``: (K/32, H/16 * 2, 2, 16, 16, 2) bfloat16.

    The contraction runs over unit blocks, gate pairs, gates, units: the order in which the
    backward kernel writes a block's gate gradients as whole cache lines.
    """
    _, H, K = w_hh.shape
    half = w_hh.to(torch.bfloat16).view(2, 2, H // 16, 8, 2, K // 32, 2, 16)
    # [gate pair, gate, block, p, q, unit pair, unit block of the pair, unit]
    packed = half.permute(5, 2, 0, 6, 1, 3, 7, 4).contiguous()
    return packed.view(K // 32, H // 8, 2, 16, 16, 2)
