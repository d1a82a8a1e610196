"""Time and memory of a cold ``charrnn sample`` until its first character."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.bench.eager import Weights
from charrnn.bench.machine import child_environment
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.paths import BEST
from charrnn.text.vocab import Vocab

# run in a child process, so that RUSAGE_CHILDREN counts only the measured command
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@dataclass(frozen=True)
class Start:
    """Median seconds of whole processes, and the peak resident memory of ``sample``."""

    first_character_s: float
    import_torch_s: float
    peak_memory_mb: float


def measure(config: ModelConfig, weights: Weights, weight_dtype: str, repeats: int) -> Start:
    """Time ``charrnn sample --length 1`` and ``import torch`` in turns, after one warm-up run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, BEST)
        Checkpoint(config, _vocabulary(config.vocab_size), weights).save(path)
        sample = [
            sys.executable, "-m", "charrnn", "sample", str(path),
            "--length", "1", "--seed", "1", "--weight-dtype", weight_dtype,
        ]  # fmt: skip
        commands = {"sample": sample, "torch": [sys.executable, "-c", "import torch"]}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(repeats + 1):
            for name, command in commands.items():
                spent = _seconds(command)
                if turn:  # the first run fills the file cache and compiles kernels
                    times[name].append(spent)
        peak = _peak_bytes(sample)
    first, torch = (statistics.median(times[name]) for name in ("sample", "torch"))
    return Start(first, torch, peak / 1e6)


def _vocabulary(size: int) -> Vocab:
    return Vocab(tuple(range(0x4E00, 0x4E00 + size)), (1,) * size)


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=child_environment(), capture_output=True, check=True)
    return time.perf_counter() - began


def _peak_bytes(command: Sequence[str]) -> int:
    watch = [sys.executable, "-c", _PEAK, *command]
    done = subprocess.run(
        watch, env=child_environment(), capture_output=True, text=True, check=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stdout) * unit
