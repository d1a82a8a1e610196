"""How fast this machine multiplies matrices: measured, and remembered."""

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
CPU_SIZE, GPU_SIZE = 768, 4096  # a GPU would spend small products on being started
# the fastest of so many products: whatever else runs only ever makes one slower
REPEATS = 6
BUSY = 0.9  # of a new reading: what is remembered was measured while the machine was at other work
# what decides how a processor multiplies, of the many flags that Linux tells
UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def matmul_throughput(dtype: torch.dtype, device: torch.device = CPU) -> float:
    """Operations a second of products in ``dtype`` on ``device``; a CPU's in torch's threads.

    Every process measures, some hundredths of a second, but takes what an earlier one left in the
    cache folder unless that is much less, so that a choice that depends on it stays the same.
    """
    return _known_throughput(dtype, device, torch.get_num_threads())


@cache
def _known_throughput(dtype: torch.dtype, device: torch.device, threads: int) -> float:
    where = f", {threads} threads" if device.type == "cpu" else ""
    key = f"torch {torch.__version__}, {machine(device)}{where}, {dtype}"
    path = cache_folder() / "rates.json"
    known = _read(path)
    found = _measure(dtype, device)
    if known.get(key, 0.0) < BUSY * found:
        known[key] = found
        with suppress(OSError):  # it will be measured again
            write_atomic(path, [json.dumps(known, indent=1).encode()])
    return known[key]


def machine(device: torch.device) -> str:
    """Which GPU or processor that is, and which of ``UNITS`` the system lets programs use.

    A home folder may be shared by machines, and a new kernel may unlock what an old one did not.
    """
    if device.type != "cpu":
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return " ".join([name, *(unit for unit in UNITS if unit in cpu_flags())])


def cpu_flags() -> frozenset[str]:
    """What Linux says of this processor; nothing on other systems."""
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
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        (a @ b)[0, 0].item()  # which waits for the device
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds[1:])
