"""Back-propagation through time by hand, in plain NumPy, for a network with one recurrent layer.

For a text of T + 1 characters, with x_t the embedding of character t and V, c the head:

    h_t = cell(x_t, h_{t−1})                  forward, t = 1 … T; the cell's equations
    o_t = V h_t + c,   p_t = softmax(o_t)
    L_t = −log p_t[next character]            the loss of step t;   L = Σ_t L_t

    ∂L_t/∂o_t = p_t − onehot(next)            backward
    ∂L/∂V = Σ_t ∂L_t/∂o_t h_tᵀ,   ∂L/∂c = Σ_t ∂L_t/∂o_t
    ∂L/∂h_t = Vᵀ ∂L_t/∂o_t + (∂h_{t+1}/∂h_t)ᵀ ∂L/∂h_{t+1}
    ∂L/∂θ = Σ_t (∂h_t/∂θ)ᵀ ∂L/∂h_t            each step adds its own part

``gradients`` walks back once. ``by_lag`` keeps apart the two sums that are in the last line: the
loss of step t goes back to step t − k for each lag k = 0 … t, and

    ∂L/∂θ = Σ_k G_k,   G_k = Σ_t (∂h_{t−k}/∂θ)ᵀ ∂L_t/∂h_{t−k}

Truncation to K steps omits all G_k with k ≥ K. How fast G_k shrinks with k says how far back
a network can learn. The derivatives of each cell are in ``charrnn.insight.derivatives``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.generation.numpy_engine import NumpyNamespace
from charrnn.insight.derivatives import RULES, Gradients, State, Values, Vector, completed
from charrnn.settings import check

LAYER = "layers.0."
XP = NumpyNamespace(batched=True)  # computes in the type that it is given


@dataclass(frozen=True)
class Step:
    """One step forward: the cell's ``values``, the head's ``o (V,)`` and ``p (V,)``, the loss."""

    values: Values
    o: Vector
    p: Vector
    loss: float


class Network:
    """A network with one recurrent layer, and its gradients by hand, in float64.

    Args:
        config: its shape.
        weights: its weights by the names of ``config.shapes()``.

    Raises:
        ConfigError: it has several layers, or its cell has no rules in ``derivatives``.

    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, NDArray[np.floating]]) -> None:
        check(config.layers == 1, "layers", config.layers, "1: the rules by hand know one layer")
        self.cell = config.definition
        if self.cell.name not in RULES:
            known = ", ".join(RULES)
            reason = f"is {config.cell!r}, which has no derivatives by hand: choose from {known}"
            raise ConfigError(reason, setting="cell")
        self.config, self.rules = config, RULES[self.cell.name]
        self.weights = {name: np.asarray(w, np.float64) for name, w in weights.items()}
        self.reads_output = self.cell.after_head is not None  # p is the state (Jordan)

    @property
    def layer(self) -> SimpleNamespace:
        """The layer's weights as the rules read them."""
        own = {n.removeprefix(LAYER): w for n, w in self.weights.items() if n.startswith(LAYER)}
        return completed(self.cell.name, self.cell.prepare(XP, SimpleNamespace(**own)))  # type: ignore[no-any-return]

    def forward(self, ids: Sequence[int]) -> list[Step]:
        """Every step over a text of T + 1 ``ids``, from the zero state: T steps."""
        w, steps = self.layer, []
        state: State = tuple(np.zeros(n) for n in self.config.state_widths.values())
        for now, following in itertools.pairwise(ids):
            x = self.weights["embedding.weight"][now]
            values = self.rules.forward(w, x, state)
            o = self.weights["head.weight"] @ values.y + self.weights["head.bias"]
            log_p = o - o.max() - np.log(np.exp(o - o.max()).sum())
            p = np.exp(log_p)
            state = (p,) if self.reads_output else values.state
            steps.append(Step(values, o, p, float(-log_p[following])))
        return steps

    def loss(self, ids: Sequence[int]) -> float:
        """L, the sum of the losses of all steps, in nats."""
        return sum(step.loss for step in self.forward(ids))

    def gradients(self, ids: Sequence[int]) -> Gradients:
        """∂L/∂θ for every weight θ, in one walk back through time."""
        steps, w = self.forward(ids), self.layer
        total = self._zeros()
        d_state = self._no_state()
        for t in range(len(steps) - 1, -1, -1):
            d_o = self._d_o(steps[t], ids[t + 1])
            parts, d_state = self._back(w, steps[t], ids[t], d_o, d_state)
            _add(total, parts)
        return total

    def by_lag(self, ids: Sequence[int]) -> list[Gradients]:
        """G_0 … G_{T−1}: what the losses owe to the steps k before them. Their sum is ∂L/∂θ."""
        steps, w = self.forward(ids), self.layer
        lags = [self._zeros() for _ in steps]
        for t in range(len(steps)):
            d_state, d_o = self._no_state(), self._d_o(steps[t], ids[t + 1])
            for k in range(t + 1):
                parts, d_state = self._back(w, steps[t - k], ids[t - k], d_o, d_state)
                _add(lags[k], parts)
                d_o = np.zeros_like(d_o)  # the losses of earlier steps are not this one
        return lags

    def truncated(self, ids: Sequence[int], steps: int) -> Gradients:
        """∂L/∂θ if each loss goes back ``steps`` steps, its own among them: Σ_{k < steps} G_k."""
        total = self._zeros()
        for lag in self.by_lag(ids)[:steps]:
            _add(total, lag)
        return total

    def _d_o(self, step: Step, following: int) -> Vector:
        """∂L_t/∂o_t = p_t − onehot(next character)."""
        d_o = step.p.copy()
        d_o[following] -= 1
        return d_o

    def _back(
        self, w: SimpleNamespace, step: Step, now: int, d_o: Vector, d_state: State
    ) -> tuple[Gradients, State]:
        """One step back: its part of the gradients, and ∂L/∂ of the state before it."""
        if self.reads_output:  # p goes to the next step, too: through the softmax's derivative
            (d_p,) = d_state
            d_o, d_state = d_o + step.p * (d_p - step.p @ d_p), self._no_state()
        d_y = self.weights["head.weight"].T @ d_o
        own, d_x, d_before = self.rules.backward(w, step.values, d_y, d_state)
        d_embedding = np.zeros_like(self.weights["embedding.weight"])
        d_embedding[now] = d_x
        head = {"head.weight": np.outer(d_o, step.values.y), "head.bias": d_o}
        layer = {LAYER + name: gradient for name, gradient in own.items()}
        return {"embedding.weight": d_embedding} | layer | head, d_before

    def _zeros(self) -> Gradients:
        return {name: np.zeros_like(w) for name, w in self.weights.items()}

    def _no_state(self) -> State:
        return tuple(np.zeros(width) for width in self.config.state_widths.values())


def _add(total: Gradients, parts: Gradients) -> None:
    for name, part in parts.items():
        total[name] += part


def finite_differences(
    network: Network, ids: Sequence[int], name: str, places: Sequence[int], width: float = 1e-5
) -> Vector:
    """(L(θ + ε) − L(θ − ε)) / 2ε at ``places`` of the flattened weight ``name``."""
    flat = network.weights[name].reshape(-1)
    slopes = []
    for place in places:
        kept = flat[place]
        ends = []
        for moved in (kept + width, kept - width):
            flat[place] = moved
            ends.append(network.loss(ids))
        flat[place] = kept
        slopes.append((ends[0] - ends[1]) / (2 * width))
    return np.array(slopes)
