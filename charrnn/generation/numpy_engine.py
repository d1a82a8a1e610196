"""The exact engine: one character a step for N streams, in NumPy and float32.

What does not change from step to step is worked out once (``Weights``): the input product of the
first layer is a table with a row a character, further layers read input and state in one
matrix-vector product. State and work space are allocated once (``Engine``).

A stream's numbers never depend on how many streams there are, to the last bit: BLAS sums a
matrix-vector and a matrix-matrix product in different orders, so by default every stream gets its
own matrix-vector products. ``together`` gives that up for speed: one matrix product a layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.generation.compiled.layout import has_whole_states, whole_scale
from charrnn.generation.draw import write
from charrnn.generation.filters import Context
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.vocab import Ids

Array = NDArray[np.float32]
State = tuple[Array, Array]


@dataclass(frozen=True)
class Layer:
    """One layer as the step reads it.

    ``table (V, G·H)`` is the input product of every character, biases included (first layer
    only); ``weight (G·H, in + H)`` reads input and state at once, ``bias (G·H)``. A GRU, whose
    reset gate comes between the two products, keeps ``weight (G·H, in)`` and ``recurrent (G·H,
    H)`` with ``recurrent_bias`` apart.
    """

    table: Array | None
    weight: Array
    bias: Array
    recurrent: Array
    recurrent_bias: Array


@dataclass(frozen=True)
class Weights:
    """All that steps read and never change; engines of the same network can share it."""

    config: ModelConfig
    layers: tuple[Layer, ...]
    head: Array
    head_bias: Array
    # steps in 1 of the states that products read; 0 reads them as they are
    state_steps: int = 0

    @classmethod
    def prepare(cls, config: ModelConfig, weights: dict[str, NDArray[Any]]) -> Weights:
        """Lay out ``weights``, which have the names and shapes of ``config.shapes()``.

        Raises:
            KeyError: a weight is missing.
            ValueError: one has another shape.
        """
        for name, shape in config.shapes().items():
            if weights[name].shape != shape:
                raise ValueError(f"{name} is {weights[name].shape}, expected {shape}")
        layers = tuple(_prepare_layer(config, weights, index) for index in range(config.layers))
        head, bias = weights["head.weight"], weights["head.bias"]
        return cls(config, layers, _float32(head), _float32(bias))

    def stored_as(self, form: str) -> Weights:
        """The same with recurrent weights rounded as ``form`` would store them, in float32."""
        if form == "float32":
            return self
        layers = tuple(
            replace(
                layer,
                weight=self._rounded(layer.weight, form),
                recurrent=self._rounded(layer.recurrent, form),
            )
            for layer in self.layers
        )
        whole = has_whole_states(self.config.cell, form)
        steps = whole_scale(self.config.hidden) if whole else 0
        return replace(self, layers=layers, state_steps=steps)

    def _rounded(self, weight: Array, form: str) -> Array:
        """``weight`` rounded; input and state columns have scales of their own."""
        if form == "float16":
            return weight.astype(np.float16).astype(np.float32)
        H = self.config.hidden
        out = np.empty_like(weight)
        for start in range(0, weight.shape[1] if len(weight) else 0, H):
            stored, scale = quantize(weight[:, start : start + H])
            out[:, start : start + H] = stored * scale[:, None]
        return out


def quantize(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """``weight (rows, in)`` as int8 and a scale a row ``(rows,)``: weight ≈ int8 · scale."""
    scale = np.maximum(np.abs(weight).max(axis=1), np.float32(1e-30)) / np.float32(127)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def rounded_states(hx: Array, steps: int) -> Array:
    """States within ±1 as whole numbers of steps of 1 / ``steps``."""
    rounded: Array = np.rint(np.clip(hx, -1, 1) * np.float32(steps))
    return rounded


def _float32(value: NDArray[Any]) -> Array:
    return np.ascontiguousarray(value, np.float32)


def gate_scale(config: ModelConfig) -> Array:
    """What each of the ``G·H`` rows is multiplied with before tanh, as ``(G·H,)`` powers of two.

    sigmoid(x) = tanh(x / 2) / 2 + 1/2, so an LSTM's sigmoid gates get 1/2 and then one tanh does
    for all four; halving is exact.
    """
    scale = np.ones((config.gates, config.hidden), np.float32)
    if config.cell == "lstm":
        scale[[0, 1, 3]] = 0.5
    return scale.reshape(-1)


def _prepare_layer(config: ModelConfig, weights: dict[str, NDArray[Any]], index: int) -> Layer:
    part = {
        name: _float32(weights[f"layers.{index}.{name}"])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    ih, hh, bias = part["weight_ih"], part["weight_hh"], part["bias_ih"]
    recurrent, recurrent_bias = hh[:0], bias[:0]
    if config.cell == "gru":
        recurrent, recurrent_bias, weight = hh, part["bias_hh"], ih
    else:
        scale = gate_scale(config)
        ih, hh, bias = ih * scale[:, None], hh * scale[:, None], (bias + part["bias_hh"]) * scale
        weight = hh if index == 0 else np.concatenate([ih, hh], axis=1)
    table = _float32(weights["embedding.weight"]) @ ih.T + bias if index == 0 else None
    return Layer(table, weight, bias, recurrent, recurrent_bias)


class Engine:
    """Steps ``streams`` (N) texts of one network, each with its own state.

    Args:
        config: the network's shape.
        weights: its weights, named and shaped as ``config.shapes()``; or ``Weights`` to share.
        streams: N, at least 1.
        together: one matrix product a layer for all streams, at the price that a stream's last
            bits depend on N.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: dict[str, NDArray[Any]] | Weights,
        streams: int = 1,
        *,
        together: bool = False,
    ) -> None:
        if streams < 1:
            raise ValueError(f"streams is {streams}: it must be at least 1")
        self.config, self.streams, self.together = config, streams, together
        self.weights = weights if isinstance(weights, Weights) else Weights.prepare(config, weights)
        N, H, L = streams, config.hidden, config.layers
        # a layer's input and state lie side by side, as its fused product reads them
        self._inputs = [np.zeros((N, (H if layer else 0) + H), np.float32) for layer in range(L)]
        self._hx = [inputs[:, -H:] for inputs in self._inputs]
        self._cx = np.zeros((L, N, config.cell_width), np.float32)
        self._gates = np.empty((N, config.gates * H), np.float32)
        self._recurrent = np.empty((N, config.gates * H), np.float32)
        self._scratch = np.empty((N, H), np.float32)
        self._features = np.empty((N, H), np.float32)
        self._logits = np.empty((N, config.vocab_size), np.float32)
        # after tanh: sigmoid gates are t / 2 + 1/2, the others t
        self._slope = gate_scale(config)
        self._offset = (1 - self._slope).astype(np.float32)

    def sibling(self, streams: int) -> Self:
        """An engine for ``streams`` texts over the same weights, from the zero state."""
        return type(self)(self.config, self.weights, streams, together=self.together)

    @property
    def state(self) -> State:
        """Copies of ``hx (L, N, H)`` and ``cx (L, N, H)``; ``cx`` is ``(L, N, 0)`` without one."""
        return np.stack(self._hx), self._cx.copy()

    @state.setter
    def state(self, state: State) -> None:
        hx, cx = state
        for mine, given in zip(self._hx, hx, strict=True):
            mine[...] = given
        self._cx[...] = cx

    def reset(self, streams: NDArray[Any] | slice = slice(None)) -> None:
        """Zero the state of ``streams`` (an index, a mask or a slice; default: all)."""
        for hx in self._hx:
            hx[streams] = 0
        self._cx[:, streams] = 0

    def step(self, ids: Ids) -> Array:
        """Read a character in every stream.

        Args:
            ids: ``(N,)``.

        Returns:
            The logits ``(N, V)`` of the characters after them. The array is used again by the
            next step.
        """
        last = self.config.layers - 1
        for index, layer in enumerate(self.weights.layers):
            CELLS[self.config.cell](self, layer, index, ids)
            hx = self._hx[index]
            if self.config.sum_layers:
                np.add(self._features, hx, out=self._features) if index else np.copyto(
                    self._features, hx
                )
            if index < last:
                self._inputs[index + 1][:, : self.config.hidden] = hx
        features = self._features if self.config.sum_layers else self._hx[last]
        return self._product(features, self.weights.head, self.weights.head_bias, self._logits)

    def feed(self, ids: Ids) -> None:
        """Read the text ``ids (T,)`` in every stream, for the state that it leaves."""
        for index in ids:
            self.step(np.full(self.streams, index))

    def generate(
        self,
        ids: Ids,
        uniforms: NDArray[np.float64],
        config: SampleConfig,
        context: Context | None = None,
    ) -> Ids:
        """Draw T characters in every stream: ``(T, N)``; see ``draw.write``."""
        return write(self.step, ids, uniforms, config, context)

    def _product(self, x: Array, weight: Array, bias: Array | None, out: Array) -> Array:
        """``x (N, in)`` · ``weight (rows, in)``ᵀ + ``bias`` into ``out (N, rows)``."""
        if self.together:
            np.matmul(x, weight.T, out=out)
        else:
            for row, result in zip(x, out, strict=True):
                np.dot(weight, row, out=result)
        if bias is not None:
            out += bias
        return out

    def _read(self, x: Array) -> Array:
        """``x`` as products read it: rounded where the weights' form rounds states."""
        steps = self.weights.state_steps
        return rounded_states(x, steps) / np.float32(steps) if steps else x

    def _affine(self, layer: Layer, index: int, ids: Ids) -> Array:
        """A layer's input and state products and biases, ``(N, G·H)``."""
        gates = self._product(self._read(self._inputs[index]), layer.weight, None, self._gates)
        gates += layer.bias if layer.table is None else layer.table[ids]
        return gates

    def _lstm(self, layer: Layer, index: int, ids: Ids) -> None:
        gates = self._affine(layer, index, ids)
        np.tanh(gates, out=gates)
        gates *= self._slope
        gates += self._offset
        N, H = self._scratch.shape
        i, f, g, o = gates.reshape(N, 4, H).swapaxes(0, 1)
        cx = self._cx[index]
        np.multiply(f, cx, out=cx)
        np.multiply(i, g, out=self._scratch)
        cx += self._scratch
        np.tanh(cx, out=self._scratch)
        np.multiply(o, self._scratch, out=self._hx[index])

    def _gru(self, layer: Layer, index: int, ids: Ids) -> None:
        H = self.config.hidden
        if layer.table is None:
            below = self._read(self._inputs[index][:, :H])
            x = self._product(below, layer.weight, layer.bias, self._gates)
        else:
            x = np.take(layer.table, ids, axis=0, out=self._gates)
        hx = self._hx[index]
        h = self._product(self._read(hx), layer.recurrent, layer.recurrent_bias, self._recurrent)
        rz, n = x[:, : 2 * H], x[:, 2 * H :]
        rz += h[:, : 2 * H]
        rz *= 0.5
        np.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        n += np.multiply(rz[:, :H], h[:, 2 * H :], out=self._scratch)
        np.tanh(n, out=n)
        # (1 − z) n + z h, as n + z (h − n)
        np.subtract(hx, n, out=self._scratch)
        self._scratch *= rz[:, H:]
        np.add(n, self._scratch, out=hx)

    def _rnn_tanh(self, layer: Layer, index: int, ids: Ids) -> None:
        np.tanh(self._affine(layer, index, ids), out=self._hx[index])

    def _rnn_relu(self, layer: Layer, index: int, ids: Ids) -> None:
        np.maximum(self._affine(layer, index, ids), 0, out=self._hx[index])


CELLS = {
    "lstm": Engine._lstm,
    "gru": Engine._gru,
    "rnn-tanh": Engine._rnn_tanh,
    "rnn-relu": Engine._rnn_relu,
}
