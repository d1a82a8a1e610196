"""Run a compiled function on every thread of torch's own OpenMP team.

torch keeps its OpenMP workers spinning for a while after every parallel operator, and threads of
our own would compete with them for the cores. ``GOMP_parallel``, the entry point that gcc emits for
``#pragma omp parallel``, uses those workers instead and costs a few microseconds, and
``GOMP_barrier`` lets them sleep when they wait for long (``charrnn.model.openmp``). If torch uses
another OpenMP, plain Python threads do the work.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import torch
from numba import njit

from charrnn.model.kernels.simd import atomic_add, atomic_load, call_int, pause, peek

# slots of the header that starts every kernel's parameter table
(SIZE, TICKETS, COUNTER, YIELD, THREAD_NUM, NUM_THREADS, BARRIER) = range(7)
HEADER = 7
_SPINS = 1000  # some 50 microseconds, before a waiting thread yields its core
_VOID_P = ctypes.c_void_p


@njit
def join(p):
    """The calling thread's number, and the team's size."""
    if peek(p, THREAD_NUM) != 0:
        return call_int(peek(p, THREAD_NUM)), call_int(peek(p, NUM_THREADS))
    return atomic_add(peek(p, TICKETS), 1), peek(p, SIZE)


@njit
def barrier(p, arrivals):
    """Wait until this was called ``arrivals`` times since the start, counting all threads."""
    if peek(p, BARRIER) != 0:
        call_int(peek(p, BARRIER))
        return
    counter = peek(p, COUNTER)
    atomic_add(counter, 1)
    spins = 0
    while atomic_load(counter) < arrivals:
        spins += 1
        pause()
        if spins > _SPINS:
            call_int(peek(p, YIELD))


@functools.cache
def _openmp() -> tuple[Any, list[int]] | None:
    """GOMP_parallel, and addresses of what ``join`` and ``barrier`` call; None without them."""
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if "libgomp" in line}
        (path,) = paths
        library = ctypes.CDLL(path)
        start = library.GOMP_parallel
        start.argtypes = [_VOID_P, _VOID_P, ctypes.c_uint, ctypes.c_uint]
        start.restype = None
        addresses = [
            ctypes.cast(f, _VOID_P).value or 0
            for f in (library.omp_get_thread_num, library.omp_get_num_threads, library.GOMP_barrier)
        ]
        return start, addresses
    except (OSError, ValueError, AttributeError):
        return None


@functools.cache
def _yield_address() -> int:
    return ctypes.cast(ctypes.CDLL(None).sched_yield, _VOID_P).value or 0


@functools.cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size - 1, thread_name_prefix="lstm")


def _wait(others: list[Future[None]]) -> None:
    """Wait for all of ``others``, whatever is raised meanwhile: they use memory of the caller's."""
    try:
        wait(others)
    except BaseException:
        _wait(others)
        raise


class Team(threading.local):
    """Starts kernels with a parameter table; one shared instance per Python thread."""

    def __init__(self) -> None:
        # the ticket and barrier counters, each on its own cache line
        self.shared = torch.zeros(32, dtype=torch.int64)

    def run(self, entry: int | None, values: list[int], size: int) -> None:
        """Call the C function ``entry(table)`` on ``size`` threads; table = header + values."""
        self.shared.zero_()
        base = self.shared.data_ptr()
        openmp = _openmp()
        functions = openmp[1] if openmp and size > 1 else [0, 0, 0]
        header = [size, base, base + 128, _yield_address(), *functions]
        table = (ctypes.c_int64 * (HEADER + len(values)))(*header, *values)
        address = ctypes.addressof(table)
        if openmp and size > 1:
            openmp[0](entry, address, size, 0)
            return
        call = ctypes.CFUNCTYPE(None, _VOID_P)(entry)
        others = [_pool(size).submit(call, address) for _ in range(size - 1)]
        try:
            call(address)
        finally:
            _wait(others)


team = Team()
