"""A head that is worked out in parts has the loss and the gradients of the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model import large_vocabulary
from charrnn.model.large_vocabulary import mean_loss
from charrnn.model.network import CharNetwork
from charrnn.training.hardware.device import Hardware
from charrnn.training.loop.optimizer import Stepper

N, V, WIDTH = 57, 41, 12


def drawn(dtype: torch.dtype) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Features, weights and biases; and characters."""
    torch.manual_seed(0)
    shapes = (N, WIDTH), (V, WIDTH), (V,)
    x, w, b = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return (x, w, b), torch.randint(0, V, (N,))


@pytest.mark.parametrize("rows", [1, 10, 57, 100])
def test_parts_of_the_positions_add_up(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_vocabulary, "LOGITS", rows * V)
    inputs, y = drawn(torch.float64)
    whole = F.cross_entropy(F.linear(*inputs), y)
    parts = mean_loss(*inputs, y, None)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-12)
    # as if the loss were scaled, in float16
    wanted = torch.autograd.grad(whole * 3, inputs)
    found = torch.autograd.grad(parts * 3, inputs)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_products_are_in_the_type_that_was_asked_for() -> None:
    inputs, y = drawn(torch.float32)
    x, w, b = (t.to(torch.bfloat16) for t in inputs)
    whole = F.cross_entropy(F.linear(x, w, b).float(), y)
    parts = mean_loss(*inputs, y, torch.bfloat16)
    assert parts.dtype == torch.float32
    assert parts.item() == pytest.approx(whole.item(), abs=1e-6)
    wanted = torch.autograd.grad(whole, inputs)
    for one, other in zip(torch.autograd.grad(parts, inputs), wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.02, atol=1e-4)


def test_a_step_with_many_characters_never_holds_all_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, shape = TrainConfig(steps=1, batch=4, window=15), ModelConfig(V, embedding=6, hidden=8)
    hardware = Hardware(torch.device("cpu"), None, 1)
    x, y = torch.randint(0, V, (2, 4, 15), generator=torch.Generator().manual_seed(1))
    weights, sizes, linear = [], [], F.linear

    def seen(*args: Tensor) -> Tensor:
        result = linear(*args)
        sizes.append(result.numel())
        return result

    monkeypatch.setattr(F, "linear", seen)
    for most in (2**23, 200):
        sizes.clear()
        monkeypatch.setattr(large_vocabulary, "LOGITS", most)
        stepper = Stepper(CharNetwork(shape), config, hardware)
        for _ in range(3):
            stepper.step(x, y, stepper.network.zero_state(4), 1e-3)
        weights.append(stepper.flat.values.clone())
    assert 0 < max(sizes) <= 200
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-6)
