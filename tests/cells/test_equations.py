"""Cells against their equations, written out once more as papers and lecture notes have them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.cells import elman, lstm
from charrnn.generation.numpy_engine import Engine, NumpyNamespace
from tests.support.networks import model, random_weights

Array = NDArray[np.float64]
XP: Any = NumpyNamespace(batched=True)  # computes in the type that it is given


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    y: Array = np.exp(x - x.max())
    y /= y.sum()
    return y


class Drawn:
    """Arrays drawn one after the other, as lecture notes draw them: NumPy's old generator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.RandomState(seed)

    def __call__(self, *shape: int) -> Array:
        return self.rng.randn(*shape)


def test_a_step_of_elmans_network_gives_the_numbers_of_the_notes() -> None:
    """Columns are streams there."""
    draw = Drawn(1)
    x, a = draw(3, 10), draw(5, 10)
    w_aa, w_ax, _, b_a = draw(5, 5), draw(5, 3), draw(2, 5), draw(5, 1)
    w = SimpleNamespace(weight_ih=w_ax, weight_hh=w_aa, bias_ih=b_a[:, 0], bias_hh=np.zeros(5))
    z = XP.linear(x.T, w.weight_ih) + w.bias_ih
    y, (h,) = elman.step_tanh(XP, z, (a.T,), w)
    assert (y == h).all()
    wanted = [0.59584544, 0.18141802, 0.61311866, 0.99808218, 0.85016201,
              0.99980978, -0.18887155, 0.99815551, 0.6531151, 0.82872037]  # fmt: skip
    np.testing.assert_allclose(h[:, 4], wanted, rtol=0, atol=5e-9)


def test_a_step_of_the_lstm_is_that_of_the_notes() -> None:
    """Their gates have a matrix each over [a, x]; ours are stacked, and apart for a and x."""
    draw, names = Drawn(1), ("f", "i", "o", "c")
    x, a, c = draw(3, 10), draw(5, 10), draw(5, 10)
    W, b = {}, {}
    for name in names:
        W[name], b[name] = draw(5, 8), draw(5, 1)
    both = np.concatenate([a, x])
    f, i, o = (sigmoid(W[name] @ both + b[name]) for name in "fio")
    candidate = np.tanh(W["c"] @ both + b["c"])
    c_next = f * c + i * candidate
    a_next = o * np.tanh(c_next)

    order = ("i", "f", "c", "o")  # torch's order
    w = SimpleNamespace(
        weight_ih=np.concatenate([W[name][:, 5:] for name in order]),
        weight_hh=np.concatenate([W[name][:, :5] for name in order]),
        bias_ih=np.concatenate([b[name][:, 0] for name in order]),
        bias_hh=np.zeros(20),
    )
    z = XP.linear(x.T, w.weight_ih) + w.bias_ih
    y, (h, cell) = lstm.step(XP, z, (a.T, c.T), w)
    assert (y == h).all()
    np.testing.assert_allclose(h.T, a_next, rtol=0, atol=1e-7)
    np.testing.assert_allclose(cell.T, c_next, rtol=0, atol=1e-7)


V, E, H, T = 7, 5, 8, 40


def stepped(which: str, **sizes: Any) -> tuple[Any, list[Array]]:
    """The network's weights as float64, and its logits over a text of ids 0 to V − 1."""
    config = model(which, V, embedding=E, hidden=H, **sizes)
    weights = {name: value * np.float32(0.7) for name, value in random_weights(config).items()}
    engine = Engine(config, weights)
    logits = [engine.step(np.array([t * t % V]))[0].astype(np.float64) for t in range(T)]
    return {name: value.astype(np.float64) for name, value in weights.items()}, logits


def test_jordans_network_reads_what_it_predicted() -> None:
    w, logits = stepped("jordan", layers=2, sum_layers=False)
    p = np.zeros(V)  # nothing was predicted before the text
    for t in range(T):
        y = w["embedding.weight"][t * t % V]
        for layer in ("layers.0.", "layers.1."):
            own = {name.removeprefix(layer): v for name, v in w.items() if name.startswith(layer)}
            bias = own["bias_ih"] + own["bias_hh"]
            y = np.tanh(own["weight_ih"] @ y + own["weight_hp"] @ p + bias)
        o = w["head.weight"] @ y + w["head.bias"]
        np.testing.assert_allclose(logits[t], o, rtol=0, atol=1e-5)
        p = softmax(o)


@pytest.mark.parametrize("which", ["scrn", "scrn, learned"])
def test_the_scrn_is_that_of_mikolov_et_al(which: str) -> None:
    w, logits = stepped(which, layers=1, sum_layers=False)
    A, B, P, R = (w[f"layers.0.weight_{name}"] for name in ("ih", "cx", "hc", "hh"))
    alpha = sigmoid(w["layers.0.decay"]) if which == "scrn, learned" else 0.95
    h, s = np.zeros(H), np.zeros(len(B))
    U, W = w["head.weight"][:, :H], w["head.weight"][:, H:]
    for t in range(T):
        x = w["embedding.weight"][t * t % V]
        s = (1 - alpha) * (B @ x) + alpha * s
        h = sigmoid(P @ s + A @ x + R @ h)
        o = U @ h + W @ s + w["head.bias"]
        np.testing.assert_allclose(logits[t], o, rtol=0, atol=1e-5)


@pytest.mark.parametrize("which", ["clockwork", "clockwork, uneven"])
def test_the_clockwork_rnn_is_that_of_koutnik_et_al(which: str) -> None:
    """Module by module: at its time, each reads itself and the slower ones, as they were."""
    periods = (1, 2, 4, 8) if which == "clockwork" else (2, 3, 7)
    w, logits = stepped(which, layers=1, sum_layers=False)
    first = [H * k // len(periods) for k in range(len(periods) + 1)]
    own = {name.removeprefix("layers.0."): value for name, value in w.items()}
    h = np.zeros(H)
    for t in range(T):
        x, before = w["embedding.weight"][t * t % V], h.copy()
        for k, period in enumerate(periods):
            if t % period:
                continue
            for unit in range(first[k], first[k + 1]):
                total = own["bias_ih"][unit] + own["bias_hh"][unit] + own["weight_ih"][unit] @ x
                for other in range(first[k], H):  # none that is faster
                    total += own["weight_hh"][unit, other] * before[other]
                h[unit] = np.tanh(total)
        o = w["head.weight"] @ h + w["head.bias"]
        np.testing.assert_allclose(logits[t], o, rtol=0, atol=1e-5)
