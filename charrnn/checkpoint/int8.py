"""Recurrent weights of eight bits: whole numbers with a scale for every row.

A checkpoint that is kept this way has a quarter of the bytes of float32. Its matrices stay as they
are in the file until somebody reads one, so that an engine whose weights are int8 anyway can take
the whole numbers themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError

Array = NDArray[np.float32]
Int8 = NDArray[np.int8]

SCALES = "scales"  # the tensor of all scales in a file: matrix by matrix, row by row
INT8_MAX = 127
TINY = np.float32(1e-30)  # the largest value of a row is at least this: no scale is 0


def quantize(weight: Array) -> tuple[Int8, Array]:
    """``weight (rows, in)`` as int8, and scales ``(rows,)``: weight ≈ int8 · scale."""
    scale = scales_for(np.abs(weight).max(axis=1))
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def scales_for(largest: Array) -> Array:
    """The scales of rows whose largest absolute values are ``largest``."""
    scales: Array = np.divide(np.maximum(largest, TINY), np.float32(INT8_MAX))
    return scales


def matrices(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Name and shape ``(rows, in)`` of the weights that may be int8: the layers' matrices."""
    layers = tuple(f"{stack}." for stack in config.stacks)
    return {
        name: (shape[0], shape[1])
        for name, shape in config.shapes().items()
        if name.startswith(layers) and len(shape) == 2
    }


class Int8Weights(Mapping[str, NDArray[Any]]):
    """Weights by name, of which some are kept as int8 and become float32 each time they are read.

    Args:
        arrays: all weights; those of the type int8 are matrices ``(rows, in)``.
        scales: for each int8 matrix a scale for each of its rows, ``(rows,)`` in float32.

    """

    def __init__(self, arrays: dict[str, NDArray[Any]], scales: dict[str, Array]) -> None:
        self._arrays, self._scales = arrays, scales

    @classmethod
    def split(
        cls, arrays: Mapping[str, NDArray[Any]], names: Mapping[str, tuple[int, int]], scales: Array
    ) -> Int8Weights:
        """Those of a file with its ``scales (rows,)``, which has the matrices ``names`` in int8.

        Raises:
            ConfigError: a scale is not positive, or too large.

        """
        if not (scales > 0).all() or scales.max() > np.finfo(np.float32).max / 128:
            raise ConfigError(f"{SCALES} has values that are not positive, or too large")
        ends = np.cumsum([shape[0] for shape in names.values()])
        parts = np.split(scales, ends[:-1])
        return cls(dict(arrays), dict(zip(names, parts, strict=True)))

    def __getitem__(self, name: str) -> NDArray[Any]:
        array, scale = self._arrays[name], self._scales.get(name)
        return array if scale is None else array * scale[:, None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight."""
        return self._arrays[name].shape

    def stored(self, name: str) -> tuple[Int8, Array] | None:
        """The whole numbers ``(rows, in)`` and scales ``(rows,)`` of a weight, if it is int8."""
        scale = self._scales.get(name)
        return None if scale is None else (self._arrays[name], scale)


def shape_of(weights: Mapping[str, NDArray[Any]], name: str) -> tuple[int, ...]:
    """The shape of the weight ``name``, which need not become float32 for that."""
    return weights.shape(name) if isinstance(weights, Int8Weights) else weights[name].shape


def quantized(weights: Mapping[str, NDArray[Any]], name: str) -> tuple[Int8, Array]:
    """``quantize(weights[name])``, at once if that is how the weights are kept.

    It is so to the last bit: each row's largest value is ±127, and its scale is rounded as if it
    had been chosen anew. A file of other hands may have other rows, which are rounded anew.
    """
    kept = weights.stored(name) if isinstance(weights, Int8Weights) else None
    if kept is not None and kept[0].size:
        most = kept[1] * np.float32(INT8_MAX)
        high, low = kept[0].max(axis=1), kept[0].min(axis=1)
        full = (np.maximum(high, -low.astype(np.int16)) == INT8_MAX) & (most >= TINY)
        if full.all():
            return kept[0], scales_for(most)
    return quantize(np.ascontiguousarray(weights[name], np.float32))


def to_store(config: ModelConfig, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """``weights`` as a file keeps them in int8, with their ``scales``; all others are float16."""
    stored: dict[str, NDArray[Any]] = {}
    scales: list[Array] = []
    among = matrices(config)
    for name in config.shapes():
        if name in among:
            stored[name], scale = quantized(weights, name)
            scales.append(scale)
        else:
            stored[name] = weights[name].astype(np.float16)
    return stored | {SCALES: np.concatenate(scales)}


def rows(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The rows of all matrices in ``shapes``, each of which has a scale."""
    return sum(math.prod(shape[:1]) for shape in shapes.values())
