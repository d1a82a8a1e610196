"""``charrnn bench`` says what it promises; how fast anything is is no business of tests."""

from __future__ import annotations

import math
import resource
import subprocess
import sys

import pytest

from charrnn.bench.machine import read_bandwidth
from charrnn.bench.sampling import Case, char_flops, measure, step_bytes
from charrnn.bench.training import VOCABULARY, bench_training, flops_per_char
from charrnn.config import ModelConfig, TrainConfig
from tests.support.checkpoints import environment

SAMPLE = {
    "chars_per_second", "reference_chars_per_second", "reference_alone_chars_per_second",
    "best_eager_chars_per_second", "ratio", "ratio_alone", "best_eager_ratio",
    "ceiling_chars_per_second", "fraction_of_ceiling", "first_character_s", "import_torch_s",
    "first_character_of_import_torch", "peak_memory_mb",
}  # fmt: skip
TRAIN = {
    "chars_per_second", "reference_chars_per_second", "ratio", "autocast_chars_per_second",
    "matmul_flops", "fraction_of_matmul", "window_overhead",
}  # fmt: skip


def test_sampling() -> None:
    found = measure(Case(2, 32), rounds=1).to_dict()
    assert found["case"] == "2 x 32"
    assert found["weight_dtype"] == "int8"
    assert all(0 < found[name] < math.inf for name in SAMPLE)
    own = found["chars_per_second"]
    assert found["ratio"] == pytest.approx(own / found["reference_chars_per_second"])
    assert found["best_eager_ratio"] == pytest.approx(own / found["best_eager_chars_per_second"])


def test_training() -> None:
    config, settings = ModelConfig(VOCABULARY, hidden=32), TrainConfig(steps=1, batch=8, window=16)
    found = bench_training(config, settings, turns=1, turn_s=0.02, product=64).to_dict()
    assert found.keys() >= TRAIN
    autocast = found.pop("autocast_chars_per_second"), found.pop("autocast_ratio")
    assert all(value is None or float(str(value)) > 0 for value in autocast)
    figures = {name: value for name, value in found.items() if isinstance(value, float)}
    assert all(0 < value < math.inf for value in figures.values())
    ratio = figures["chars_per_second"] / figures["reference_chars_per_second"]
    assert figures["ratio"] == pytest.approx(ratio, abs=1e-3)


def test_the_products_of_a_training_step() -> None:
    config = ModelConfig(50, hidden=64, embedding=32, layers=2)
    assert flops_per_char(config) == 6 * (3 * 4 * 64 * 64 + 50 * 64)


@pytest.mark.parametrize("size", [1 << 18, 8 << 20])
def test_the_plain_loops_get_their_memory_as_anyone_s_do(size: int) -> None:
    """Settings that fetch every piece of memory anew would halve the speed that ours is told by."""
    program = f"""
import resource, sys, torch
from charrnn.model.kernels.memory import default_memory, keep_memory
if sys.argv[1] == "set" and not (keep_memory() and default_memory()):
    raise SystemExit("no glibc")
for round in range(30):
    if round == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones({size}, dtype=torch.uint8)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""
    faults = []
    for how in ("unasked", "set"):
        command = [sys.executable, "-c", program, how]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        if done.stderr.strip() == "no glibc":
            pytest.skip("the C library here is not glibc")
        faults.append(int(done.stdout))
    pages = size // resource.getpagesize()  # each of which would be a fault
    assert faults[1] <= faults[0] + pages // 2


def test_a_step_reads_its_weights() -> None:
    config = ModelConfig(50, hidden=64, layers=3)
    products = 4 * 64 * 64 * 5
    assert step_bytes(config, "float32") == 4 * (products + 50 * 64)
    assert step_bytes(config, "int8") == products + 4 * (4 * 64 * 5 + 50 * 64)
    assert char_flops(config) == 2 * (products + 50 * 64)
    assert Case(3, 64).config.layers == 3


def test_reading_is_faster_than_nothing() -> None:
    assert read_bandwidth(1 << 20, 2) > 0
