"""What this machine can do: bytes read and float32 products a second."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.compiled.layout import aligned

# floats that a pass of the reading loop takes: 8 vectors of 16
STEP = 128


def machine_name() -> str:
    """The processor's name and how many of it this process may use."""
    from charrnn.generation.factory import cpus

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text("utf-8", "replace").splitlines()
        name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
    return f"{name}, {cpus()} processors"


def child_environment() -> dict[str, str]:
    """The environment in which a child process finds the charrnn that runs here."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def seconds(work: Callable[[], object], least: float = 0.05) -> float:
    """Seconds that one call of ``work`` takes, from as many as fill ``least`` seconds."""
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < least or calls == 0:
        work()
        calls += 1
    return spent / calls


def median_seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """The median of ``repeats`` measurements of one call."""
    return statistics.median(seconds(work) for _ in range(repeats))


@cache
def _reading() -> Callable[[int, int], object] | None:
    """``run(address, floats)``: machine code that reads floats; None without llvmlite."""
    try:
        from llvmlite import ir

        from charrnn.generation.compiled.codegen import FLOAT, I64, PTR, Writer
        from charrnn.generation.compiled.machine_code import compile_module, link, processor
    except ImportError:
        return None
    module = ir.Module("read")
    w = Writer(module, "run", [PTR, I64], processor().lanes, True)
    base, count = w.arguments
    sums = [w.variable(w.constant(0.0)) for _ in range(8)]
    with w.loop(w.i64(0), count, 8 * w.lanes) as i:
        for part, total in enumerate(sums):
            here = w.read_vector(base, w.b.add(i, w.i64(part * w.lanes)), FLOAT)
            w.set(total, w.b.fadd(w.get(total), here))
    # what is never used would never be read
    for part, total in enumerate(sums):
        w.write_vector(w.get(total), base, w.i64(part * w.lanes))
    w.end()
    return link(compile_module(str(module)))


class Reader:
    """Reads a working set of ``size`` bytes from end to end, again and again.

    Each of ``threads`` threads reads its own part, with vector loads in machine code, or without
    llvmlite with NumPy's ``max``; other threads run meanwhile.
    """

    def __init__(self, size: int, threads: int) -> None:
        count = max(-(-size // (4 * threads * STEP)), 1) * STEP
        self._parts = [aligned((count,), np.float32) for _ in range(threads)]
        # some milliseconds, beside which waking the threads is nothing
        self._passes = max(1, (512 << 20) // max(size, 1))
        self._pool = ThreadPoolExecutor(threads)
        self.bytes = 4 * count * threads * self._passes

    def __call__(self) -> None:
        """Read ``self.bytes``: the working set as often as makes starting threads cheap."""
        list(self._pool.map(self._read, self._parts))

    def _read(self, part: NDArray[np.float32]) -> None:
        read = _reading()
        for _ in range(self._passes):
            if read is None:
                part.max()
            else:
                read(part.ctypes.data, len(part))


def read_bandwidth(size: int, threads: int) -> float:
    """Bytes a second read from a working set of ``size`` bytes, by 1 or ``threads`` threads."""
    readers = [Reader(size, count) for count in sorted({1, threads})]
    return max(reader.bytes / median_seconds(reader, 3) for reader in readers)
