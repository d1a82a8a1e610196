"""The fast engine: the same steps as ``Engine``, as compiled code. Needs llvmlite.

Results agree with the NumPy engine's to 1e-5. A stream's numbers depend neither on how many
streams there are nor on the number of threads, to the last bit (see ``kernels``).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.generation.compiled import machine_code
from charrnn.generation.compiled.layout import (
    FIELDS,
    HEAD_VECTORS,
    LAYER_FIELDS,
    PAIR,
    Variant,
    aligned,
    whole_scale,
)
from charrnn.generation.draw import inverse_temperature, write
from charrnn.generation.filters import Context
from charrnn.generation.numpy_engine import Array, State, Weights, quantize, rounded_states
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.vocab import Ids

# below this many bytes of weights and streams a second thread costs more than it brings
THREAD_BYTES = 1 << 20


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


@dataclass(frozen=True)
class PackedLayer:
    """A layer in panels: ``start`` ``(V or 1, P, sums, lanes)``, weights ``(P, in, G, lanes)``.

    Weights for whole states lie ``(P, in / 2, G, lanes, 2)``.
    """

    start: Array
    x: NDArray[Any]
    x_scale: Array
    h: NDArray[Any]
    h_scale: Array


@dataclass(frozen=True)
class Packed:
    """All weights as the kernels of ``variant`` read them, for few streams or many."""

    config: ModelConfig
    variant: Variant
    hidden: int
    padded_vocab: int
    layers: tuple[PackedLayer, ...]
    head: Array
    head_bias: Array

    @classmethod
    def prepare(cls, config: ModelConfig, weights: Weights, form: str) -> Packed:
        """Lay out ``weights``, the recurrent layers stored as ``form``."""
        here = machine_code.processor()
        variant = Variant(config.cell, config.sum_layers, form, here.lanes, here.x86)
        hidden = _up(config.hidden, PAIR * here.lanes)
        packer = _Packer(config, variant, hidden)
        layers = tuple(packer.layer(weights, index) for index in range(config.layers))
        V = _up(config.vocab_size, HEAD_VECTORS * here.lanes)
        head = aligned((V // (HEAD_VECTORS * here.lanes), hidden, HEAD_VECTORS * here.lanes), "f4")
        rows = np.zeros((V, hidden), np.float32)
        rows[: config.vocab_size, : config.hidden] = weights.head
        head[...] = rows.reshape(head.shape[0], head.shape[2], hidden).swapaxes(1, 2)
        bias = aligned((V,), np.float32)
        bias[: config.vocab_size] = weights.head_bias
        return cls(config, variant, hidden, V, layers, head, bias)

    @property
    def bytes_per_step(self) -> int:
        """Bytes of weights that one step of one stream reads."""
        layers = sum(layer.x.nbytes + layer.h.nbytes for layer in self.layers)
        return layers + self.head.nbytes


class _Packer:
    def __init__(self, config: ModelConfig, variant: Variant, hidden: int) -> None:
        self.config, self.variant, self.hidden = config, variant, hidden

    def layer(self, weights: Weights, index: int) -> PackedLayer:
        """Layer ``index`` in panels."""
        layer, H = weights.layers[index], self.config.hidden
        gru = self.config.cell == "gru"
        h = layer.recurrent if gru else layer.weight[:, -H:]
        x = layer.weight[:, :H] if index else layer.weight[:, :0]
        return PackedLayer(
            self._start(layer.bias[None] if layer.table is None else layer.table,
                        layer.recurrent_bias if gru else None),
            *self._panels(x), *self._panels(h),
        )  # fmt: skip

    def _start(self, values: Array, recurrent_bias: Array | None) -> Array:
        """``values (rows, G·H)`` as sums: a GRU's r and z take both biases, its n each its own."""
        rows, H, lanes = len(values), self.config.hidden, self.variant.lanes
        sums = np.zeros((rows, self.variant.sums, self.hidden), np.float32)
        sums[:, : self.config.gates, :H] = values.reshape(rows, self.config.gates, H)
        if recurrent_bias is not None:
            sums[:, :2, :H] += recurrent_bias[: 2 * H].reshape(2, H)
            sums[:, 3, :H] = recurrent_bias[2 * H :]
        out = aligned((rows, self.hidden // lanes, self.variant.sums, lanes), np.float32)
        out[...] = sums.reshape(rows, self.variant.sums, -1, lanes).swapaxes(1, 2)
        return out

    def _panels(self, weight: Array) -> tuple[NDArray[Any], Array]:
        """``weight (G·H, in)`` as ``(P, in, G, lanes)``, and scales ``(P, G, lanes)`` for int8."""
        G, H, lanes = self.config.gates, self.config.hidden, self.variant.lanes
        P, width = self.hidden // lanes, self.hidden if weight.shape[1] else 0
        scales = aligned((P, G, lanes), np.float32)
        stored: NDArray[Any] = weight
        if self.variant.form == "int8" and width:
            stored, scale = quantize(weight)
            padded = np.zeros((G, self.hidden), np.float32)
            padded[:, :H] = scale.reshape(G, H)
            if self.variant.whole:  # states come as whole numbers of steps
                padded /= whole_scale(self.hidden)
            scales[...] = padded.reshape(G, P, lanes).swapaxes(0, 1)
        kind = {"float32": np.float32, "float16": np.float16, "int8": np.int8}[self.variant.form]
        rows = np.zeros((G, self.hidden, width), kind)
        rows[:, :H, : weight.shape[1]] = stored.reshape(G, H, -1)
        # two int8 that stay side by side move as one int16
        unit = rows.view(np.int16) if self.variant.whole else rows
        panels = aligned((P, unit.shape[2], G, lanes), unit.dtype)
        panels[...] = unit.reshape(G, P, lanes, -1).transpose(1, 3, 0, 2)
        return panels.view(kind).reshape(P, width, G, lanes), scales


class FastEngine:
    """``Engine`` as compiled code; see there for what the methods do.

    Args:
        config: the network's shape.
        weights: its weights, prepared; or ``Packed`` to share.
        streams: N, at least 1.
        form: how recurrent weights are stored: ``float32``, ``float16`` or ``int8``.
        threads: 1 or more; the result does not depend on it.

    Raises:
        OSError, RuntimeError: no code can be made for this machine.

    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights | Packed,
        streams: int = 1,
        *,
        form: str = "float32",
        threads: int = 1,
    ) -> None:
        if isinstance(weights, Weights):
            weights = Packed.prepare(config, weights, form)
        self.config, self.packed, self.streams = config, weights, streams
        variant = weights.variant
        self._run = machine_code.load(replace(variant, many=streams >= variant.block))
        self._wanted_threads = threads
        work = weights.bytes_per_step * min(streams, 8)
        self._pool = _pool(threads - 1) if threads > 1 and work >= THREAD_BYTES else None
        self.threads = threads if self._pool else 1
        N, L, H, V = streams, config.layers, weights.hidden, weights.padded_vocab
        # a step reads one half of hx and writes the other
        self._hx = aligned((2, L, N, H), np.float32)
        self._cx = aligned((L, N, H), np.float32)
        # hx as products read it, where they read whole numbers
        self._whole = aligned(self._hx.shape if weights.variant.whole else (0,), np.int16)
        self._features = aligned((N, H), np.float32)
        self._logits = aligned((N, V), np.float32)
        self._parity = 0
        self._plan = self._make_plan()

    def _make_plan(self) -> NDArray[np.int64]:
        packed, plan = self.packed, dict.fromkeys(FIELDS, 0)
        plan |= {
            "streams": self.streams, "layers": self.config.layers, "hidden": packed.hidden,
            "vocab": self.config.vocab_size, "padded_vocab": packed.padded_vocab,
            "threads": self.threads, "hx": self._hx.ctypes.data, "cx": self._cx.ctypes.data,
            "features": self._features.ctypes.data, "logits": self._logits.ctypes.data,
            "head": packed.head.ctypes.data, "head_bias": packed.head_bias.ctypes.data,
            "whole": self._whole.ctypes.data,
        }  # fmt: skip
        values = list(plan.values())
        for layer in packed.layers:
            stride = layer.start[0].size if len(layer.start) > 1 else 0
            fields = {
                "start": layer.start.ctypes.data, "start_stride": stride,
                "x": layer.x.ctypes.data, "x_scale": layer.x_scale.ctypes.data,
                "x_width": layer.x.shape[1],
                "h": layer.h.ctypes.data, "h_scale": layer.h_scale.ctypes.data,
            }  # fmt: skip
            values += [fields[name] for name in LAYER_FIELDS]
        out = aligned((len(values),), np.int64)
        out[:] = values
        out.view(np.float64)[_PLACES["whole_scale"]] = whole_scale(packed.hidden)
        return out

    def sibling(self, streams: int) -> Self:
        """An engine for ``streams`` texts over the same weights, from the zero state."""
        return type(self)(self.config, self.packed, streams, threads=self._wanted_threads)

    @property
    def state(self) -> State:
        """Copies of ``hx (L, N, H)`` and ``cx (L, N, H)``; ``cx`` is ``(L, N, 0)`` without one."""
        hx = self._hx[self._parity, :, :, : self.config.hidden].copy()
        return hx, self._cx[:, :, : self.config.cell_width].copy()

    @state.setter
    def state(self, state: State) -> None:
        hx, cx = state
        self._hx[self._parity, :, :, : self.config.hidden] = hx
        self._round()
        self._cx[:, :, : self.config.cell_width] = cx

    def reset(self, streams: NDArray[Any] | slice = slice(None)) -> None:
        """Zero the state of ``streams`` (an index, a mask or a slice; default: all)."""
        self._hx[self._parity][:, streams] = 0
        self._round()
        self._cx[:, streams] = 0

    def _round(self) -> None:
        """Bring the rounded state in line with ``hx``."""
        if self.packed.variant.whole:
            hx = self._hx[self._parity]
            self._whole[self._parity] = rounded_states(hx, whole_scale(self.packed.hidden))

    def step(self, ids: Ids) -> Array:
        """Read ``ids (N,)``: logits ``(N, V)``, valid until the next step."""
        self._call(np.array(ids, np.int32).reshape(1, -1), logits=True)
        return self._logits[:, : self.config.vocab_size]

    def feed(self, ids: Ids) -> None:
        """Read the text ``ids (T,)`` in every stream, for the state that it leaves."""
        rows = np.repeat(np.asarray(ids, np.int32)[:, None], self.streams, axis=1)
        self._call(rows)

    def generate(
        self,
        ids: Ids,
        uniforms: NDArray[np.float64],
        config: SampleConfig,
        context: Context | None = None,
    ) -> Ids:
        """Draw T characters in every stream: ``(T, N)``; see ``draw.write``.

        NumPy filters and draws if ``config`` has a filter that the compiled draw does not know.
        """
        if not all(f.compiled and f.name in _PLACES for f, _ in config.chain):
            return write(self.step, ids, uniforms, config, context)
        rows = np.empty((len(uniforms) + 1, self.streams), np.int32)
        rows[0] = ids
        self._call(rows, np.ascontiguousarray(uniforms, np.float64), config)
        return rows[1:]

    def _call(
        self,
        rows: NDArray[np.int32],
        uniforms: NDArray[np.float64] | None = None,
        choice: SampleConfig | None = None,
        *,
        logits: bool = False,
    ) -> None:
        """Run the kernel over ``rows (T, N)``; with ``choice``, over ``(T + 1, N)`` it draws."""
        given, steps = (rows, len(rows)) if choice is None else (rows[:1], len(rows) - 1)
        if given.size and not 0 <= given.min() <= given.max() < self.config.vocab_size:
            raise IndexError(f"an id is not below {self.config.vocab_size}")
        plan = self._plan
        changes = {
            "steps": steps, "want_logits": int(logits or choice is not None),
            "want_draw": int(choice is not None), "parity": self._parity, "barrier": 0,
            "ids": rows.ctypes.data, "uniforms": 0 if uniforms is None else uniforms.ctypes.data,
            "top_k": choice.top_k if choice else 0,
        }  # fmt: skip
        for name, value in changes.items():
            plan[_PLACES[name]] = value
        if choice is not None:
            reals = plan.view(np.float64)
            hot = choice.temperature > 0
            reals[_PLACES["scale"]] = inverse_temperature(choice.temperature) if hot else -1.0
            reals[_PLACES["top_p"]], reals[_PLACES["min_p"]] = choice.top_p, choice.min_p
        others = [
            self._pool.submit(self._run, plan.ctypes.data, thread)
            for thread in range(1, self.threads)
            if self._pool
        ]
        self._run(plan.ctypes.data, 0)
        for other in others:
            other.result()
        self._parity ^= steps & 1


def _pool(threads: int) -> ThreadPoolExecutor | None:
    """Threads that wait for work; None where the system lets none begin."""
    pool = ThreadPoolExecutor(threads)
    try:
        pool.submit(int)
    except RuntimeError:
        return None
    return pool


_PLACES = {name: place for place, name in enumerate(FIELDS)}
