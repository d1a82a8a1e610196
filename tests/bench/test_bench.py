"""``charrnn bench`` says what it promises; how fast anything is is no business of tests."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import cast

import pytest
import torch

from charrnn.bench import machine
from charrnn.bench.plain import plain_step
from charrnn.bench.sampling import Case, char_flops, measure, step_bytes
from charrnn.bench.step_time import covered, longest
from charrnn.bench.training import (
    DIVIDED,
    VOCABULARY,
    batch_curve,
    bench_training,
    flops_per_char,
)
from charrnn.config import ModelConfig, TrainConfig
from tests.support.checkpoints import environment

GPU = torch.cuda.is_available()
SAMPLE = {
    "chars_per_second", "reference_chars_per_second", "reference_alone_chars_per_second",
    "best_eager_chars_per_second", "ratio", "ratio_alone", "best_eager_ratio",
    "ceiling_chars_per_second", "fraction_of_ceiling", "first_character_s", "import_torch_s",
    "first_character_of_import_torch", "peak_memory_mb",
}  # fmt: skip
TRAIN = {
    "chars_per_second", "reference_chars_per_second", "ratio", "autocast_chars_per_second",
    "matmul_flops", "fraction_of_matmul", "window_overhead", "evaluation_chars_per_second",
    "step_ms", "device",
}  # fmt: skip


RATIOS = {
    "ratio": ("chars_per_second", "reference_chars_per_second"),
    "ratio_alone": ("chars_per_second", "reference_alone_chars_per_second"),
    "best_eager_ratio": ("chars_per_second", "best_eager_chars_per_second"),
    "ceiling_chars_per_second": ("read_bytes_per_second", "bytes_per_step"),
    "fraction_of_ceiling": ("chars_per_second", "ceiling_chars_per_second"),
    "first_character_of_import_torch": ("first_character_s", "import_torch_s"),
}


def test_sampling() -> None:
    found = measure(Case(2, 32, state_dtype="int8"), rounds=1).to_dict()
    assert found["case"] == "2 x 32"
    assert (found["weight_dtype"], found["state_dtype"]) == ("int8", "int8")
    assert found.keys() >= SAMPLE
    assert found["bytes_per_step"] == step_bytes(Case(2, 32).config, "int8")
    for name, (upper, lower) in RATIOS.items():
        assert found[name] == pytest.approx(found[upper] / found[lower]), name
    assert 20 < found["peak_memory_mb"] < 2000  # of a process with NumPy, in megabytes


def test_training() -> None:
    config, settings = ModelConfig(VOCABULARY, hidden=32), TrainConfig(steps=1, batch=8, window=16)
    found = bench_training(
        config, settings, turns=1, turn_s=0.02, product=64, evaluated=2_000
    ).to_dict()
    assert found.keys() >= TRAIN
    assert str(found["device"]).startswith(("cpu, ", torch.cuda.get_device_name() if GPU else "-"))
    assert all((found[name] is None) != GPU for name in DIVIDED)  # only a GPU's steps divide
    figures = {name: value for name, value in found.items() if isinstance(value, float)}
    own, ceiling = figures["chars_per_second"], figures["matmul_flops"]
    assert figures["step_ms"] == pytest.approx(1e3 * 8 * 16 / own, rel=2e-3)
    assert figures["ratio"] == pytest.approx(own / figures["reference_chars_per_second"], rel=2e-3)
    wanted = own * flops_per_char(config) / ceiling
    assert figures["fraction_of_matmul"] == pytest.approx(wanted, rel=2e-3, abs=1e-4)
    if found["autocast_ratio"] is None:  # a processor without bfloat16
        assert found["autocast_chars_per_second"] is None
    else:
        wanted = own / figures["autocast_chars_per_second"]
        assert figures["autocast_ratio"] == pytest.approx(wanted, rel=2e-3)


def test_the_curve_has_a_speed_for_each_batch() -> None:
    config, settings = ModelConfig(VOCABULARY, hidden=16), TrainConfig(steps=1, window=8)
    curve = batch_curve(config, settings, [4, 2], turn_s=0.01)
    assert list(curve) == [4, 2]
    assert min(curve.values()) > 0


@pytest.mark.parametrize(
    ("cell", "autocast"),
    # oneDNN has no LSTM in float16 on most processors
    [("lstm", None), ("lstm", torch.bfloat16), ("gru", torch.float16)],
)
def test_the_plain_loops_learn(cell: str, autocast: torch.dtype | None) -> None:
    config = ModelConfig(VOCABULARY, cell=cell, hidden=16)
    step = plain_step(config, torch.device("cpu"), autocast)
    text = torch.randint(VOCABULARY, (4, 9), generator=torch.Generator().manual_seed(1))
    losses = [cast(torch.Tensor, step(text)).detach().item() for _ in range(40)]
    assert losses[-1] < losses[0] - 0.1


def test_the_time_of_kernels_that_overlap_counts_once() -> None:
    assert covered([]) == 0
    assert covered([(3, 4), (0, 2), (1, 1.5), (1, 2.5)]) == 3.5
    kernels = [("gemm", (0.0, 0.002)), ("copy", (0.0, 0.001)), ("gemm", (0.002, 0.006))]
    assert longest(kernels, 2) == {"gemm": (3.0, 1.0), "copy": (0.5, 0.5)}
    assert list(longest(kernels, 2, most=1)) == ["gemm"]


def test_the_products_of_a_training_step() -> None:
    config = ModelConfig(50, hidden=64, embedding=32, layers=2)
    assert flops_per_char(config) == 6 * (3 * 4 * 64 * 64 + 50 * 64)


def test_the_loops_compared_with_use_the_default_allocator() -> None:
    """Settings that fetch every piece of memory anew would halve the speed that ours is told by."""
    program = """
