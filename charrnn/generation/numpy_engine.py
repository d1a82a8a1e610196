"""The reference engine: one character per step for N streams, in NumPy and float32.

It runs every cell's readable step. The first layer's projected input is computed once, as a table
with a row for each character (``Weights``).

By default a stream's numbers do not depend on the number of streams, to the last bit: BLAS sums
matrix-vector and matrix-matrix products in different orders, so every stream gets its own
matrix-vector products. ``batched`` gives that up for speed: one matrix product per weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.cells import Cell, step_layers
from charrnn.cells.stack import unchanged
from charrnn.checkpoint.int8 import shape_of
from charrnn.config import ModelConfig, StateDtype
from charrnn.generation.draw import write
from charrnn.generation.filters import Context
from charrnn.generation.quantization import rounded_state, rounded_weight, state_scale_for
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.vocab import Ids

Array = NDArray[np.float32]
# each layer's parts (N, width), in the order in which the cell declares them
State = tuple[tuple[Array, ...], ...]

HALF, ZERO = np.float32(0.5), np.float32(0)


class NumpyNamespace:
    """The array functions of a cell's step (``charrnn.cells.Namespace``) in NumPy.

    Args:
        batched: whether one matrix product serves all streams, instead of one product per stream.
        state_scale: products round their input to steps of 1 / ``state_scale``; 0: no rounding.

    """

    def __init__(self, batched: bool = False, state_scale: int = 0) -> None:
        self.batched, self.state_scale = batched, state_scale

    def linear(self, x: Array, weight: Array) -> Array:
        """``x (N, in)`` times ``weight (out, in)`` transposed: ``(N, out)``."""
        if self.state_scale:
            x = rounded_state(x, self.state_scale) / np.float32(self.state_scale)
        if self.batched:
            product: Array = x @ weight.T
            return product
        if len(x) == 1:
            one: Array = weight.dot(x[0])
            return one[None]
        out = np.empty((len(x), len(weight)), np.float32)
        for row, result in zip(x, out, strict=True):
            np.dot(weight, row, out=result)
        return out

    def split(self, x: Array, parts: int) -> list[Array]:
        """``x`` in ``parts`` equal pieces along its last axis, as views."""
        width = x.shape[-1] // parts
        return [x[..., width * part : width * (part + 1)] for part in range(parts)]

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(-x)), as tanh(x / 2) / 2 + 1 / 2, which cannot overflow."""
        y = x * HALF
        np.tanh(y, out=y)
        y *= HALF
        y += HALF
        return y

    def tanh(self, x: Array) -> Array:
        """Hyperbolic tangent."""
        y: Array = np.tanh(x)
        return y

    def relu(self, x: Array) -> Array:
        """max(x, 0)."""
        return np.maximum(x, ZERO)

    def softmax(self, x: Array) -> Array:
        """exp(x) along the last axis, divided by its sum."""
        y: Array = np.exp(x - x.max(axis=-1, keepdims=True))
        y /= y.sum(axis=-1, keepdims=True)
        return y

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@dataclass(frozen=True)
class Layer:
    """A layer's ``parameters`` by name, and what its steps read in their place (``prepared``)."""

    parameters: SimpleNamespace
    prepared: SimpleNamespace


@dataclass(frozen=True)
class Weights:
    """Prepared weights, which never change; engines of the same network can share them.

    ``table (V, ...)`` holds the first layer's projected input of every character; ``state_scale``
    is as in ``NumpyNamespace``.
    """

    config: ModelConfig
    layers: tuple[Layer, ...]
    table: Array
    head: Array
    head_bias: Array
    state_scale: int = 0

    @classmethod
    def prepare(cls, config: ModelConfig, weights: Mapping[str, NDArray[Any]]) -> Weights:
        """Prepare ``weights``, named and shaped as ``config.shapes()``.

        Raises:
            CheckpointError: the network is bidirectional.
            KeyError: a weight is missing.
            ValueError: one has another shape.

        """
        config.check_causal("predict what follows a text")
        check_shapes(config, weights)
        cell, xp = config.definition, NumpyNamespace(batched=True)
        layers = tuple(
            _layer(cell, SimpleNamespace(**layer_weights(config, weights, index)))
            for index in range(config.layers)
        )
        table = cell.project(xp, float32(weights["embedding.weight"]), layers[0].prepared)
        head, bias = weights["head.weight"], weights["head.bias"]
        return cls(config, layers, table, float32(head), float32(bias))

    def quantized(self, weight_dtype: str, state_dtype: StateDtype = "int16") -> Weights:
        """A copy whose recurrent weights are rounded to ``weight_dtype`` and kept in float32.

        The first layer's table and the head stay exact. ``state_dtype`` is that of the states that
        int8 weights are multiplied with.
        """
        cell = self.config.definition
        layers = tuple(
            _layer(cell, _rounded(layer.parameters, weight_dtype)) for layer in self.layers
        )
        scale = state_scale_for(self.config, weight_dtype, state_dtype)
        return replace(self, layers=layers, state_scale=scale)


