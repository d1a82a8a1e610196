"""Lays out weights in the order in which the compiled step reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.int8 import quantized
from charrnn.config import ModelConfig, StateDtype
from charrnn.generation.compiled import machine_code
from charrnn.generation.compiled.cells import CELLS, UnsupportedCell
from charrnn.generation.compiled.layout import BYTE_ZERO, HEAD_VECTORS, PAIR, Variant, aligned
from charrnn.generation.numpy_engine import Array, check_shapes, float32


class Panels(NamedTuple):
    """A matrix in panels: weights, the scale of each row, and where its sum starts if integer."""

    weights: NDArray[Any]
    scale: Array
    first: NDArray[np.int32]


@dataclass(frozen=True)
class PackedLayer:
    """A layer in P panels: ``start (V or 1, P, sums, lanes)``, weights ``(P, in, G, lanes)``.

    ``start`` holds the initial sums: for the first layer the projected input of every character,
    for the others the biases. Where products are summed in integers, the memory order of weights
    is ``(P, in / 2, G, lanes, 2)``, or ``(P, in / 4, G, lanes, 4)`` where states are bytes, whose
    sums start at ``first (P, G, lanes)``.
    """

    start: Array
    x: Panels
    h: Panels


@dataclass(frozen=True)
class Packed:
    """All weights as the kernels of ``variant`` read them, for any number of streams."""

    config: ModelConfig
    variant: Variant
    hidden: int
    padded_vocab: int
    layers: tuple[PackedLayer, ...]
    head: Array
    head_bias: Array

    @classmethod
    def prepare(
        cls,
        config: ModelConfig,
        weights: Mapping[str, NDArray[Any]],
        weight_dtype: str,
        state_dtype: StateDtype = "int16",
    ) -> Packed:
        """Lay out ``weights``, named and shaped as ``config.shapes()``.

        Raises:
            UnsupportedCell: the cell is not in ``CELLS``, or the network is bidirectional.
            KeyError, ValueError: a weight is missing, or has another shape.

        """
        cell = config.definition.name
        if cell not in CELLS:
            raise UnsupportedCell(f"the compiled engine does not know the cell {cell}")
        if config.bidirectional:
            raise UnsupportedCell("the compiled engine reads in one direction")
        check_shapes(config, weights)
        here = machine_code.processor()
        variant = Variant(
            cell, config.sum_layers, weight_dtype, here.lanes, here.x86,
            state_dtype=state_dtype, byte_products=here.byte_products,
        )  # fmt: skip
        hidden = _round_up(config.hidden, PAIR * here.lanes)
        packer = _Packer(config, variant, hidden)
        layers = tuple(packer.layer(weights, index) for index in range(config.layers))
        V = _round_up(config.vocab_size, HEAD_VECTORS * here.lanes)
        head = aligned((V // (HEAD_VECTORS * here.lanes), hidden, HEAD_VECTORS * here.lanes), "f4")
        rows = np.zeros((V, hidden), np.float32)
        rows[: config.vocab_size, : config.hidden] = weights["head.weight"]
        head[...] = rows.reshape(head.shape[0], head.shape[2], hidden).swapaxes(1, 2)
        bias = aligned((V,), np.float32)
        bias[: config.vocab_size] = weights["head.bias"]
        return cls(config, variant, hidden, V, layers, head, bias)

    @property
    def bytes_per_step(self) -> int:
        """Bytes of weights that one step of one stream reads."""
        layers = sum(layer.x.weights.nbytes + layer.h.weights.nbytes for layer in self.layers)
        return layers + self.head.nbytes


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step


class _Packer:
    def __init__(self, config: ModelConfig, variant: Variant, hidden: int) -> None:
        self.config, self.variant, self.hidden = config, variant, hidden
        self.cell = variant.compiled_cell
        self.gates = len(self.cell.x_sums)

    def layer(self, weights: Mapping[str, NDArray[Any]], index: int) -> PackedLayer:
        """Layer ``index`` (from 0) in panels."""
        name, scale = f"layers.{index}.", self._gate_scale()
        x_bias, h_bias = float32(weights[f"{name}bias_ih"]), float32(weights[f"{name}bias_hh"])
        if self.cell.x_sums == self.cell.h_sums:  # one sum per gate: add both biases up front
            x_bias, h_bias = (x_bias + h_bias) * scale, np.zeros_like(h_bias)
        start = x_bias[None]
        if index == 0:
            x = float32(weights[f"{name}weight_ih"]) * scale[:, None]
            start = float32(weights["embedding.weight"]) @ x.T + x_bias
            x_panels = self._panels(x[:, :0], scale)
        else:
            x_panels = self._matrix(weights, f"{name}weight_ih", scale)
        h_panels = self._matrix(weights, f"{name}weight_hh", scale)
        return PackedLayer(self._start(start, h_bias), x_panels, h_panels)

    def _matrix(self, weights: Mapping[str, NDArray[Any]], name: str, scale: Array) -> Panels:
        """``_panels`` of the weight ``name (G·H, in)``, whose rows are multiplied by ``scale``."""
        if self.variant.weight_dtype == "int8":
            integers, own = quantized(weights, name)
            return self._panels(integers, own * scale)  # powers of two round nothing
        return self._panels(float32(weights[name]) * scale[:, None], scale)

    def _gate_scale(self) -> Array:
        """The factor, a power of two, of each of the ``G·H`` rows."""
        scale = np.ones((self.gates, self.config.hidden), np.float32)
        scale[[*self.cell.halved]] = 0.5
        return scale.reshape(-1)

    def _start(self, values: Array, h_bias: Array) -> Array:
        """Initial sums from ``values (rows, G·H)`` and the state's biases ``(G·H,)``."""
        rows, H, lanes = len(values), self.config.hidden, self.variant.lanes
        sums = np.zeros((rows, self.cell.sums, self.hidden), np.float32)
        sums[:, [*self.cell.x_sums], :H] = values.reshape(rows, self.gates, H)
        sums[:, [*self.cell.h_sums], :H] += h_bias.reshape(self.gates, H)
        out = aligned((rows, self.hidden // lanes, self.cell.sums, lanes), np.float32)
        out[...] = sums.reshape(rows, self.cell.sums, -1, lanes).swapaxes(1, 2)
        return out

    def _panels(self, weight: NDArray[Any], scale: Array) -> Panels:
        """``weight (G·H, in)`` as ``(P, in, G, lanes)``, and scales ``(P, G, lanes)`` for int8.

        ``scale (G·H,)`` is that of each row of whole numbers.
        """
        G, H, lanes = self.gates, self.config.hidden, self.variant.lanes
        P, width = self.hidden // lanes, self.hidden if weight.shape[1] else 0
        scales, first = aligned((P, G, lanes), np.float32), aligned((P, G, lanes), np.int32)
        dtype = self.variant.weight_dtype
        if dtype == "int8" and width:
            padded = np.zeros((G, self.hidden), np.float32)
            padded[:, :H] = scale.reshape(G, H)
            if self.variant.integer:  # states are integers, in steps of 1 / state_scale
                padded /= self.variant.scale(self.hidden)
            scales[...] = padded.reshape(G, P, lanes).swapaxes(0, 1)
        kind = {"float32": np.float32, "float16": np.float16, "int8": np.int8}[dtype]
        rows = weight.reshape(G, H, -1)
        if rows.dtype != kind or rows.shape[1:] != (self.hidden, width):
            rows = np.zeros((G, self.hidden, width), kind)
            rows[:, :H, : weight.shape[1]] = weight.reshape(G, H, -1)
        if self.variant.bytes:  # a byte is a state plus BYTE_ZERO
            sums = rows.sum(axis=2, dtype=np.int32) * np.int32(-BYTE_ZERO)
            first[...] = sums.reshape(G, P, lanes).swapaxes(0, 1)
        # what is multiplied at once stays side by side: it moves as one number
        unit = rows.view(f"i{self.variant.together}") if self.variant.integer else rows
        panels = aligned((P, unit.shape[2], G, lanes), unit.dtype)
        panels[...] = unit.reshape(G, P, lanes, -1).transpose(1, 3, 0, 2)
        return Panels(panels.view(kind).reshape(P, width, G, lanes), scales, first)
