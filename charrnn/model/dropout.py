"""What training hides: units, inputs, recurrent weights, and gaps in the text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn import cells
from charrnn.model.layers import Parameters

LONGEST_GAP = 12  # characters


@dataclass
class Dropout:
    """Dropout for one window.

    ``rate`` applies to units between layers and before the head, ``input_rate`` to embedding units,
    ``weight_rate`` to recurrent weights.

    Units use variational dropout (Gal & Ghahramani 2016): one mask per window, the same at every
    time step. Weights use DropConnect (Wan et al. 2013) on W_hh, as in Merity et al. 2018. Masks
    are drawn from ``generator``, which the caller seeds for each training step, so that its state
    need not be saved. If several processes share a batch of ``streams``, each draws the masks of
    all streams and uses those of its own, which begin with number ``first``: so a stream's mask
    does not depend on the process that trains it. ``streams`` is 0 where there is one process.

    ``gap_rate`` is the part of the text that the backward layers of a bidirectional network do not
    see; there they read zeros in place of an embedding.
    """

    rate: float = 0.0
    input_rate: float = 0.0
    weight_rate: float = 0.0
    generator: torch.Generator | None = None
    gap_rate: float = 0.0
    first: int = 0
    streams: int = 0

    def gaps(self, x: Tensor) -> Tensor:
        """Which elements ``(B, T)`` of ids ``x (B, T)`` the backward layers do not see.

        About ``gap_rate`` of all, in gaps of 1 to ``LONGEST_GAP``; where two meet they are longer.
        """
        B, T = x.shape
        # a position is in no gap if none of those that could reach it begins: e^(−mean length · p)
        begins = -math.log1p(-self.gap_rate) / ((1 + LONGEST_GAP) / 2)
        draws = torch.rand((2, self.streams or B, T), generator=self.generator, device=x.device)
        draws = draws[:, self.first : self.first + B]
        lengths = 1 + (draws[1] * LONGEST_GAP).long().clamp_(max=LONGEST_GAP - 1)
        place = torch.arange(T, device=x.device)
        ends = torch.where(draws[0] < begins, place + lengths, 0)
        return torch.cummax(ends, dim=1).values > place

    def units(self, x: Tensor) -> Tensor:
        """``x (B, T, width)`` with some units of each stream dropped and the others scaled up."""
        return self._columns(x, self.rate)

    def inputs(self, x: Tensor) -> Tensor:
        """The same for embeddings ``x (B, T, E)``."""
        return self._columns(x, self.input_rate)

    def recurrent(self, cell: cells.Cell, weights: Parameters) -> Parameters:
        """``weights`` with some recurrent ones dropped and the others scaled up."""
        if self.weight_rate == 0:
            return weights
        dropped = {
            name: weights[name] * self._mask(weights[name].shape, self.weight_rate, weights[name])
            for name in cell.recurrent
        }
        return weights | dropped

    def _columns(self, x: Tensor, rate: float) -> Tensor:
        if rate == 0:
            return x
        B, _, width = x.shape
        masks = self._mask((self.streams or B, 1, width), rate, x)
        return x * masks[self.first : self.first + B]

    def _mask(self, shape: tuple[int, ...], rate: float, like: Tensor) -> Tensor:
        draws = self._draws(shape, like.device)
        dropped, fewer, low, high = _scales(rate, like.dtype)
        kept = (draws >= dropped - 2**15).to(like.dtype).mul_(high)
        if fewer:
            kept.sub_((draws >= 2**15 - fewer).to(like.dtype), alpha=high - low)
        return kept

    def _draws(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Random numbers from −2^15 to 2^15 − 1."""
        if device.type != "cpu":
            draws = torch.empty(shape, dtype=torch.int32, device=device)
            return draws.random_(-(2**15), 2**15, generator=self.generator)
        # a CPU draws numbers one after the other: each 64-bit number serves four elements
        count = math.prod(shape)
        numbers = torch.empty((count + 3) // 4, dtype=torch.int64)
        numbers.random_(-(2**63), None, generator=self.generator)
        return numbers.view(torch.int16)[:count].view(shape)


def _scales(rate: float, dtype: torch.dtype) -> tuple[int, int, float, float]:
    """How a mask with values of ``dtype`` drops its ``rate``, of 2^16 draws, and keeps the mean.

    The scale of what is kept is seldom a number of bfloat16: between 1 and 2 these are 2^-7 apart.
    So some elements get the next lower number and the others the next higher one.

    Returns:
        How many draws drop, how many of the others get the lower scale, and both scales.

    """
    dropped = min(round(rate * 2**16), 2**16 - 2)  # float16 has no scale of 2^16
    kept = 2**16 - dropped
    scale = torch.tensor(2**16 / kept, dtype=torch.float64)
    near = scale.to(dtype)
    below = near if near <= scale else torch.nextafter(near, torch.zeros_like(near))
    low = float(below)
    if low == float(scale) or dtype == torch.float32:
        return dropped, 0, float(near), float(near)
    high = float(torch.nextafter(below, torch.full_like(below, torch.inf)))
    return dropped, round((high * kept - 2**16) / (high - low)), low, high


NO_DROPOUT = Dropout()
