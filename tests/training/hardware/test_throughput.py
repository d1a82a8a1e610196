"""The machine's speed is measured once and remembered."""

from __future__ import annotations

import json
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


def test_what_was_measured_is_remembered(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not what other work had made small."""
    first = rates.matmul_throughput(torch.float32)
    assert first > 0
    assert fresh.is_file()
    for reading, known in ((0.5, 1.0), (1.05, 1.0), (1.5, 1.5), (1.0, 1.5)):
        monkeypatch.setattr(rates, "_measure", lambda *_, reading=reading: reading * first)
        assert rates.matmul_throughput(torch.float32) == known * first
    assert [*json.loads(fresh.read_text()).values()] == [1.5 * first]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "b"}', '{"a": -1}'])
def test_a_damaged_memory_is_measured_again(fresh: Path, text: str) -> None:
    fresh.write_text(text)
    assert rates.matmul_throughput(torch.float32) > 0
    assert "float32" in fresh.read_text()


def test_a_cache_that_cannot_be_written(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh.parent / "file").write_text("in the way")
    monkeypatch.setenv("CHARRNN_CACHE", str(fresh.parent / "file"))
    assert rates.matmul_throughput(torch.float32) > 0
    assert cache_folder().is_file()


def test_rates_are_told_apart_by_processor_and_threads(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with device.settings_of_torch():
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rates.matmul_throughput(torch.float32)
    torch.set_num_threads(1)
    monkeypatch.setattr(rates, "_cpuinfo", lambda: ("model name\t: Other", "flags : fpu amx_bf16"))
    rates.matmul_throughput(torch.float32)
    assert len(json.loads(fresh.read_text())) == 3
    assert rates.machine(torch.device("cpu")) == "Other amx_bf16"
