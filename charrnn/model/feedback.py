"""Networks that read their own output: all layers and the head step through time together.

Elsewhere a layer runs over a whole window before the next one begins. Here the first step of the
first layer needs the head's output of the step before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from charrnn.cells import Cell, States, step_layers
from charrnn.model.namespace import TORCH

Head = Callable[[Tensor], Tensor]


def run_network(
    cell: Cell,
    x: Tensor,
    states: States,
    layers: Sequence[SimpleNamespace],
    head: Head,
    *,
    masks: Sequence[Tensor | None],
    sum_layers: bool,
) -> tuple[Tensor, States]:
    """Run all layers and the head over a window.

    Args:
        cell: the cell of every layer, one that declares ``after_head``.
        x: the first layer's input ``(B, T, E)``.
        states: each layer's parts ``(B, width)``.
        layers: each layer's prepared weights.
        head: maps what the layers put out ``(B, features)`` to logits ``(B, V)``.
        masks: ``(B, features)`` for each layer, the dropout of its output; None: no dropout.
        sum_layers: whether the head reads the sum of all outputs, or only the last.

    Returns:
        Logits ``(B, T, V)``, and the state after the window.

    """
    assert cell.after_head is not None

    def between(layer: int, y: Tensor) -> Tensor:
        mask = masks[layer]
        return y if mask is None else y * mask

    rows = []
    for z in cell.project(TORCH, x, layers[0]).unbind(1):
        features, states = step_layers(
            TORCH, cell, z, states, layers, sum_layers=sum_layers, between=between
        )
        rows.append(head(features))
        states = cell.after_head(TORCH, rows[-1], states)
    return torch.stack(rows, 1), states
