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

found = {}
for cell in "lstm", "gru":
    run(Path("novel.txt"), Path(cell), steps=10, hidden=64, precision="bfloat16", cell=cell,
        batch=16, window=32, threads=int(sys.argv[1]))
    values = tensors(Path(cell)).values()
    found[cell] = hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()
print(json.dumps([found, torch.get_num_threads(), is_dynamic()]))
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


def trained(threads: int, place: Path, **env: str) -> list[Any]:
    """The hash of a run's tensors for each cell, and torch's threads and OpenMP's setting then."""
    place.mkdir()
    (place / "novel.txt").write_text(TEXT)
    program = f"import os; os.chdir({str(place)!r})\n{_TRAINS}"
    found: list[Any] = json.loads(python(program, str(threads), **env))
    return found


@pytest.fixture(scope="module")
def plain(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """What is trained with one and with two threads where no variable says otherwise."""
    place, cache = tmp_path_factory.mktemp("plain"), str(session_cache)
    return {n: trained(n, place / str(n), CHARRNN_CACHE=cache) for n in (1, 2)}


@pytest.mark.parametrize("env", FEWER, ids=str)
def test_bfloat16_products_are_right(env: dict[str, str]) -> None:
    threads = "4" if "OMP_DYNAMIC" in env else "1"
    assert python(_MULTIPLIES, **env).split() == ["True", threads]


@pytest.mark.parametrize("env", FEWER, ids=str)
def test_a_run_is_that_of_the_threads_that_there_are(
    env: dict[str, str], tmp_path: Path, plain: dict[int, list[Any]]
) -> None:
    """With our kernels and with torch's layer."""
    dynamic = "OMP_DYNAMIC" in env
    limited, *left = trained(2, tmp_path / "limited", **env)
    wanted, usual, _ = plain[2 if dynamic else 1]
    assert limited == wanted
    assert left == [usual, dynamic]  # the program's own settings are back


# trains, and then trains in two processes of a pool
_POOL = """
import multiprocessing, os, sys
from pathlib import Path

from tests.support.runs import SMALL, run, tensors

HERE = Path(sys.argv[1])

def train(precision, name):
    out = HERE / f"{name}-{precision}"
    run(HERE / "novel.txt", out, hidden=64, batch=32, steps=5, threads=2, precision=precision)
    weights = tensors(out, "best.safetensors")
    return sum(float(value.sum()) for value in weights.values())

if __name__ == "__main__":
    here = {precision: train(precision, "here") for precision in ("float32", "bfloat16")}
    pool = multiprocessing.get_context(sys.argv[2]).Pool(2)
    try:
        for precision, own in here.items():
            asked = pool.starmap_async(train, [(precision, "first"), (precision, "second")])
            there = asked.get(60)
            assert there[0] == there[1], (precision, there)
            assert abs(there[0] - own) < 0.01 * abs(own), (precision, own, there)
    except multiprocessing.TimeoutError:
        for process in pool._pool:
            process.kill()
        sys.exit(f"it hangs in {precision}")
    pool.close()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_trains_after_the_program_has_trained(method: str, tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text(TEXT)
    (tmp_path / "pool.py").write_text(_POOL)
    command = [sys.executable, str(tmp_path / "pool.py"), str(tmp_path), method]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
