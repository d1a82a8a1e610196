"""How fast this processor multiplies matrices: measured once, then remembered."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from charrnn.files import write_atomic
from charrnn.library import cache_folder

SIZE = 768
# the fastest of so many products: whatever else runs only ever makes one slower
REPEATS = 6


@cache
def product_rate(dtype: torch.dtype, threads: int) -> float:
    """Operations a second of products in ``dtype`` on ``threads`` threads of this processor.

    The first process that asks measures, some hundredths of a second; later ones read what it
    found in the cache folder, so that a choice that depends on it stays the same.
    """
    key = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {threads} {dtype}"
    path = cache_folder() / "rates.json"
    known = _read(path)
    if key not in known:
        known[key] = _measure(dtype)
        with suppress(OSError):  # it will be measured again
            write_atomic(path, [json.dumps(known, indent=1).encode()])
    return known[key]


def _read(path: Path) -> dict[str, float]:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {k: float(v) for k, v in known.items() if isinstance(v, (int, float)) and v > 0}


def _measure(dtype: torch.dtype) -> float:
    a, b = (torch.ones(SIZE, SIZE, dtype=dtype) for _ in range(2))
    a @ b
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * SIZE**3 / min(seconds)
