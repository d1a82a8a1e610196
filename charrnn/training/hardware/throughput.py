"""How fast this machine multiplies matrices: measured, and cached on disk."""

from __future__ import annotations

import json
import platform
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from charrnn.atomic_io import write_atomic
from charrnn.paths import cache_folder

CPU = torch.device("cpu")
CPU_SIZE, GPU_SIZE = 768, 4096  # on a GPU, small products would measure the time of a launch
# The fastest of so many products counts: other programs only ever make one slower.
REPEATS = 6
# A cached value below this part of a new one was measured while the machine was busy.
BUSY = 0.9
# the CPU flags that decide how fast a processor multiplies
UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def matmul_throughput(dtype: torch.dtype, device: torch.device = CPU) -> float:
    """Operations a second of a large product in ``dtype`` on ``device``, with torch's threads.

    Every process measures, which takes some hundredths of a second, but returns the value that an
    earlier one cached unless that is much lower. So a choice that depends on it stays the same.
    """
    return _known_throughput(dtype, device, torch.get_num_threads())


@cache
def _known_throughput(dtype: torch.dtype, device: torch.device, threads: int) -> float:
    where = f", {threads} threads" if device.type == "cpu" else ""
    key = f"torch {torch.__version__}, {machine(device)}{where}, {dtype}"
    found = _measure(dtype, device)
    known = {key: found}
    with suppress(OSError):  # without a cache, the next process measures again
        path = cache_folder() / "rates.json"
        known = _read(path)
        if known.get(key, 0.0) < BUSY * found:
            known[key] = found
            write_atomic(path, [json.dumps(known, indent=1).encode()])
    return known[key]


def machine(device: torch.device) -> str:
    """The name of the GPU or CPU, and which of ``UNITS`` the operating system enables.

    Machines may share a home folder, and a newer Linux may enable what an older one did not.
    """
    if device.type != "cpu":
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return " ".join([name, *(unit for unit in UNITS if unit in cpu_flags())])


def cpu_flags() -> frozenset[str]:
    """The flags of this processor that Linux reports; empty on other systems."""
    lines = (line.partition(":")[2] for line in _cpuinfo() if line.startswith("flags"))
    return frozenset(next(lines, "").split())


@cache
def _cpuinfo() -> tuple[str, ...]:
    try:
        return tuple(Path("/proc/cpuinfo").read_text().splitlines())
    except OSError:
        return ()


def _read(path: Path) -> dict[str, float]:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {k: float(v) for k, v in known.items() if isinstance(v, (int, float)) and v > 0}


def _measure(dtype: torch.dtype, device: torch.device) -> float:
    size = CPU_SIZE if device.type == "cpu" else GPU_SIZE
    # random numbers: a GPU multiplies ones faster than anything that a network holds
    rng = torch.Generator(device).manual_seed(0)
    a, b = (torch.rand(size, size, generator=rng, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds[1:])
