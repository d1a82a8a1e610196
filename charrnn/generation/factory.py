"""Chooses the engine: the first that knows the cell and works on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from numpy.typing import NDArray

from charrnn.config import ModelConfig, WeightDtype
from charrnn.generation.numpy_engine import Engine, Weights
from charrnn.settings import check_choice

if TYPE_CHECKING:
    from charrnn.generation.compiled.engine import CompiledEngine

AnyEngine: TypeAlias = "Engine | CompiledEngine"

# one stream is bound by memory, which two threads use up
MAX_THREADS = 2


def open_engine(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]],
    streams: int = 1,
    *,
    weight_dtype: WeightDtype = "float32",
    accelerate: bool = True,
    together: bool = False,
    threads: int = 0,
) -> AnyEngine:
    """The fastest engine that knows the cell and works here; without llvmlite that is ``Engine``.

    Args:
        config: the network's shape.
        weights: its weights, named and shaped as ``config.shapes()``.
        streams: N, at least 1.
        weight_dtype: how recurrent weights are stored. ``float16`` and ``int8`` (with a scale a
            row) take less time to read and round the weights; sums are float32 in any case. The
            NumPy engine rounds the same and is no faster for it.
        accelerate: whether to try the compiled engine.
        together: as in ``Engine``; the compiled engine does not need it.
        threads: 0 is up to two, as the machine has them.

    Raises:
        ConfigError: ``weight_dtype`` is none of those above.
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
            # a cell that it does not know; no llvmlite, one too old, or a processor that it makes
            # no code for
            pass
    return Engine(
        config, Weights.prepare(config, weights).quantized(weight_dtype), streams, together=together
    )


def cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
