"""Variables of OpenMP that allow fewer threads than torch asks for do not spoil its products."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import environment, python
from tests.support.processes import TEXT

FEWER = [
    {"OMP_THREAD_LIMIT": "1"},
    {"OMP_MAX_ACTIVE_LEVELS": "0"},
    {"OMP_DYNAMIC": "true"},
]

_TRAINS = """
import hashlib, json, sys
from pathlib import Path

import torch

from charrnn.training.hardware.threads import is_dynamic
from tests.support.runs import run, tensors

run(Path("novel.txt"), Path("run"), steps=10, hidden=64, precision="bfloat16", cell=sys.argv[1],
    batch=16, window=32, threads=int(sys.argv[2]))
found = hashlib.sha256(b"".join(value.tobytes() for value in tensors(Path("run")).values()))
print(json.dumps([found.hexdigest(), torch.get_num_threads(), is_dynamic()]))
"""

_MULTIPLIES = """
import torch

from charrnn.config import TrainConfig
from charrnn.training.hardware.device import choose_hardware, own_torch_settings

ones = torch.ones(768, 768, dtype=torch.bfloat16)
with own_torch_settings():
    hardware = choose_hardware(TrainConfig(steps=1, device="cpu", threads=4))
    print(all(bool(((ones @ ones) == 768).all()) for _ in range(10)), hardware.threads)
"""


def trained(cell: str, threads: int, place: Path, **env: str) -> list[Any]:
    """The hash of a run's tensors, and torch's threads and OpenMP's setting after it."""
    place.mkdir()
    (place / "novel.txt").write_text(TEXT)
    program = f"import os; os.chdir({str(place)!r})\n{_TRAINS}"
    found: list[Any] = json.loads(python(program, cell, str(threads), **env))
    return found


@pytest.mark.parametrize("env", FEWER, ids=str)
def test_bfloat16_products_are_right(env: dict[str, str]) -> None:
    threads = "4" if "OMP_DYNAMIC" in env else "1"
    assert python(_MULTIPLIES, **env).split() == ["True", threads]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("env", FEWER, ids=str)
def test_a_run_is_that_of_the_threads_that_there_are(
    env: dict[str, str], cell: str, tmp_path: Path
) -> None:
    dynamic = "OMP_DYNAMIC" in env
    limited, *left = trained(cell, 2, tmp_path / "limited", **env)
    plain, usual, _ = trained(cell, 2 if dynamic else 1, tmp_path / "plain")
    assert limited == plain
    assert left == [usual, dynamic]  # the program's own settings are back


# trains, and then trains in two processes of a pool
_POOL = """
import multiprocessing, os, sys
from pathlib import Path

from tests.support.runs import SMALL, run, tensors

HERE = Path(sys.argv[1])

def train(name):
    run(HERE / "novel.txt", HERE / name, hidden=64, batch=32, steps=5, threads=2,
        precision=sys.argv[3])
    weights = tensors(HERE / name, "best.safetensors")
    return sum(float(value.sum()) for value in weights.values())

if __name__ == "__main__":
    here = train("here")
    pool = multiprocessing.get_context(sys.argv[2]).Pool(2)
    try:
        there = pool.map_async(train, ["first", "second"]).get(60)
    except multiprocessing.TimeoutError:
        for process in pool._pool:
            process.kill()
        sys.exit("it hangs")
    pool.close()
    assert there[0] == there[1] and abs(there[0] - here) < 0.01 * abs(here), (here, there)
"""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_trains_after_the_program_has_trained(
    method: str, precision: str, tmp_path: Path
) -> None:
    (tmp_path / "novel.txt").write_text(TEXT)
    (tmp_path / "pool.py").write_text(_POOL)
    command = [sys.executable, str(tmp_path / "pool.py"), str(tmp_path), method, precision]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