import resource, sys, torch
from charrnn.model.kernels.memory import default_memory, keep_memory
if sys.argv[1] == "set" and not (keep_memory() and default_memory()):
    raise SystemExit("no glibc")
for size in map(int, sys.argv[2:]):
    for round in range(30):
        if round == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(size, dtype=torch.uint8)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""
    sizes, faults = (1 << 18, 8 << 20), []
    for how in ("unasked", "set"):
        command = [sys.executable, "-c", program, how, *map(str, sizes)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        if done.stderr.strip() == "no glibc":
            pytest.skip("the C library here is not glibc")
        faults.append([int(line) for line in done.stdout.split()])
    for size, unasked, told in zip(sizes, *faults, strict=True):
        pages = size // resource.getpagesize()  # each of which would be a fault
        assert told <= unasked + pages // 2, size


def test_a_step_reads_its_weights() -> None:
    config = ModelConfig(50, hidden=64, layers=3)
    products = 4 * 64 * 64 * 5
    assert step_bytes(config, "float32") == 4 * (products + 50 * 64)
    assert step_bytes(config, "int8") == products + 4 * (4 * 64 * 5 + 50 * 64)
    assert char_flops(config) == 2 * (products + 50 * 64)
    assert Case(3, 64).config.layers == 3


def test_bandwidth_is_bytes_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def half_a_second(reader: machine.Reader, repeats: int) -> float:
        read.append(reader.bytes)
        return 0.5

    monkeypatch.setattr(machine, "median_seconds", half_a_second)
    assert machine.read_bandwidth(1 << 20, 2) == 2 * (512 << 20)  # a MiB, 512 times
    assert read == [512 << 20] * 2  # by one thread, then by two


def test_the_reading_loop_reads_every_float() -> None:
    """It leaves its sums, of ones, at the beginning of what it read."""
    pytest.importorskip("llvmlite", reason="numba is not installed")
    read = machine._reading()
    assert read is not None
    (floats,) = machine.Reader(3 * 4 * machine.STEP, threads=1)._parts
    floats[:] = 1
    read(floats.ctypes.data, len(floats))
    sums = floats[floats > 1]
    assert sums.sum() == len(floats)
    assert len(set(sums)) == 1


def test_seconds_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    def work() -> None:
        now[0] += 0.02

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert machine.seconds(work, least=0.05) == pytest.approx(0.02)
    assert machine.seconds(work, least=0.0) == pytest.approx(0.02)  # at least one
