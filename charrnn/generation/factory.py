"""Chooses the engine: the first that supports the cell and works on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from numpy.typing import NDArray

from charrnn.config import ModelConfig, StateDtype, WeightDtype
from charrnn.generation.numpy_engine import Engine, Weights
from charrnn.generation.quantization import check_state_dtype
from charrnn.settings import check_choice

if TYPE_CHECKING:
    from charrnn.generation.compiled.engine import CompiledEngine

AnyEngine: TypeAlias = "Engine | CompiledEngine"

# one stream is bound by memory bandwidth, which two threads exhaust
MAX_THREADS = 2


def open_engine(
    config: ModelConfig,
    weights: Mapping[str, NDArray[Any]],
    streams: int = 1,
    *,
    weight_dtype: WeightDtype = "float32",
    state_dtype: StateDtype = "int16",
    accelerate: bool = True,
    batched: bool = False,
    threads: int = 0,
) -> AnyEngine:
    """The fastest engine that supports the cell and works here; ``Engine`` without llvmlite.

    Args:
        config: the network's shape.
        weights: its weights, named and shaped as ``config.shapes()``.
        streams: N, at least 1.
        weight_dtype: how recurrent weights are stored. ``float16`` and ``int8`` (with one scale per
            row) round the weights and are faster to read; sums are always float32. The NumPy engine
            rounds the same way but gains no speed.
        state_dtype: how finely the states are rounded that int8 weights are multiplied with, if the
            cell bounds them; other weights are multiplied with exact states. ``int8`` makes many
            streams faster where the processor multiplies bytes, and rounds the same elsewhere.
        accelerate: whether to try the compiled engine.
        batched: as in ``Engine``; the compiled engine ignores it.
        threads: 0 for up to two, if the machine has them.

    Raises:
        ConfigError: ``weight_dtype`` or ``state_dtype`` is invalid, or states are not rounded.
        KeyError, ValueError: a weight is missing, or has another shape.

    """
    check_choice("weight_dtype", weight_dtype, get_args(WeightDtype))
    check_choice("state_dtype", state_dtype, get_args(StateDtype))
    if state_dtype != "int16":
        check_state_dtype(config.cell, weight_dtype, state_dtype)
    if accelerate:
        try:
            from charrnn.generation.compiled.engine import CompiledEngine

            threads = threads or min(MAX_THREADS, cpus())
            return CompiledEngine(
                config, weights, streams,
                weight_dtype=weight_dtype, state_dtype=state_dtype, threads=threads,
            )  # fmt: skip
        except (ImportError, OSError, RuntimeError):
            # unsupported cell or processor; llvmlite missing or too old
            pass
    rounded = Weights.prepare(config, weights).quantized(weight_dtype, state_dtype)
    return Engine(config, rounded, streams, batched=batched)


def cpus() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
