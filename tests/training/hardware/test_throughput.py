"""The machine's speed is measured once and remembered."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from charrnn.paths import cache_folder
from charrnn.training.hardware import device
from charrnn.training.hardware import throughput as rates


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, and ``matmul_throughput`` as in a new process."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path))
    monkeypatch.setattr(rates, "_known_throughput", rates._known_throughput.__wrapped__)
    return tmp_path / "rates.json"


def test_the_fastest_measurement_is_remembered(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not what other work had made small."""
    readings = ((1.0, 1.0), (0.5, 1.0), (1.05, 1.0), (1.5, 1.5), (1.0, 1.5))
    for reading, known in readings:
        monkeypatch.setattr(rates, "_measure", lambda *_, reading=reading: reading * 1e11)
        assert rates.matmul_throughput(torch.float32) == known * 1e11
        assert [*json.loads(fresh.read_text()).values()] == [known * 1e11]


def test_a_throughput_is_operations_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the fastest product but the first, in which memory is made ready."""
    times = iter([0.0, 0.001, 1.0, 1.5, 2.0, 2.25, *(t / 2 for t in range(6, 14))])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    assert rates._measure(torch.float32, rates.CPU) == 2 * rates.CPU_SIZE**3 / 0.25


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "b"}', '{"a": -1}'])
def test_a_damaged_cache_is_measured_again(
    fresh: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.write_text(text)
    monkeypatch.setattr(rates, "_measure", lambda *_: 1e11)
    assert rates.matmul_throughput(torch.float32) == 1e11
    (name,) = json.loads(fresh.read_text())
    assert "float32" in name


def test_a_cache_that_cannot_be_written(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh.parent / "file").write_text("in the way")
    monkeypatch.setenv("CHARRNN_CACHE", str(fresh.parent / "file"))
    monkeypatch.setattr(rates, "_measure", lambda *_: 1e11)
    assert rates.matmul_throughput(torch.float32) == 1e11
    assert cache_folder().is_file()


def test_throughputs_are_kept_by_processor_and_threads(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with device.own_torch_settings():
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rates.matmul_throughput(torch.float32)
    torch.set_num_threads(1)
    monkeypatch.setattr(rates, "_cpuinfo", lambda: ("model name\t: Other", "flags : fpu amx_bf16"))
    rates.matmul_throughput(torch.float32)
    assert len(json.loads(fresh.read_text())) == 3
    assert rates.machine(torch.device("cpu")) == "Other amx_bf16"
