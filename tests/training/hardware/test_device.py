"""The device and the precision follow from what the machine can do."""

from __future__ import annotations

import pytest
import torch

from charrnn import cells
from charrnn.training.hardware import device
from charrnn.training.hardware.device import Hardware, training_flops

LSTM = cells.get("lstm")


@pytest.mark.parametrize(("bfloat16", "chosen"), [(3e11, torch.bfloat16), (1e11, None)])
def test_bfloat16_is_chosen_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, chosen: torch.dtype | None
) -> None:
    known = {torch.bfloat16: bfloat16, torch.float32: 2e11}
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(device, "matmul_throughput", lambda dtype: known[dtype])
    assert device._dtype("auto", torch.device("cpu")) is chosen
    rate = known[chosen or torch.float32]
    assert 0.2 * rate < training_flops(Hardware(torch.device("cpu"), chosen, 2), LSTM) < rate


def test_tiles_are_expected_to_reach_less_of_their_throughput_than_vectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "matmul_throughput", lambda *_: 1e12)
    hardware, found = Hardware(torch.device("cpu"), torch.bfloat16, 2), {}
    for unit in ("amx_bf16", "avx512_bf16"):
        monkeypatch.setattr(device, "cpu_flags", lambda unit=unit: {"fpu", unit, "avx512_bf16"})
        found[unit] = training_flops(hardware, LSTM)
    assert 0 < found["amx_bf16"] < found["avx512_bf16"] < 1e12


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_less_is_expected_of_cells_without_kernels(
    dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "matmul_throughput", lambda *_: 1e12)
    hardware = Hardware(torch.device("cpu"), dtype, 2)
    lstm, gru, elman, irnn, scrn, clockwork, jordan = (
        training_flops(hardware, cells.get(name))
        for name in ("lstm", "gru", "rnn-tanh", "irnn", "scrn", "clockwork", "jordan")
    )
    assert 0 < scrn == clockwork == jordan < gru == elman == irnn
    assert (gru < lstm) == (dtype is not None)  # our kernels are for bfloat16


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
