"""How well a network predicts a part of a corpus: nats are summed in float64, and divided once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.generation.scoring import Score
from charrnn.model.network import State
from charrnn.text import lanes as lane_layout
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids
from charrnn.training.distributed import ALONE, World

WINDOW = 128
LANES = 64
LOGITS = 2**24  # numbers at a time, 64 MiB: a vocabulary may have 65,535 characters


class Predictor(Protocol):
    """Whatever predicts the next character, with a state that is passed in and handed back."""

    @property
    def vocab_size(self) -> int:
        """V."""
        ...

    def zero_state(self, B: int) -> State:
        """The state before a text."""
        ...

    def __call__(
        self, x: Tensor, state: State, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, State]:
        """``logits (B, T, V)`` for ids ``x (B, T)``, and the state after them."""
        ...


def evaluate(
    predictor: Predictor,
    ids: Ids,
    ranges: tuple[Range, ...],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    lanes: int = LANES,
    world: World = ALONE,
) -> Score:
    """Score ``ranges`` of ``ids (N,)``, each with a state that starts from zero.

    Long ranges are divided into lanes that are warmed up (``charrnn.text.lanes``), of which each
    process of ``world`` scores some. The log-softmax is float32, the sum float64. A training run is
    not affected: there are no gradients and no random numbers.

    Raises:
        Interrupted: a signal arrived.
        ValueError: the ranges are empty.

    """
    nats, chars = torch.zeros(1, dtype=torch.float64), 0
    for logits, targets in predictions(
        predictor, ids, ranges, device=device, dtype=dtype, lanes=lanes, world=world
    ):
        losses = F.cross_entropy(logits, targets, reduction="none")
        nats += losses.cpu().sum(dtype=torch.float64)
        chars += len(targets)
    nats, chars = summed(nats, chars, ranges, world)
    return Score(float(nats), chars)


def summed(nats: Tensor, chars: int, ranges: tuple[Range, ...], world: World) -> tuple[Tensor, int]:
    """``nats`` and ``chars``, summed over all processes.

    Every character of ``ranges`` counts once, but for the first of a text: nothing precedes it.
    """
    chars = int(world.all_reduce(torch.tensor(chars)))
    expected = sum(stop - max(start, 1) for start, stop in ranges)
    assert chars == expected, f"counted {chars} of {expected} characters"
    return world.all_reduce(nats), chars


@torch.no_grad()
def predictions(
    predictor: Predictor,
    ids: Ids,
    ranges: tuple[Range, ...],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    lanes: int = LANES,
    world: World = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits ``(n, V)`` float32 and the actual characters ``(n,)``, block by block.

    Lanes are sorted by length; this process takes every ``world.size``-th one.

    Raises:
        Interrupted: a signal arrived.
        ValueError: the ranges are empty.

    """
    layout = lane_layout.lay(ranges, lanes)
    if not layout:
        raise ValueError("nothing to evaluate: the ranges are empty")
    mine = slice(world.rank, None, world.size)
    state = predictor.zero_state(len(layout[mine]))
    window = max(1, min(WINDOW, LOGITS // (len(layout) * predictor.vocab_size)))
    for block in lane_layout.blocks(ids, layout, window):
        world.check_signals()
        if not layout[mine]:
            continue
        x, y = (torch.from_numpy(a[mine]).to(device) for a in (block.x, block.y))
        logits, state = predictor(x, state, dtype=dtype)
        kept = torch.from_numpy(np.flatnonzero(block.mask[mine])).to(device)
        yield logits.float().flatten(0, 1)[kept], y.flatten()[kept]
