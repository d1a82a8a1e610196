"""How well a bidirectional network names the characters of a corpus, each from both its sides.

The sum of these losses is the negative logarithm of a pseudo-likelihood (Besag 1975), not of the
probability of a text: each character is named by a network that has read all the others. It is much
lower than the loss of a network that reads in one direction, and cannot be compared with it.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.generation.scoring import Score
from charrnn.model.network import CharNetwork
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids
from charrnn.training.distributed import ALONE, World
from charrnn.training.hardware.device import exact_products

PIECE, SIDE = 512, 128  # characters that are named at once, and those read on each side of them
LANES = 32


@torch.no_grad()
def evaluate_both_sides(
    network: CharNetwork,
    ids: Ids,
    ranges: tuple[Range, ...],
    *,
    device: torch.device | None = None,
    world: World = ALONE,
) -> Score:
    """Score ``ranges`` of ``ids (N,)``: each character is named from those around it in its range.

    On each side at least ``SIDE`` characters are read, or all that there are. As for other
    networks, the character before a range is read, and the first one of the text is not counted.

    Raises:
        Interrupted: a signal arrived.

    """
    nats, chars = torch.zeros((), dtype=torch.float64), 0
    for lanes in _batches(_pieces(ranges)):
        world.check_signals()
        chars += sum(piece.stop - piece.start for piece in lanes)
        mine = lanes[world.rank :: world.size]
        if mine:
            nats += _nats(network, ids, mine, device)
    return Score(float(world.all_reduce(nats)), chars)


class _Piece:
    """Characters ``start`` to ``stop`` of a text, named from those between ``low`` and ``high``."""

    def __init__(self, start: int, stop: int, low: int, high: int) -> None:
        self.start, self.stop = start, stop
        self.low, self.high = max(low, start - SIDE), min(high, stop + SIDE)

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many characters are read before them, how many there are, and how many follow."""
        return self.start - self.low, self.stop - self.start, self.high - self.stop


def _pieces(ranges: tuple[Range, ...]) -> list[_Piece]:
    found: list[_Piece] = []
    for start, stop in ranges:
        first = max(start, 1)
        begins = range(first, stop, PIECE)
        found += [_Piece(b, min(b + PIECE, stop), first - 1, stop) for b in begins]
    return found


def _batches(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Pieces of one shape side by side, in an order that is the same on every process."""
    found: list[list[_Piece]] = []
    for _, group in groupby(sorted(pieces, key=lambda p: (p.shape, p.start)), lambda p: p.shape):
        alike = list(group)
        found += [alike[begin : begin + LANES] for begin in range(0, len(alike), LANES)]
    return found


def _nats(
    network: CharNetwork, ids: Ids, pieces: list[_Piece], device: torch.device | None
) -> Tensor:
    """The sum of the losses of ``pieces``, which have one shape."""
    before, count, _ = pieces[0].shape
    rows = np.stack([ids[piece.low : piece.high] for piece in pieces]).astype(np.int64)
    text = torch.from_numpy(rows).to(device)  # (K, before + count + after)
    x, y = text[:, :-1], text[:, 1:]
    here = slice(before - 1, before - 1 + count)  # x begins with a character that y lacks
    with exact_products():
        features, _ = network.around(x, y, network.zero_state(len(text)))
        logits = network.logits(features[:, here].flatten(0, 1))
        losses = F.cross_entropy(logits, y[:, here].flatten(), reduction="none")
    # mps has no float64
    return losses.cpu().sum(dtype=torch.float64)