def check_shapes(config: ModelConfig, weights: Mapping[str, NDArray[Any]]) -> None:
    """Check that ``weights`` have the names and shapes of ``config.shapes()``.

    Raises:
        KeyError: a weight is missing.
        ValueError: one has another shape.

    """
    for name, shape in config.shapes().items():
        if (given := shape_of(weights, name)) != shape:
            raise ValueError(f"{name} is {given}, expected {shape}")


def layer_weights(
    config: ModelConfig, weights: Mapping[str, NDArray[Any]], layer: int
) -> dict[str, Array]:
    """The parameters of recurrent layer ``layer`` (from 0) by the cell's names, in float32."""
    return {name: float32(weights[f"layers.{layer}.{name}"]) for name in config.layer_shapes(layer)}


def _layer(cell: Cell, parameters: SimpleNamespace) -> Layer:
    return Layer(parameters, cell.prepare(NumpyNamespace(), parameters))


def _rounded(parameters: SimpleNamespace, weight_dtype: str) -> SimpleNamespace:
    values = {
        name: rounded_weight(value, weight_dtype) if value.ndim == 2 else value
        for name, value in vars(parameters).items()
    }
    return SimpleNamespace(**values)


def float32(value: NDArray[Any]) -> Array:
    """``value`` in float32, in C order."""
    return np.ascontiguousarray(value, np.float32)


class Engine:
    """Steps ``streams`` (N) texts of one network, each with its own state.

    Args:
        config: the network's shape.
        weights: its weights, named and shaped as ``config.shapes()``; or ``Weights`` to share.
        streams: N, at least 1.
        batched: whether one matrix product per weight serves all streams; a stream's last bits
            then depend on N.

    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, NDArray[Any]] | Weights,
        streams: int = 1,
        *,
        batched: bool = False,
    ) -> None:
        if streams < 1:
            raise ValueError(f"streams is {streams}: it must be at least 1")
        self.config, self.streams, self.batched = config, streams, batched
        self.weights = weights if isinstance(weights, Weights) else Weights.prepare(config, weights)
        self._cell = config.definition
        self._xp = NumpyNamespace(batched, self.weights.state_scale)
        self._exact = NumpyNamespace(batched)  # the head reads states unrounded
        self.state: State = zero_state(config, streams)
        # of each layer in the last step, (N, width), if the state comes from the head
        self.outputs: list[Array] = []

    def sibling(self, streams: int) -> Self:
        """An engine for ``streams`` texts over the same weights, from the zero state."""
        return type(self)(self.config, self.weights, streams, batched=self.batched)

    def reset(self, streams: NDArray[Any] | slice = slice(None)) -> None:
        """Zero the state of ``streams`` (an index, a mask or a slice; default: all)."""
        self.state = tuple(tuple(part.copy() for part in layer) for layer in self.state)
        for layer in self.state:
            for part in layer:
                part[streams] = 0

    def begin(self, streams: NDArray[np.intp], state: State) -> None:
        """Set the state of ``streams`` to ``state``, that of one stream."""
        self.state = tuple(tuple(part.copy() for part in layer) for layer in self.state)
        for layer, values in zip(self.state, state, strict=True):
            for part, value in zip(layer, values, strict=True):
                part[streams] = value

    def step(self, ids: Ids) -> Array:
        """Read one character in every stream.

        Args:
            ids: ``(N,)``.

        Returns:
            Logits ``(N, V)`` of the next characters.

        """
        after_head = self._cell.after_head
        self.outputs.clear()
        features, state = step_layers(
            self._xp,
            self._cell,
            self.weights.table[ids],
            self.state,
            [layer.prepared for layer in self.weights.layers],
            sum_layers=self.config.sum_layers,
            between=unchanged if after_head is None else self._kept,
        )
        logits = self._exact.linear(features, self.weights.head)
        logits += self.weights.head_bias
        self.state = state if after_head is None else after_head(self._xp, logits, state)
        return logits

    def _kept(self, layer: int, y: Array) -> Array:
        """``y (N, width)``, which ``outputs`` then holds as that of ``layer``."""
        self.outputs.append(y)
        return y

    def feed(self, ids: Ids) -> None:
        """Read the text ``ids (T,)`` in every stream, to update the state."""
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


def zero_state(config: ModelConfig, streams: int) -> State:
    """The state before a text: zeros, ``(streams, width)`` for each part of each layer."""
    widths = config.state_widths.values()
    return tuple(
        tuple(np.zeros((streams, width), np.float32) for width in widths)
        for _ in range(config.layers)
    )
