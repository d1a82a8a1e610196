"""The hardware: the processor's name and the bytes that it reads per second."""

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

# floats per pass of the reading loop: 8 vectors of at most 16
STEP = 128


def machine_name() -> str:
    """The processor's name, and how many processors this process may use."""
    from charrnn.generation.factory import cpus

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text("utf-8", "replace").splitlines()
        name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
    return f"{name}, {cpus()} processors"


def child_environment() -> dict[str, str]:
    """An environment in which a child process imports this copy of charrnn."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def seconds(work: Callable[[], object], least: float = 0.05) -> float:
    """Seconds per call of ``work``, averaged over at least ``least`` seconds of calls."""
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
    """``run(address, count)``, machine code that reads ``count`` floats; None without llvmlite."""
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
            vector = w.read_vector(base, w.b.add(i, w.i64(part * w.lanes)), FLOAT)
            w.set(total, w.b.fadd(w.get(total), vector))
    # store the sums, or the compiler would drop the reads
    for part, total in enumerate(sums):
        w.write_vector(w.get(total), base, w.i64(part * w.lanes))
    w.end()
    [run] = link(compile_module(str(module)), "run")
    return run


class Reader:
    """Reads a working set of ``size`` bytes from start to end, several times per call.

    Each of ``threads`` threads reads its own part, with vector loads in machine code, or with
    NumPy's ``max`` if llvmlite is missing; both release Python's global lock.
    """

    def __init__(self, size: int, threads: int) -> None:
        count = max(-(-size // (4 * threads * STEP)), 1) * STEP
        self._parts = [aligned((count,), np.float32) for _ in range(threads)]
        # enough passes that the time to wake the threads does not matter
        self._passes = max(1, (512 << 20) // max(size, 1))
        self._pool = ThreadPoolExecutor(threads)
        self.bytes = 4 * count * threads * self._passes

    def __call__(self) -> None:
        """Read ``self.bytes`` bytes."""
        list(self._pool.map(self._read, self._parts))

    def _read(self, part: NDArray[np.float32]) -> None:
        read = _reading()
        for _ in range(self._passes):
            if read is None:
                part.max()
            else:
                read(part.ctypes.data, len(part))


def read_bandwidth(size: int, threads: int) -> float:
    """Bytes read per second from a set of ``size`` bytes; the best of 1 and ``threads`` threads."""
    readers = [Reader(size, count) for count in sorted({1, threads})]
    return max(reader.bytes / median_seconds(reader, 3) for reader in readers)
