"""What a call may leave behind in the program that makes it.

    python -m tests.support.traces CORPUS SETTINGS

trains on a text with settings in JSON, and prints the names of what is not as it was before, and
the MiB that stay resident after a part of a GiB was used and freed.
"""

from __future__ import annotations

import gc
import json
import locale
import logging
import os
import random
import resource
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import charrnn

MIB = 1 << 20
USED = 256 * MIB


def snapshot() -> dict[str, Any]:
    """Everything global that a library could change, by name."""
    numbers: Any = torch.backends.cudnn
    umask = os.umask(0)
    os.umask(umask)
    return {
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": str(np.random.get_state()),  # noqa: NPY002
        "random's generator": random.getstate(),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "determinism": (
            torch.are_deterministic_algorithms_enabled(),
            numbers.benchmark,
            numbers.deterministic,
        ),
        "precision": (torch.get_float32_matmul_precision(), numbers.rnn.fp32_precision),
        "denormals": float(torch.tensor(1e-40) * 1),
        "numpy's errors": np.geterr(),
        "warnings": list(warnings.filters),
        "signal handlers": [signal.getsignal(number) for number in range(1, 32)],
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": umask,
        "locale": locale.setlocale(locale.LC_ALL),
        "priority": os.nice(0),
        "limits": [resource.getrlimit(number) for number in range(10)],
        "root logger": (logging.root.level, logging.root.handlers[:], logging.root.manager.disable),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.gettrace()),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "interpreter": (sys.getswitchinterval(), sys.getrecursionlimit(), sys.argv, sys.path[:]),
        "garbage collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "threads": threading.active_count(),
        "open files": sorted(map(_open_file, os.listdir("/proc/self/fd"))),
    } | {f"logger {name}": state for name, state in _loggers().items()}


def _loggers() -> dict[str, Any]:
    known = logging.root.manager.loggerDict.items()
    return {
        name: (logger.level, logger.handlers[:], logger.propagate, logger.disabled)
        for name, logger in known
        if isinstance(logger, logging.Logger)
    }


def _open_file(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:  # the folder itself, while it was listed
        return ""


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def kept(sizes: int) -> int:
    """MiB that stay resident after ``USED`` bytes in blocks of ``sizes`` were used and freed."""
    before = resident()
    blocks = [np.ones(sizes, np.uint8) for _ in range(USED // sizes)]
    assert resident() - before > 0.9 * USED
    del blocks
    return (resident() - before) // MIB


def main() -> None:
    """Train, and tell what is different."""
    corpus, settings = sys.argv[1], json.loads(sys.argv[2])
    torch.manual_seed(1)
    before = snapshot()
    charrnn.train(corpus, out="run", **settings)
    after = snapshot()
    changed = [name for name, value in before.items() if after[name] != value]
    print(json.dumps({"changed": changed, "kept": [kept(MIB), kept(USED)]}))


if __name__ == "__main__":
    main()
