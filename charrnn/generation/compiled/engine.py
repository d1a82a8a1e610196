"""The compiled engine: the steps of ``numpy_engine.Engine`` as machine code. Needs llvmlite.

Results agree with the NumPy engine's to 1e-5. A stream's numbers depend neither on the number of
streams nor on the number of threads, to the last bit (see ``kernels``).
"""

from __future__ import annotations

import _thread
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn import amx
from charrnn.config import ModelConfig, StateDtype
from charrnn.generation.compiled import machine_code
from charrnn.generation.compiled.layout import (
    BYTE_ZERO,
    FIELDS,
    HELPER_FIELDS,
    LAYER_FIELDS,
    LEFT,
    LINE,
    MAX_THREADS,
    TILE_LANES,
    Variant,
    aligned,
    slot_bytes,
    tile_bytes,
)
from charrnn.generation.compiled.packing import Packed
from charrnn.generation.draw import inverse_temperature, write
from charrnn.generation.filters import Context
from charrnn.generation.numpy_engine import Array, State
from charrnn.generation.quantization import rounded_state
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
        state_dtype: that of the rounded states that int8 weights are multiplied with.
        threads: at least 1; results do not depend on it.

    Attributes:
        products: what multiplies in the layers; see ``Variant.products``.

    Raises:
        UnsupportedCell: the cell is not one of ``compiled.cells``.
        OSError, RuntimeError: no code can be compiled for this machine.

    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, NDArray[Any]] | Packed,
        streams: int = 1,
        *,
        weight_dtype: str = "float32",
        state_dtype: StateDtype = "int16",
        threads: int = 1,
    ) -> None:
        if not isinstance(weights, Packed):
            weights = Packed.prepare(config, weights, weight_dtype, state_dtype)
        self.config, self.packed, self.streams = config, weights, streams
        variant = _variant(weights, streams)
        self.products = variant.products
        self._run, assist = machine_code.load(variant)
        self._wanted_threads = threads
        work = weights.bytes_per_step * min(streams, 8)
        self.threads = min(threads, MAX_THREADS) if work >= THREAD_BYTES else 1
        N, L, H, V = streams, config.layers, weights.hidden, weights.padded_vocab
        # two for each layer, because a step reads one and writes the other, then the spare ones
        count = 2 * L + self.threads - 1
        self._slots = aligned((count, slot_bytes(N, H)), np.uint8)
        self._features = aligned((N, H), np.float32)
        self._logits = aligned((N, V), np.float32)
        # what a step reads: a character and a random number for each stream
        self._read, self._read_uniforms = aligned((N,), np.int32), aligned((N,), np.float64)
        # what a helper computes of a stage: see ``teamwork.Outputs``
        self._stage_streams = min(N, variant.stage_streams)
        # where helpers put logits and draws
        size = self._stage_streams * 4 * (V + 1)
        self._private = aligned((self.threads - 1, -(-size // 128) * 128), np.uint8)
        self._parity = 0
        self._meeting = aligned((self.threads, LINE), np.int64)
        self._helper_lines = aligned((self.threads, LINE), np.int64)
        self._helper_lines[1:, HELPER_FIELDS.index("spare")] = self._addresses[2 * L :]
        self._plan = self._make_plan()
        self._helpers = _Helpers(assist, self._meeting, self._plan, vars(self).copy())
        self._round()

    def _make_plan(self) -> NDArray[np.int64]:
        packed, plan = self.packed, dict.fromkeys(FIELDS, 0)
        plan |= {
            "streams": self.streams, "layers": self.config.layers, "hidden": packed.hidden,
            "vocab": self.config.vocab_size, "padded_vocab": packed.padded_vocab,
            "threads": self.threads, "features": self._features.ctypes.data,
            "logits": self._logits.ctypes.data,
            "head": packed.head.ctypes.data, "head_bias": packed.head_bias.ctypes.data,
            "read": self._read.ctypes.data,
            "read_uniforms": self._read_uniforms.ctypes.data,
            "meeting": self._meeting.ctypes.data, "helpers": self._helper_lines.ctypes.data,
            "private": self._private.ctypes.data,
            "private_bytes": self._private.shape[1], "stage_streams": self._stage_streams,
            "slot_bytes": self._slots.shape[1],
        }  # fmt: skip
        values = list(plan.values())
        for index, layer in enumerate(packed.layers):
            stride = layer.start[0].size if len(layer.start) > 1 else 0
            fields = {
                "start": layer.start.ctypes.data, "start_stride": stride,
                "x": layer.x.weights.ctypes.data, "x_scale": layer.x.scale.ctypes.data,
                "x_first": layer.x.first.ctypes.data, "x_width": layer.x.weights.shape[1],
                "h": layer.h.weights.ctypes.data, "h_scale": layer.h.scale.ctypes.data,
                "h_first": layer.h.first.ctypes.data,
                "even_slot": self._addresses[2 * index],
                "odd_slot": self._addresses[2 * index + 1],
            }  # fmt: skip
            values += [fields[name] for name in LAYER_FIELDS]
        out = aligned((len(values),), np.int64)
        out[:] = values
        out.view(np.float64)[_INDEX["state_scale"]] = packed.variant.scale(packed.hidden)
        return out

    def sibling(self, streams: int) -> Self:
        """An engine for ``streams`` texts over the same weights, from the zero state."""
        return type(self)(self.config, self.packed, streams, threads=self._wanted_threads)

    @property
    def _addresses(self) -> list[int]:
        return [slot.ctypes.data for slot in self._slots]

    def _parts(self, layer: int) -> dict[str, Array]:
        """The parts of a layer's state by name, ``(N, padded H)``, as they are now."""
        h, c, _ = self._slot(layer)
        parts = {"h": h, "c": c}
        return {name: parts[name] for name in self.config.state_widths}

    def _slot(self, layer: int) -> tuple[Array, Array, NDArray[Any]]:
        """``h``, ``c`` and the rounded ``h`` of a layer, ``(N, padded H)``, as they are now."""
        address = self._plan[_slot_index(layer, self._parity)]
        bytes_, shape = self._slots[self._addresses.index(address)], (-1, self.packed.hidden)
        size = self.streams * self.packed.hidden
        h, c = bytes_[: 8 * size].view(np.float32).reshape(2, *shape)
        rounded = bytes_[8 * size : 10 * size]
        if self.packed.variant.bytes:
            return h, c, rounded[:size].reshape(shape)
        return h, c, rounded.view(np.int16).reshape(shape)

    @property
    def state(self) -> State:
        """Copies of each layer's parts ``(N, H)``, in the order in which the cell declares them."""
        H = self.config.hidden
        return tuple(
            tuple(part[:, :H].copy() for part in self._parts(layer).values())
            for layer in range(self.config.layers)
        )

    @state.setter
    def state(self, state: State) -> None:
        for layer, values in enumerate(state):
            for part, value in zip(self._parts(layer).values(), values, strict=True):
                part[:, : self.config.hidden] = value
        self._round()

    def reset(self, streams: NDArray[Any] | slice = slice(None)) -> None:
        """Zero the state of ``streams`` (an index, a mask or a slice; default: all)."""
        for layer in range(self.config.layers):
            for part in self._parts(layer).values():
                part[streams] = 0
        self._round()

    def begin(self, streams: NDArray[np.intp], state: State) -> None:
        """Set the state of ``streams`` to ``state``, that of one stream."""
        for layer, values in enumerate(state):
            for part, value in zip(self._parts(layer).values(), values, strict=True):
                part[streams, : self.config.hidden] = value
        self._round(streams)

    def _round(self, streams: NDArray[np.intp] | slice = slice(None)) -> None:
        """Update the rounded state of ``streams``."""
        variant = self.packed.variant
        if variant.integer:
            for layer in range(self.config.layers):
                h, _, rounded = self._slot(layer)
                zero = np.float32(BYTE_ZERO if variant.bytes else 0)
                scale = variant.scale(self.packed.hidden)
                rounded[streams] = rounded_state(h[streams], scale) + zero

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
            "want_draw": int(choice is not None), "parity": self._parity,
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
        self._helpers.call()
        self._run(plan.ctypes.data, 0)
        self._parity ^= steps & 1


def _variant(packed: Packed, streams: int) -> Variant:
    """What the kernel for ``streams`` texts is compiled for.

    Linux is asked for tiles only where they would be used.
    """
    variant, here = packed.variant, machine_code.processor()
    fits = variant.bytes and variant.lanes == TILE_LANES and streams >= amx.ROWS
    usable = fits and here.byte_tiles and amx.permitted()
    tiles = tile_bytes(packed.hidden) if usable else 0
    return replace(variant, many=streams >= variant.block, tile_bytes=tiles)


class _Helpers:
    """Threads that run ``assist`` while an engine is called, and leave when it is not.

    Args:
        assist: the compiled function.
        meeting: the table where they meet; see ``teamwork``.
        plan: the engine's plan.
        memory: all that ``assist`` reads or writes; kept alive until the last thread has left.

    """

    def __init__(
        self, assist: machine_code.Run, meeting: NDArray[np.int64], plan: NDArray[np.int64],
        memory: object,
    ) -> None:  # fmt: skip
        self._assist, self._plan, self._memory = assist, plan, memory
        self._marks = meeting[:, 0]
        self._marks[1:] = LEFT
        self._locks = [_thread.allocate_lock() for _ in self._marks]
        self._called = [False for _ in self._marks]

    def call(self) -> None:
        """Call those that have left; do not wait for them."""
        for helper in range(1, len(self._marks)):
            if self._marks[helper] == LEFT:
                self._called[helper] = True  # before the lock is looked at: see ``_help``
                if not self._locks[helper].locked():
                    # ``threading`` would lose its way if a signal handler raised meanwhile
                    with suppress(RuntimeError):  # the system refuses, or Python is ending
                        _thread.start_new_thread(self._help, (helper,))

    def _help(self, helper: int) -> None:
        """Be ``helper``, unless another thread is.

        A helper that has left needs Python's global lock before its own lock is free. It is called
        in vain meanwhile, and would be missing for as long as that call takes: so it looks for a
        call once its lock is free.
        """
        memory, lock = self._memory, self._locks[helper]
        while lock.acquire(blocking=False):
            self._called[helper] = False
            try:
                self._assist(self._plan.ctypes.data, helper)
            finally:
                lock.release()
            if not self._called[helper]:
                break
        del memory


def _slot_index(layer: int, parity: int) -> int:
    """Where the plan has the address of a layer's slot."""
    fields = len(FIELDS) + layer * len(LAYER_FIELDS)
    return fields + LAYER_FIELDS.index("even_slot") + parity


_INDEX = {name: index for index, name in enumerate(FIELDS)}
