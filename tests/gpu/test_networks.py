"""Every cell on the device against its readable step in float64 on the processor."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn import cells
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model import layers
from charrnn.model.dropout import NO_DROPOUT, Dropout
from charrnn.model.kernels.cuda.cluster_lstm import CAPABILITY
from charrnn.model.kernels.cuda.cluster_lstm import SIZES as SIZES_OF_CLUSTERS
from charrnn.model.layers import kernels, readable_layer
from charrnn.model.network import CharNetwork, RecurrentLayer, State, detached
from charrnn.model.torch_private import RECURRENT_LAYERS
from charrnn.training.hardware.device import choose_hardware, own_torch_settings
from charrnn.training.loop.optimizer import LOSS_SCALE
from tests.gpu.device import DEVICE, ON_GPU, on_device

pytestmark = on_device

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 2e-2}
V, T = 87, 24
# hidden, embedding and streams: sizes that our kernels take on a GPU, and sizes for cuDNN
SIZES = {"regular": (128, 128, 16), "odd": (40, 24, 5)}
SHAPES = [
    (cell, size, sum_layers)
    for cell in cells.names()
    for size in SIZES
    for sum_layers in (False, True)
]
if ON_GPU:  # several clusters of our kernels, the last with streams of the one before it
    SIZES["wide"] = (512, 96, 150)
    SHAPES.append(("lstm", "wide", False))


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Products in float32 are not rounded to TF32."""
    with own_torch_settings():
        choose_hardware(TrainConfig(steps=1, precision="float32"))
        yield


class Masks(Dropout):
    """Dropout whose masks do not depend on the device: the n-th is drawn from the seed n."""

    drawn = 0

    def _mask(self, shape: tuple[int, ...], rate: float, like: Tensor) -> Tensor:
        self.drawn += 1
        rng = torch.Generator().manual_seed(self.drawn)
        kept = torch.rand(shape, generator=rng, dtype=torch.float64) >= rate
        return (kept / (1 - rate)).to(like.device, like.dtype)


def _started(shape: torch.Size, cycle: int | None, rng: torch.Generator) -> Tensor:
    """A part of a state at random; of a clock, another number in each stream."""
    if cycle is None:
        return torch.rand(shape, generator=rng) - 0.5
    return torch.randint(cycle, shape, generator=rng)


def outcome(network: CharNetwork, dtype: torch.dtype | None, dropped: bool, B: int) -> list[Tensor]:
    """Logits and states of two windows, the second with the state of the first, and gradients."""
    device, own = network.head.weight.device, network.head.weight.dtype
    rng = torch.Generator().manual_seed(1)
    ids = torch.randint(V, (2, B, T + 1), generator=rng)
    cycles = [network.config.definition.cycles.get(name) for name in network.config.state_widths]
    state: State = tuple(
        tuple(
            _started(part.shape, cycle, rng).to(device, own)
            for part, cycle in zip(layer, cycles, strict=True)
        )
        for layer in network.zero_state(B)
    )
    dropout = Masks(0.25, 0.1, 0.5) if dropped else NO_DROPOUT
    loss, outputs = torch.zeros((), device=device, dtype=own), list[Tensor]()
    for window in ids.to(device):
        x, y = window[:, :-1], window[:, 1:]
        logits, after = network(x, state, dtype=dtype, dropout=dropout)
        loss = loss + F.cross_entropy(logits.flatten(0, 1), y.flatten())
        parts = [part for layer in after for part in layer]
        loss = loss + sum((part**2).mean() for part in parts)
        outputs += [logits, *parts]
        state = detached(after)
    torch.autograd.backward(loss * LOSS_SCALE)
    grads = [p.grad / LOSS_SCALE for p in network.parameters() if p.grad is not None]
    assert len(grads) == len(list(network.parameters()))
    return [*outputs, *grads]


def errors(found: list[Tensor], wanted: list[Tensor]) -> list[float]:
    """‖found − wanted‖ / ‖wanted‖ of each tensor; NaN passes no comparison."""
    pairs = [(a.detach().cpu().double(), b.detach()) for a, b in zip(found, wanted, strict=True)]
    return [float((a - b).norm() / b.norm()) for a, b in pairs]


