"""An LSTM without gradients in halves of float16, on the device, against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.kernels.cuda import exact_lstm
from charrnn.model.kernels.cuda.cluster_lstm import CAPABILITY, SIZES
from charrnn.model.kernels.cuda.exact_lstm import STREAMS
from charrnn.model.network import CharNetwork, State
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.evaluation.temperature import fit_temperature
from charrnn.training.hardware.device import choose_hardware, own_torch_settings
from tests.gpu.device import DEVICE, ON_GPU, gpu_only, on_device

pytestmark = [*on_device, gpu_only]

V, T = 87, 40
BOUNDED = ("-DBOUNDED",)  # loops that stop with an error instead of waiting forever
KNOWN = ON_GPU and torch.cuda.is_available() and torch.cuda.get_device_capability() == CAPABILITY


@pytest.fixture(autouse=True)
def known_device() -> None:
    if not KNOWN:
        pytest.skip(f"only GPUs of compute capability {CAPABILITY} run these loops")


def outputs(network: CharNetwork, ids: Tensor, windows: int = 1) -> list[Tensor]:
    """Outputs and state for ``ids (B, T)``, read in so many windows, from a random state."""
    rng, like = torch.Generator().manual_seed(1), network.head.weight
    state: State = tuple(
        tuple((0.4 * torch.randn(part.shape, generator=rng)).to(like) for part in layer)
        for layer in network.zero_state(len(ids))
    )
    found = []
    with torch.no_grad():
        for part in ids.chunk(windows, 1):
            y, state = network.outputs(part, state)
            found.append(y)
    return [torch.cat(found, 1), *(part for layer in state for part in layer)]


@pytest.mark.parametrize("B", [3, 24, 150])
@pytest.mark.parametrize("hidden", SIZES)
def test_outputs_are_those_of_float64(hidden: int, B: int, monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    loops = exact_lstm.every_loop(hidden, device, BOUNDED)
    if len(loops) < len(STREAMS):
        loops = tuple(exact_lstm.loops(hidden, BOUNDED))  # says why
    assert all(loop.at_once for loop in loops)
    network = CharNetwork(ModelConfig(V, hidden=hidden, embedding=48, layers=3), seed=2).to(DEVICE)
    ids = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(3)).to(DEVICE)
    with own_torch_settings():
        choose_hardware(TrainConfig(steps=1, precision="float32"))
        monkeypatch.setattr(exact_lstm, "OPTIONS", BOUNDED)
        assert exact_lstm.runs(hidden, torch.float32, device)
        found, again, parted = (outputs(network, ids, windows) for windows in (1, 1, 4))
        wanted = outputs(network.double(), ids)
    for one, same, other, exact in zip(found, again, parted, wanted, strict=True):
        assert torch.equal(one, same)
        assert float((one - exact).norm() / exact.norm()) <= 1e-5
        assert float((one - other).norm() / exact.norm()) <= 1e-6


def test_evaluations_are_those_of_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    network = CharNetwork(ModelConfig(V, hidden=128, layers=2), seed=4).to(DEVICE)
    ids = np.random.default_rng(1).integers(V, size=60_000).astype(np.uint8)
    ranges = ((0, 20_000), (25_000, 60_000))
    with own_torch_settings():
        choose_hardware(TrainConfig(steps=1, precision="float32"))
        monkeypatch.setattr(exact_lstm, "ENABLED", False)
        fitted = fit_temperature(network, ids, ranges, device=DEVICE)
        monkeypatch.setattr(exact_lstm, "ENABLED", True)
        monkeypatch.setattr(exact_lstm, "OPTIONS", BOUNDED)
        found = evaluate(network, ids, ranges, device=DEVICE)
        assert fit_temperature(network, ids, ranges, device=DEVICE) == pytest.approx(
            fitted, rel=1e-4
        )
        wanted = evaluate(network.double(), ids, ranges, device=DEVICE)
    assert found.chars == wanted.chars
    assert found.nats_per_char == pytest.approx(wanted.nats_per_char, rel=1e-5)
