"""The machine's speed is measured and remembered; choices follow from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from charrnn.model.layers import kernels
from charrnn.paths import cache_folder
from charrnn.training.hardware import device
from charrnn.training.hardware import throughput as rates
from charrnn.training.hardware.device import Hardware, training_flops


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


@pytest.mark.parametrize(("bfloat16", "chosen"), [(3e11, torch.bfloat16), (1e11, None)])
def test_bfloat16_is_chosen_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, chosen: torch.dtype | None
) -> None:
    known = {torch.bfloat16: bfloat16, torch.float32: 2e11}
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(device, "matmul_throughput", lambda dtype: known[dtype])
    assert device._dtype("auto", torch.device("cpu")) is chosen
    rate = known[chosen or torch.float32]
    assert 0.2 * rate < training_flops(Hardware(torch.device("cpu"), chosen, 2)) < rate


def test_less_of_the_rate_is_expected_of_tiles_than_of_vectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "matmul_throughput", lambda *_: 1e12)
    hardware, found = Hardware(torch.device("cpu"), torch.bfloat16, 2), {}
    for unit in ("amx_bf16", "avx512_bf16"):
        monkeypatch.setattr(device, "cpu_flags", lambda unit=unit: {"fpu", unit, "avx512_bf16"})
        found[unit] = training_flops(hardware)
    assert 0 < found["amx_bf16"] < found["avx512_bf16"] < 1e12


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


@pytest.mark.parametrize(("capability", "chosen"), [((9, 0), torch.float16), ((6, 1), None)])
def test_a_gpu_takes_float16_where_it_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert device._dtype("auto", torch.device("cuda")) is chosen


def test_the_kernels_are_those_of_an_lstm_on_a_processor() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert kernels("gru", cpu, torch.bfloat16) == "torch"
    assert kernels("lstm", cuda, torch.bfloat16) == "torch"
    assert kernels("lstm", cpu, torch.float32) == "torch"


def test_a_processor_without_bfloat16_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(device, "matmul_throughput", lambda *_: pytest.fail("minutes of emulation"))
    assert device._dtype("auto", torch.device("cpu")) is None
