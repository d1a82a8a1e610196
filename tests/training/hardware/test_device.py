"""The device and the precision follow from what the machine can do."""

from __future__ import annotations

import pytest
import torch

from charrnn.training.hardware import device
from charrnn.training.hardware.device import Hardware, training_flops


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


def test_tiles_are_expected_to_reach_less_of_their_throughput_than_vectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "matmul_throughput", lambda *_: 1e12)
    hardware, found = Hardware(torch.device("cpu"), torch.bfloat16, 2), {}
    for unit in ("amx_bf16", "avx512_bf16"):
        monkeypatch.setattr(device, "cpu_flags", lambda unit=unit: {"fpu", unit, "avx512_bf16"})
        found[unit] = training_flops(hardware)
    assert 0 < found["amx_bf16"] < found["avx512_bf16"] < 1e12


@pytest.mark.parametrize(("capability", "chosen"), [((9, 0), torch.float16), ((6, 1), None)])
def test_a_gpu_takes_float16_where_it_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert device._dtype("auto", torch.device("cuda")) is chosen


def test_a_processor_without_bfloat16_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(device, "matmul_throughput", lambda *_: pytest.fail("minutes of emulation"))
    assert device._dtype("auto", torch.device("cpu")) is None
