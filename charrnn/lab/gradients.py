"""How far gradients flow back: the norm of ∂loss_t/∂h_{t−k} against the lag k."""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from charrnn.cells import step_layers
from charrnn.errors import CorpusError, counted
from charrnn.model.layers import prepared
from charrnn.model.namespace import TORCH
from charrnn.model.network import CharNetwork, RecurrentLayer
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids
from charrnn.training.hardware.device import own_torch_settings

LAGS = 100  # steps that gradients are followed back
WARM = 50  # characters that are read before, so that the state is that of a reader
STREAMS = 64  # places in the text
SHOWN = (0, 1, 2, 5, 10, 20, 50, 99)  # lags in tables


@dataclass(frozen=True)
class Curve:
    """How the gradient of one part of the state shrinks or grows with the lag.

    Attributes:
        network: a name for the network.
        stage: ``before`` or ``after`` training, or what was done to the network.
        part: the part of the state, such as ``h`` or ``c``; those of all layers count as one.
        norms: mean over the streams of ‖∂loss_t/∂part_{t−k}‖ for k = 0 … T − 1, ``(T,)``; 0 where
            the loss does not depend on it.

    """

    network: str
    stage: str
    part: str
    norms: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """The curve as JSON values; what is not finite is None."""
        norms = [float(n) if np.isfinite(n) else None for n in self.norms]
        return {"network": self.network, "stage": self.stage, "part": self.part, "norms": norms}


def passages(
    ids: Ids, *parts: tuple[Range, ...], lags: int = LAGS, unit: str = "character"
) -> NDArray[np.int64]:
    """Passages ``(B, WARM + lags + 1)`` of a text, evenly spread over a range of it.

    That is the longest range of the first of ``parts`` in which one is long enough. ``unit`` is
    what the symbols are called.

    Raises:
        CorpusError: none is.

    """
    least, longest = WARM + lags + 1, 0
    for ranges in parts:
        start, stop = max(ranges, key=lambda pair: pair[1] - pair[0], default=(0, 0))
        if stop - start >= least:
            starts = np.linspace(start, stop - least, STREAMS).astype(np.int64)
            places = starts[:, None] + np.arange(least)
            return np.asarray(np.asarray(ids)[places], np.int64)
        longest = max(longest, stop - start)
    raise CorpusError(f"a part of {counted(longest, unit)} is too short: {least} are needed")


def gradient_flow(
    network: CharNetwork, text: NDArray[np.int64], name: str, stage: str
) -> list[Curve]:
    """The curves of ``network`` on the passages ``text (B, WARM + T + 1)``.

    The loss is that of the last character of each passage, so that one backward pass gives the
    gradients of all lags. A part counts with all its influence: c_{t−k} of an LSTM through h_{t−k},
    too, and h_{t−k} through the upper layers.
    """
    with own_torch_settings():
        loss, states = _run(network, torch.from_numpy(text))
        parts = list(network.config.state_widths)
        followed = [n for n in range(len(parts)) if states[0][0][n].requires_grad]  # no clock
        # what a network reads of its own output is the same for all layers
        count = len(network.layers) if network.config.definition.after_head is None else 1
        wanted = [layer[n] for n in followed for state in states for layer in state[:count]]
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
    shape = len(followed), len(states), count
    gradients = np.array([None, *found], object)[1:].reshape(shape)  # None: no influence
    curves = []
    for row, n in zip(gradients, followed, strict=True):
        norms = np.array([_norm(layers) for layers in row[::-1]])
        curves.append(Curve(name, stage, parts[n], norms))
    return curves


def _norm(layers: NDArray[Any]) -> float:
    """The mean over the streams of the norm of a state's gradient, ``(B, width)`` each layer."""
    there = [g.double() for g in layers if g is not None]
    return float(torch.cat(there, 1).norm(dim=1).mean()) if there else 0.0


def _run(network: CharNetwork, text: Tensor) -> tuple[Tensor, list[tuple[Any, ...]]]:
    """The sum of the passages' last losses, and the state of all layers after each step."""
    cell, own = network.config.definition, network.head.weight.dtype
    with torch.no_grad():
        _, state = network(text[:, :WARM], network.zero_state(len(text)))
    layers = [prepared(cell, layer.weights, own) for layer in _layers(network)]
    states, logits = [], torch.empty(0)
    for now in text[:, WARM:-1].unbind(1):
        z = cell.project(TORCH, network.embedding(now), layers[0])
        sums = network.config.sum_layers
        features, state = step_layers(TORCH, cell, z, state, layers, sum_layers=sums)
        logits = F.linear(features, network.head.weight, network.head.bias)
        if cell.after_head is not None:
            state = cell.after_head(TORCH, logits, state)
        states.append(state)
    return F.cross_entropy(logits, text[:, -1], reduction="sum"), states


def _layers(network: CharNetwork) -> list[RecurrentLayer]:
    return [layer for layer in network.layers if isinstance(layer, RecurrentLayer)]


def with_gain(network: CharNetwork, gain: float) -> CharNetwork:
    """A copy of ``network`` whose recurrent weights are ``gain`` times as large."""
    larger = copy.deepcopy(network)
    with torch.no_grad():
        for layer in _layers(larger):
            for name in network.config.definition.recurrent:
                layer.weights[name].mul_(gain)
    return larger
