"""Chooses the engine: the first that supports the cell and works on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from numpy.typing import NDArray

from charrnn.config import ModelConfig, WeightDtype
from charrnn.generation.numpy_engine import Engine, Weights
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
        accelerate: whether to try the compiled engine.
        batched: as in ``Engine``; the compiled engine ignores it.
        threads: 0 for up to two, if the machine has them.

    Raises:
        ConfigError: ``weight_dtype`` is invalid.
        KeyError, ValueError: a weight is missing, or has another shape.

    """
    check_choice("weight_dtype", weight_dtype, get_args(WeightDtype))
    if accelerate:
        try:
            from charrnn.generation.compiled.engine import CompiledEngine

            threads = threads or min(MAX_THREADS, cpus())
            return CompiledEngine(
                config, weights, streams, weight_dtype=weight_dtype, threads=threads
            )
        except (ImportError, OSError, RuntimeError):
            # unsupported cell or processor; llvmlite missing or too old
            pass
    return Engine(
        config, Weights.prepare(config, weights).quantized(weight_dtype), streams, batched=batched
    )


def cpus() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
