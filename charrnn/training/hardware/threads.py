"""How many threads torch's OpenMP starts; its variables may allow fewer than torch asks for.

oneDNN divides a bfloat16 product among the threads that it asks for, and assumes that it gets them
all: with fewer, a part of the result is whatever was in memory. And a process that was forked from
one that has trained has none of its threads, but OpenMP would wait for them for ever.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path
from typing import Any

import torch


@functools.cache
def _library() -> Any:
    """The OpenMP that torch was linked with, or None: its functions are found through torch."""
    suffix = "dylib" if sys.platform == "darwin" else "so"
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{suffix}"))
        functions = "get_dynamic", "set_dynamic", "get_thread_limit", "get_max_active_levels"
        for name in functions:
            getattr(library, f"omp_{name}")
    except (OSError, AttributeError):
        return None
    return library


def is_dynamic() -> bool:
    """Whether OpenMP may start fewer threads on a busy machine (``OMP_DYNAMIC``)."""
    library = _library()
    return library is not None and bool(library.omp_get_dynamic())


def set_dynamic(wanted: bool) -> None:
    """Change that for this thread."""
    library = _library()
    if library is not None:
        library.omp_set_dynamic(int(wanted))


_started = False  # whether OpenMP has threads in this process
_lost = False  # whether it had some before this process was forked


def note_start() -> None:
    """Remember that OpenMP starts threads in this process."""
    global _started
    _started = True


def _note_fork() -> None:
    global _lost
    _lost = _lost or _started


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def share_of_cores(processes: int) -> int:
    """The threads of each of so many ``processes`` on this machine: its cores, divided among them.

    ``OMP_NUM_THREADS`` decides if it is set, but not if it is 1: that is what torchrun sets it to.
    """
    if processes == 1 or os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return torch.get_num_threads()
    return max(1, _cores() // processes)


def _cores() -> int:
    """The cores that this process may use; like torch, it counts two hardware threads as one."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if allowed is None:
        return os.cpu_count() or 1
    cores = set()
    for cpu in allowed:
        beside = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(beside.read_text())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def thread_limit() -> int:
    """The most threads that OpenMP starts here: variables limit them, and a fork loses them."""
    if _lost:
        return 1
    library = _library()
    if library is None:
        return sys.maxsize
    return 1 if library.omp_get_max_active_levels() == 0 else int(library.omp_get_thread_limit())