def drawn(config: ModelConfig) -> CharNetwork:
    """A network with random weights: an IRNN begins with a sum that short numbers cannot hold."""
    network = CharNetwork(config, seed=2)
    if config.cell == "irnn":
        plain = CharNetwork(dataclasses.replace(config, cell="rnn-relu"), seed=2)
        network.load_numpy(plain.to_numpy())
    return network


def unknown_here(cell: str, dtype: torch.dtype) -> bool:
    """oneDNN has no LSTM in float16 on most processors."""
    return not ON_GPU and cell == "lstm" and dtype == torch.float16


@pytest.mark.parametrize("dropped", [False, True], ids=["whole", "dropped"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(("cell", "size", "sum_layers"), SHAPES)
def test_values_and_gradients_are_those_of_the_readable_step_in_float64(
    cell: str,
    dtype: torch.dtype,
    size: str,
    sum_layers: bool,
    dropped: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if unknown_here(cell, dtype):
        pytest.skip("this processor has no LSTM in float16")
    hidden, embedding, B = SIZES[size]
    config = ModelConfig(
        V, cell=cell, hidden=hidden, embedding=embedding, layers=2, sum_layers=sum_layers
    )
    own = config.definition
    path = "torch" if own.name in RECURRENT_LAYERS else "readable"
    if ON_GPU and cell == "lstm" and dtype != torch.float32 and hidden in SIZES_OF_CLUSTERS:
        path = "clusters" if torch.cuda.get_device_capability(DEVICE) == CAPABILITY else "torch"
    assert not ON_GPU or kernels(own, hidden, DEVICE, dtype) == path
    products = None if dtype == torch.float32 else dtype
    found = outcome(drawn(config).to(DEVICE), products, dropped, B)
    with monkeypatch.context() as patch:
        patch.setattr(layers, "kernels", lambda *args: "readable")
        wanted = outcome(drawn(config).double(), None, dropped, B)
    values, tolerance = len(found) - len(config.shapes()), TOLERANCE[dtype]
    found_errors = errors(found, wanted)
    assert max(found_errors[:values]) <= tolerance, found_errors
    # the slope of a rectifier jumps: a sum that rounding takes past 0 passes on all or nothing
    jumps = 4 if cell in ("rnn-relu", "irnn") and products is not None else 1
    assert max(found_errors[values:]) <= jumps * tolerance, found_errors


@pytest.mark.parametrize("cell", cells.names())
def test_a_cell_that_torch_does_not_have_runs_its_readable_step(cell: str) -> None:
    network = CharNetwork(ModelConfig(V, cell=cell, hidden=48, embedding=32), seed=3)
    own = network.config.definition
    layer = network.layers[0]
    assert isinstance(layer, RecurrentLayer)
    x = torch.randn(5, T, 32, generator=torch.Generator().manual_seed(4))
    (state, *_), outputs = network.zero_state(5), []
    for device, dtype in ((DEVICE, torch.float32), (torch.device("cpu"), torch.float64)):
        weights = {name: w.to(device, dtype) for name, w in layer.weights.items()}
        before = tuple(part.to(device, dtype) for part in state)
        y, after = readable_layer(own, x.to(device, dtype), before, weights, dtype)
        outputs.append([y, *after])
    assert max(errors(*outputs)) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("rate", [0.05, 0.37, 0.9])
def test_masks_drop_their_rate_keep_the_mean_and_repeat_with_their_seed(rate: float) -> None:
    B, width = 400, 5_000

    def dropped(seed: int) -> Tensor:
        generator = torch.Generator(DEVICE).manual_seed(seed)
        return Dropout(rate, generator=generator).units(torch.ones(B, 3, width, device=DEVICE))

    kept = dropped(5)
    assert torch.equal(kept, kept[:, :1].expand_as(kept))  # a mask per window
    lost = (kept[:, 0] == 0).double().mean().item()
    near = 5 * (rate * (1 - rate) / (B * width)) ** 0.5 + 2**-16
    assert abs(lost - rate) < near
    assert abs(kept.double().mean().item() - 1) < near / (1 - rate)
    assert torch.equal(kept, dropped(5))
    assert not torch.equal(kept, dropped(6))
