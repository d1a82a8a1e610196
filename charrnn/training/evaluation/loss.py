"""How well a network predicts a part of a corpus: nats are summed in float64, and divided once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from charrnn.generation.scoring import Score
from charrnn.model.network import State
from charrnn.text import lanes as lane_layout
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids
from charrnn.training.distributed import ALONE, World

WINDOW = 128
LANES, GPU_LANES = 64, 128  # cuDNN's persistent kernels read at most 128 lanes
LOGITS = 2**24  # numbers at a time, 64 MiB: a vocabulary may have 65,535 characters


class Predictor(Protocol):
    """Whatever predicts the next character, with a state that is passed in and handed back."""

    @property
    def vocab_size(self) -> int:
        """V."""
        ...

    @property
    def cycle(self) -> int:
        """The number of characters after which its clocks repeat; 1 without clocks."""
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
    lanes: int | None = None,
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
    nats, chars = zeros(1, device), 0
    for logits, targets in predictions(
        predictor, ids, ranges, device=device, dtype=dtype, lanes=lanes, world=world
    ):
        nats += total(F.cross_entropy(logits, targets, reduction="none"))
        chars += len(targets)
    nats, chars = summed(nats, chars, ranges, world)
    return Score(float(nats), chars)


def zeros(count: int, device: torch.device | None) -> Tensor:
    """``count`` sums to begin with, float64, where ``total`` leaves its result."""
    on_gpu = device is not None and device.type == "cuda"
    return torch.zeros(count, dtype=torch.float64, device=device if on_gpu else None)


def total(losses: Tensor) -> Tensor:
    """The sum of ``losses`` in float64: on a GPU it stays there, since reading it would wait."""
    # mps has no float64
    return (losses if losses.is_cuda else losses.cpu()).sum(dtype=torch.float64)


def summed(nats: Tensor, chars: int, ranges: tuple[Range, ...], world: World) -> tuple[Tensor, int]:
    """``nats`` and ``chars``, summed over all processes, on the CPU.

    Every character of ``ranges`` counts once, but for the first of a text: nothing precedes it.
    """
    chars = int(world.all_reduce(torch.tensor(chars)))
    expected = sum(stop - max(start, 1) for start, stop in ranges)
    assert chars == expected, f"counted {chars} of {expected} characters"
    return world.all_reduce(nats.cpu()), chars


@torch.no_grad()
def predictions(
    predictor: Predictor,
    ids: Ids,
    ranges: tuple[Range, ...],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    lanes: int | None = None,
    world: World = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits ``(n, V)`` float32 and the actual characters ``(n,)``, block by block.

    Lanes (None: as many as suit the device) are sorted by length; this process takes every
    ``world.size``-th one.

    Raises:
        Interrupted: a signal arrived.
        ValueError: the ranges are empty.

    """
    on_gpu = device is not None and device.type == "cuda"
    lanes = lanes or (GPU_LANES if on_gpu else LANES)
    layout = lane_layout.lay(ranges, lanes, cycle=predictor.cycle)
    if not layout:
        raise ValueError("nothing to evaluate: the ranges are empty")
    mine = slice(world.rank, None, world.size)
    for group in lane_layout.groups(layout):
        state = predictor.zero_state(len(group[mine]))
        window = max(1, min(WINDOW, LOGITS // (len(group) * predictor.vocab_size)))
        for block in lane_layout.blocks(ids, group, window):
            world.check_signals()
            if not group[mine]:
                continue
            x, y = (_sent(values[mine], device) for values in (block.x, block.y))
            logits, state = predictor(x, state, dtype=dtype)
            kept = _sent(np.flatnonzero(block.mask[mine]), device)
            yield logits.float().flatten(0, 1)[kept], y.flatten()[kept]


def _sent(values: NDArray[np.int64], device: torch.device | None) -> Tensor:
    """``values`` as a tensor on ``device``; a GPU is not waited for."""
    tensor = torch.from_numpy(values)
    if device is not None and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
