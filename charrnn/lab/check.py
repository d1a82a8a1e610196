"""Gradients by hand beside torch's and beside finite differences: ``check_gradients``."""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from charrnn.config import ModelConfig
from charrnn.errors import CharRNNError
from charrnn.insight.bptt import LAYER, Network, finite_differences
from charrnn.insight.derivatives import Gradients
from charrnn.model.network import CharNetwork, State, detached
from charrnn.training.hardware.device import own_torch_settings

TEXT = "All happy families are alike; every unhappy"
HIDDEN, EMBEDDING = 8, 5
NOISE = 0.1  # of the weights, in units of 1/√H
PLACES = 8  # of each weight that finite differences check
ALLOWED, ALLOWED_FD = 1e-8, 1e-4  # of the largest entry: autograd, and finite differences


@dataclass(frozen=True)
class Row:
    """A weight: its gradient by hand, and how far the two others are from it.

    Attributes:
        name: the name of the weight.
        shape: its shape.
        norm: of the gradient by hand.
        autograd: the largest difference from torch's, as a part of the largest entry of both.
        differences: the same for finite differences, at some places.

    """

    name: str
    shape: tuple[int, ...]
    norm: float
    autograd: float
    differences: float


@dataclass(frozen=True)
class Truncated:
    """Truncation to ``steps``: what the recurrent weights' gradient then is.

    Attributes:
        steps: how many steps each loss goes back, its own among them.
        lag_norm: the norm of what the last of these steps adds (G_k for k = steps − 1).
        norm: the norm of the sum.
        cosine: of the angle between the sum and the whole gradient.
        autograd: the largest difference from torch's, as a part of the largest entry of both.

    """

    steps: int
    lag_norm: float
    norm: float
    cosine: float
    autograd: float


@dataclass(frozen=True)
class Check:
    """What ``check_gradients`` found for one cell; ``T`` steps with a mean ``loss`` in nats."""

    cell: str
    T: int
    loss: float
    rows: tuple[Row, ...]
    truncated: tuple[Truncated, ...]

    @property
    def worst(self) -> tuple[float, float]:
        """The largest differences of all: from torch's gradients, and from finite differences."""
        autograd = [row.autograd for row in self.rows] + [t.autograd for t in self.truncated]
        return max(autograd), max(row.differences for row in self.rows)

    def verify(self) -> None:
        """Check that the gradients agree.

        Raises:
            CharRNNError: they do not.

        """
        for worst, allowed, whose in zip(
            self.worst, (ALLOWED, ALLOWED_FD), ("torch", "finite differences"), strict=True
        ):
            if not worst <= allowed:
                name, reason = self.cell, f"differ from those of {whose} by {worst:.1e}"
                raise CharRNNError(f"{name}: the gradients by hand {reason}, above {allowed:g}")

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return dataclasses.asdict(self)


def check_gradients(config: ModelConfig, ids: list[int], seed: int = 0) -> Check:
    """Compare the gradients by hand with torch's and with finite differences, in float64.

    Args:
        config: a network with one layer.
        ids: a short text of T + 1 characters; the loss is the sum over T steps.
        seed: seed of the weights: the cell's initial ones with some noise, because where an IRNN
            starts, at the corner of its rectifiers, nothing has a derivative.

    Raises:
        ConfigError: the network has several layers, or its cell no derivatives by hand.

    """
    with own_torch_settings():
        torch.set_num_threads(1)  # the networks are small
        return _checked(config, ids, seed)


def _checked(config: ModelConfig, ids: list[int], seed: int) -> Check:
    network = CharNetwork(config, seed).double()
    _disturb(network, seed)
    by_hand = Network(config, {n: p.detach().numpy().copy() for n, p in _named(network)})
    gradients, rng = by_hand.gradients(ids), np.random.default_rng(seed)
    autograd = _autograd(network, _whole(network, ids))
    rows = []
    for name, gradient in gradients.items():
        places = rng.permutation(gradient.size)[:PLACES].tolist()
        numeric = finite_differences(by_hand, ids, name, places)
        scale = float(np.abs(gradient).max())
        off = float(np.abs(gradient.reshape(-1)[places] - numeric).max())
        rows.append(
            Row(
                name,
                gradient.shape,
                float(np.linalg.norm(gradient)),
                _difference(gradient, autograd[name]),
                off / max(scale, 1e-12),
            )
        )
    truncated = _truncations(network, by_hand, ids)
    T = len(ids) - 1
    return Check(config.cell, T, by_hand.loss(ids) / T, tuple(rows), tuple(truncated))


def _disturb(network: CharNetwork, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
            parameter.add_(noise * (NOISE * network.config.hidden**-0.5))


def _truncations(network: CharNetwork, by_hand: Network, ids: list[int]) -> list[Truncated]:
    """Truncation to 1, 2, 4 … T steps."""
    T, names = len(ids) - 1, [LAYER + name for name in network.config.definition.recurrent]
    lags = [_joined(lag, names) for lag in by_hand.by_lag(ids)]
    sums = np.cumsum(lags, axis=0)  # (T, size): row K − 1 is truncation to K steps
    found = []
    for steps in [*(2**n for n in range(T.bit_length()) if 2**n < T), T]:
        torchs = _joined(_autograd(network, _apart(network, ids, steps)), names)
        part, whole = sums[steps - 1], sums[-1]
        norms = float(np.linalg.norm(part)), float(np.linalg.norm(whole))
        found.append(
            Truncated(
                steps,
                float(np.linalg.norm(lags[steps - 1])),
                norms[0],
                float(part @ whole) / max(norms[0] * norms[1], 1e-300),
                _difference(part, torchs),
            )
        )
    return found


def _whole(network: CharNetwork, ids: list[int]) -> Tensor:
    """The sum of all losses."""
    logits, _ = network(torch.tensor([ids[:-1]]), network.zero_state(1))
    return F.cross_entropy(logits[0], torch.tensor(ids[1:]), reduction="sum")


def _apart(network: CharNetwork, ids: list[int], steps: int) -> Tensor:
    """The sum of all losses, each of which goes back ``steps`` steps in a graph of its own."""
    states: list[State] = [network.zero_state(1)]  # before each step
    for now in ids[:-1]:
        states.append(detached(network(torch.tensor([[now]]), states[-1])[1]))
    losses = []
    for t in range(len(ids) - 1):
        first = max(t + 1 - steps, 0)
        logits, _ = network(torch.tensor([ids[first : t + 1]]), states[first])
        losses.append(F.cross_entropy(logits[0, -1], torch.tensor(ids[t + 1])))
    return torch.stack(losses).sum()


def _autograd(network: CharNetwork, loss: Tensor) -> Gradients:
    """The gradients of ``loss`` by torch."""
    network.zero_grad()
    torch.autograd.backward(loss)
    zeros = {name: np.zeros(tuple(p.shape)) for name, p in _named(network)}
    return zeros | {n: p.grad.numpy().copy() for n, p in _named(network) if p.grad is not None}


def _named(network: CharNetwork) -> list[tuple[str, torch.nn.Parameter]]:
    return list(network.named_parameters())


def _joined(gradients: Gradients, names: list[str]) -> NDArray[np.float64]:
    return np.concatenate([gradients[name].reshape(-1) for name in names])


def _difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """The largest difference, as a part of the largest entry."""
    scale = max(float(np.abs(ours).max()), float(np.abs(theirs).max()), 1e-12)
    return float(np.abs(ours - theirs).max()) / scale
