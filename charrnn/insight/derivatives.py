"""One time step of each cell, forward and backward, derived by hand.

Everything is a vector (one text, no batch) or a matrix, in float64, so that each line is an
equation of the notes. ``x`` is the layer's input, ``h_before`` its output of the step before, ``h``
that of this one; ``a`` is what a function is applied to, as in h = tanh(a). ``d_h`` is ∂L/∂h, and
likewise for the others. The parameters have the names that they have in the cell's file in
``charrnn/cells``.

A step forward returns every intermediate value by name; the step backward reads them. The loop over
time, and the head, are in ``charrnn.insight.bptt``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]
Values: TypeAlias = SimpleNamespace  # what a step computed, by the names of the equations
State: TypeAlias = tuple[Vector, ...]
Gradients: TypeAlias = dict[str, NDArray[np.float64]]  # of a layer's parameters, by their names
# the gradients of the parameters, of the input, and of the state before the step
Backward: TypeAlias = tuple[Gradients, Vector, State]


@dataclass(frozen=True)
class Rules:
    """One step of a cell and its derivative.

    Attributes:
        forward: ``(w, x (in,), state) -> values``. Among the values are the output ``y`` and the
            parts of the new state, ``state``.
        backward: ``(w, values, d_y, d_state) -> (gradients, d_x, d_state_before)``, where ``d_y``
            comes from the head and ``d_state`` from the step after this one.

    """

    forward: Callable[[SimpleNamespace, Vector, State], Values]
    backward: Callable[[SimpleNamespace, Values, Vector, State], Backward]


def sigmoid(a: Vector) -> Vector:
    """σ(a) = 1 / (1 + exp(−a))."""
    return np.asarray(1 / (1 + np.exp(-a)))


def _linear_gradients(d_a: Vector, v: Values) -> Gradients:
    """Of a = W x + b_ih + U h_before + b_hh: ∂L/∂W = d_a xᵀ, ∂L/∂U = d_a h_beforeᵀ, ∂L/∂b = d_a."""
    return {
        "weight_ih": np.outer(d_a, v.x),
        "weight_hh": np.outer(d_a, v.h_before),
        "bias_ih": d_a,
        "bias_hh": d_a,
    }


# Elman: h = φ(a), a = W x + b_ih + U h_before + b_hh


def elman_forward(
    w: SimpleNamespace, x: Vector, state: State, phi: Callable[[Vector], Vector]
) -> Values:
    """h = φ(W x + b_ih + U h_before + b_hh)."""
    (h_before,) = state
    a = w.weight_ih @ x + w.bias_ih + w.weight_hh @ h_before + w.bias_hh
    h = phi(a)
    return Values(x=x, h_before=h_before, a=a, h=h, y=h, state=(h,))


def elman_backward(
    w: SimpleNamespace, v: Values, d_y: Vector, d_state: State, slope: Callable[[Values], Vector]
) -> Backward:
    """d_a = d_h ⊙ φ′(a): what Wᵀ takes to the input, and Uᵀ to the step before."""
    d_h = d_y + d_state[0]
    d_a = d_h * slope(v)
    return _linear_gradients(d_a, v), w.weight_ih.T @ d_a, (w.weight_hh.T @ d_a,)


def tanh_slope(v: Values) -> Vector:
    """tanh′(a) = 1 − h²."""
    return np.asarray(1 - v.h**2)


def relu_slope(v: Values) -> Vector:
    """max(a, 0)′: 1 where a > 0, otherwise 0."""
    return np.asarray(v.a > 0, np.float64)


ELMAN = Rules(
    lambda w, x, state: elman_forward(w, x, state, np.tanh),
    lambda w, v, d_y, d_state: elman_backward(w, v, d_y, d_state, tanh_slope),
)
RECTIFIER = Rules(
    lambda w, x, state: elman_forward(w, x, state, lambda a: np.maximum(a, 0)),
    lambda w, v, d_y, d_state: elman_backward(w, v, d_y, d_state, relu_slope),
)


# Jordan: as Elman's, with the output p of the step before in place of h_before


def jordan_forward(w: SimpleNamespace, x: Vector, state: State) -> Values:
    """h = tanh(W x + b_ih + U p_before + b_hh); the new p comes from the head."""
    (p_before,) = state
    a = w.weight_ih @ x + w.bias_ih + w.weight_hp @ p_before + w.bias_hh
    h = np.tanh(a)
    return Values(x=x, p_before=p_before, a=a, h=h, y=h, state=state)


def jordan_backward(w: SimpleNamespace, v: Values, d_y: Vector, d_state: State) -> Backward:
    """``d_state`` is not used: what the next step gives to p is in ``d_y``, through the head."""
    d_a = d_y * (1 - v.h**2)
    gradients = {
        "weight_ih": np.outer(d_a, v.x),
        "weight_hp": np.outer(d_a, v.p_before),
        "bias_ih": d_a,
        "bias_hh": d_a,
    }
    return gradients, w.weight_ih.T @ d_a, (w.weight_hp.T @ d_a,)


# LSTM: gates i, f, o and candidate g; c = f ⊙ c_before + i ⊙ g, h = o ⊙ tanh(c)


def lstm_forward(w: SimpleNamespace, x: Vector, state: State) -> Values:
    """All gates, and the two parts of the state."""
    h_before, c_before = state
    a = w.weight_ih @ x + w.bias_ih + w.weight_hh @ h_before + w.bias_hh
    a_i, a_f, a_g, a_o = np.split(a, 4)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c = f * c_before + i * g
    h = o * np.tanh(c)
    gates = {"i": i, "f": f, "g": g, "o": o}
    return Values(x=x, h_before=h_before, c_before=c_before, **gates, c=c, h=h, y=h, state=(h, c))


def lstm_backward(w: SimpleNamespace, v: Values, d_y: Vector, d_state: State) -> Backward:
    """The sum d_c goes on to the step before through f alone: it vanishes only if f is small."""
    d_h, d_c = d_y + d_state[0], d_state[1]
    d_c = d_c + d_h * v.o * (1 - np.tanh(v.c) ** 2)
    d_i, d_f, d_g = d_c * v.g, d_c * v.c_before, d_c * v.i
    d_o = d_h * np.tanh(v.c)
    d_a = np.concatenate([
        d_i * v.i * (1 - v.i),
        d_f * v.f * (1 - v.f),
        d_g * (1 - v.g**2),
        d_o * v.o * (1 - v.o),
    ])  # fmt: skip
    before = w.weight_hh.T @ d_a, d_c * v.f
    return _linear_gradients(d_a, v), w.weight_ih.T @ d_a, before


# GRU: gates r and u, candidate n; h = (1 − u) ⊙ n + u ⊙ h_before


def gru_forward(w: SimpleNamespace, x: Vector, state: State) -> Values:
    """n = tanh(x_n + r ⊙ h_n), where x_n and h_n are what input and state give to it."""
    (h_before,) = state
    x_r, x_u, x_n = np.split(w.weight_ih @ x + w.bias_ih, 3)
    h_r, h_u, h_n = np.split(w.weight_hh @ h_before + w.bias_hh, 3)
    r, u = sigmoid(x_r + h_r), sigmoid(x_u + h_u)
    n = np.tanh(x_n + r * h_n)
    h = (1 - u) * n + u * h_before
    return Values(x=x, h_before=h_before, r=r, u=u, h_n=h_n, n=n, h=h, y=h, state=(h,))


def gru_backward(w: SimpleNamespace, v: Values, d_y: Vector, d_state: State) -> Backward:
    """The state goes back twice: through u as it is, and through U."""
    d_h = d_y + d_state[0]
    d_u, d_n = d_h * (v.h_before - v.n), d_h * (1 - v.u)
    d_a_n = d_n * (1 - v.n**2)
    d_r = d_a_n * v.h_n
    d_a_r, d_a_u = d_r * v.r * (1 - v.r), d_u * v.u * (1 - v.u)
    d_of_x = np.concatenate([d_a_r, d_a_u, d_a_n])
    d_of_h = np.concatenate([d_a_r, d_a_u, d_a_n * v.r])
    gradients = {
        "weight_ih": np.outer(d_of_x, v.x),
        "weight_hh": np.outer(d_of_h, v.h_before),
        "bias_ih": d_of_x,
        "bias_hh": d_of_h,
    }
    d_h_before = d_h * v.u + w.weight_hh.T @ d_of_h
    return gradients, w.weight_ih.T @ d_of_x, (d_h_before,)


# SCRN: s = (1 − α) B x + α s_before, h = σ(P s + A x + R h_before), y = [h, s]


def scrn_forward(w: SimpleNamespace, x: Vector, state: State) -> Values:
    """The slow units first: the hidden ones read them. ``w.alpha`` is α."""
    h_before, s_before = state
    b_x = w.weight_cx @ x
    s = (1 - w.alpha) * b_x + w.alpha * s_before
    h = sigmoid(w.weight_hc @ s + w.weight_ih @ x + w.weight_hh @ h_before)
    before = {"h_before": h_before, "s_before": s_before}
    return Values(x=x, **before, b_x=b_x, s=s, h=h, y=np.concatenate([h, s]), state=(h, s))


def scrn_backward(w: SimpleNamespace, v: Values, d_y: Vector, d_state: State) -> Backward:
    """d_s goes on to the step before times α, which is close to 1."""
    d_h, d_s = d_y[: len(v.h)] + d_state[0], d_y[len(v.h) :] + d_state[1]
    d_a = d_h * v.h * (1 - v.h)
    d_s = d_s + w.weight_hc.T @ d_a
    d_b_x = (1 - w.alpha) * d_s
    gradients = {
        "weight_cx": np.outer(d_b_x, v.x),
        "weight_ih": np.outer(d_a, v.x),
        "weight_hc": np.outer(d_a, v.s),
        "weight_hh": np.outer(d_a, v.h_before),
    }
    if hasattr(w, "decay"):  # α = σ(β)
        gradients["decay"] = d_s * (v.s_before - v.b_x) * w.alpha * (1 - w.alpha)
    d_x = w.weight_ih.T @ d_a + w.weight_cx.T @ d_b_x
    return gradients, d_x, (w.weight_hh.T @ d_a, w.alpha * d_s)


# Clockwork: h_i = tanh(a_i) for units whose time has come, otherwise h_before_i


def clockwork_forward(w: SimpleNamespace, x: Vector, state: State) -> Values:
    """``w.weight_hh`` has its zeros; ``w.periods`` holds the period of each unit."""
    h_before, clock = state
    due = clock % w.periods == 0
    a = w.weight_ih @ x + w.bias_ih + w.weight_hh @ h_before + w.bias_hh
    h = np.where(due, np.tanh(a), h_before)
    return Values(x=x, h_before=h_before, due=due, a=a, h=h, y=h, state=(h, clock + 1))


def clockwork_backward(w: SimpleNamespace, v: Values, d_y: Vector, d_state: State) -> Backward:
    """Units that wait hand d_h back as it is: a slow unit bridges its period without a loss."""
    d_h = d_y + d_state[0]
    d_a = np.where(v.due, d_h * (1 - v.h**2), 0)
    gradients = _linear_gradients(d_a, v)
    gradients["weight_hh"] = gradients["weight_hh"] * w.connected  # its zeros are no parameters
    d_h_before = np.where(v.due, 0, d_h) + w.weight_hh.T @ d_a
    return gradients, w.weight_ih.T @ d_a, (d_h_before, np.zeros(1))


def clockwork_weights(w: SimpleNamespace) -> SimpleNamespace:
    """``w`` with ``connected (H, H)``: 1 where a unit reads one that is as slow or slower."""
    return SimpleNamespace(**vars(w), connected=w.periods[None, :] >= w.periods[:, None])


def as_prepared(w: SimpleNamespace) -> SimpleNamespace:
    """The prepared weights as they are."""
    return w


RULES: dict[str, Rules] = {
    "elman": ELMAN,
    "rnn-relu": RECTIFIER,
    "irnn": RECTIFIER,
    "jordan": Rules(jordan_forward, jordan_backward),
    "lstm": Rules(lstm_forward, lstm_backward),
    "gru": Rules(gru_forward, gru_backward),
    "scrn": Rules(scrn_forward, scrn_backward),
    "clockwork": Rules(clockwork_forward, clockwork_backward),
}
# what a rule reads besides the weights that the cell prepares
EXTRA: dict[str, Callable[[SimpleNamespace], SimpleNamespace]] = {"clockwork": clockwork_weights}


def completed(name: str, w: SimpleNamespace) -> Any:
    """The prepared weights ``w`` of the cell ``name`` as its rules read them."""
    return EXTRA.get(name, as_prepared)(w)
