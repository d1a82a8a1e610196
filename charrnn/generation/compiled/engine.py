"""The compiled engine: the steps of ``numpy_engine.Engine`` as machine code. Needs llvmlite.

Results agree with the NumPy engine's to 1e-5. A stream's numbers depend neither on the number of
streams nor on the number of threads, to the last bit (see ``kernels``).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.generation.compiled import machine_code
from charrnn.generation.compiled.layout import FIELDS, LAYER_FIELDS, aligned
from charrnn.generation.compiled.packing import Packed
from charrnn.generation.draw import inverse_temperature, write
from charrnn.generation.filters import Context
from charrnn.generation.numpy_engine import Array, State
from charrnn.generation.quantization import rounded_state, state_scale
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.vocab import Ids

# with fewer bytes of weights per step, times streams, a second thread costs more than it gains
THREAD_BYTES = 1 << 20

DRAW_FILTERS = frozenset({"top_k", "top_p", "min_p"})  # those of the compiled draw


class CompiledEngine:
    """``Engine`` as compiled code; its methods are documented there.

    Args:
        config: the network's shape.
        weights: its weights, named and shaped as ``config.shapes()``; or ``Packed`` to share.
        streams: N, at least 1.
        weight_dtype: how recurrent weights are stored: ``float32``, ``float16`` or ``int8``.
        threads: at least 1; results do not depend on it.

    Raises:
        UnsupportedCell: the cell is not one of ``compiled.cells``.
        OSError, RuntimeError: no code can be compiled for this machine.

    """

    def __init__(
        self,
        config: ModelConfig,
        weights: dict[str, NDArray[Any]] | Packed,
        streams: int = 1,
        *,
        weight_dtype: str = "float32",
        threads: int = 1,
    ) -> None:
        if not isinstance(weights, Packed):
            weights = Packed.prepare(config, weights, weight_dtype)
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
        # hx rounded to integers, if products read it that way
        self._rounded = aligned(self._hx.shape if weights.variant.integer else (0,), np.int16)
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
            "rounded": self._rounded.ctypes.data,
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
        out.view(np.float64)[_INDEX["state_scale"]] = state_scale(packed.hidden)
        return out

    def sibling(self, streams: int) -> Self:
        """An engine for ``streams`` texts over the same weights, from the zero state."""
        return type(self)(self.config, self.packed, streams, threads=self._wanted_threads)

    @property
    def _parts(self) -> dict[str, Array]:
        """The current parts of the state by name, ``(L, N, padded H)``."""
        parts = {"h": self._hx[self._parity], "c": self._cx}
        return {name: parts[name] for name in self.config.state_widths}

    @property
    def state(self) -> State:
        """Copies of each layer's parts ``(N, H)``, in the order in which the cell declares them."""
        H = self.config.hidden
        return tuple(
            tuple(part[layer, :, :H].copy() for part in self._parts.values())
            for layer in range(self.config.layers)
        )

    @state.setter
    def state(self, state: State) -> None:
        for layer, values in enumerate(state):
            for part, value in zip(self._parts.values(), values, strict=True):
                part[layer, :, : self.config.hidden] = value
        self._round()

    def reset(self, streams: NDArray[Any] | slice = slice(None)) -> None:
        """Zero the state of ``streams`` (an index, a mask or a slice; default: all)."""
        for part in self._parts.values():
            part[:, streams] = 0
        self._round()

    def _round(self) -> None:
        """Update the rounded state from ``hx``."""
        if self.packed.variant.integer:
            hx = self._hx[self._parity]
            self._rounded[self._parity] = rounded_state(hx, state_scale(self.packed.hidden))

    def step(self, ids: Ids) -> Array:
        """Read ``ids (N,)``; return logits ``(N, V)``, valid until the next step."""
        self._call(np.array(ids, np.int32).reshape(1, -1), logits=True)
        return self._logits[:, : self.config.vocab_size]

    def feed(self, ids: Ids) -> None:
        """Read the text ``ids (T,)`` in every stream, to update the state."""
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

        If ``config`` has a filter that is not compiled, NumPy filters and draws.
        """
        if not all(f.compiled and f.name in DRAW_FILTERS for f, _ in config.chain):
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
        """Read ``rows (T, N)``; with ``choice``, read the first of T + 1 rows and draw the rest."""
        given, steps = (rows, len(rows)) if choice is None else (rows[:1], len(rows) - 1)
        if given.size and not 0 <= given.min() <= given.max() < self.config.vocab_size:
            raise IndexError(f"ids must be at least 0 and below {self.config.vocab_size}")
        plan = self._plan
        changes = {
            "steps": steps, "want_logits": int(logits or choice is not None),
            "want_draw": int(choice is not None), "parity": self._parity, "barrier": 0,
            "ids": rows.ctypes.data, "uniforms": 0 if uniforms is None else uniforms.ctypes.data,
            "top_k": choice.top_k if choice else 0,
        }  # fmt: skip
        for name, value in changes.items():
            plan[_INDEX[name]] = value
        if choice is not None:
            reals = plan.view(np.float64)
            temperature = choice.temperature
            reals[_INDEX["scale"]] = inverse_temperature(temperature) if temperature > 0 else -1.0
            reals[_INDEX["top_p"]], reals[_INDEX["min_p"]] = choice.top_p, choice.min_p
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
    """A pool of threads; None if the system refuses to start any."""
    pool = ThreadPoolExecutor(threads)
    try:
        pool.submit(int)
    except RuntimeError:
        return None
    return pool


_INDEX = {name: index for index, name in enumerate(FIELDS)}
