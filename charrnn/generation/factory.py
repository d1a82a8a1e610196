"""Which engine: the compiled one where it works, else NumPy's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from numpy.typing import NDArray

from charrnn.config import ModelConfig, WeightDtype
from charrnn.generation.numpy_engine import Engine, Weights
from charrnn.settings import check_choice

if TYPE_CHECKING:
    from charrnn.generation.compiled.engine import FastEngine

AnyEngine: TypeAlias = "Engine | FastEngine"

# one stream is bound by memory, which two threads use up
MAX_THREADS = 2


def open_engine(
    config: ModelConfig,
    weights: dict[str, NDArray[Any]] | Weights,
    streams: int = 1,
    *,
    form: WeightDtype = "float32",
    accelerate: bool = True,
    together: bool = False,
    threads: int = 0,
) -> AnyEngine:
    """The fastest engine that works here; without llvmlite that is ``Engine``.

    Args:
        config: the network's shape.
        weights: its weights, named and shaped as ``config.shapes()``, or prepared.
        streams: N, at least 1.
        form: how recurrent weights are stored. ``float16`` and ``int8`` (with a scale a row) are
            read in less time and round the weights; products are summed in float32 in any case.
            The NumPy engine rounds the same and is no faster for it.
        accelerate: whether to look for the compiled engine.
        together: as in ``Engine``; the compiled engine has no need of it.
        threads: 0 is up to two, as the machine has them.

    Raises:
        ConfigError: ``form`` is none of those above.

    """
    check_choice("form", form, get_args(WeightDtype))
    if isinstance(weights, dict):
        weights = Weights.prepare(config, weights)
    if accelerate:
        try:
            from charrnn.generation.compiled.engine import FastEngine

            threads = threads or min(MAX_THREADS, cpus())
            return FastEngine(config, weights, streams, form=form, threads=threads)
        except (ImportError, OSError, RuntimeError):
            # no llvmlite, one too old, or a processor that it makes no code for
            pass
    return Engine(config, weights.stored_as(form), streams, together=together)


def cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
