"""The layer around the GPU's exact time loop, with a loop in plain torch in its place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn import cells
from charrnn.config import ModelConfig
from charrnn.model import layers
from charrnn.model.kernels.cuda import exact_lstm
from charrnn.model.kernels.cuda.cluster_lstm import SIZES, Loop
from charrnn.model.kernels.cuda.exact_lstm import (
    MOST_SHARED,
    STREAMS,
    exact_layer,
    exact_symbols,
    fastest,
    halves,
    kept,
    product_of_halves,
)
from charrnn.model.layers import readable_layer
from charrnn.model.network import CharNetwork

H, E, V, T = 128, 24, 11, 7
LSTM = cells.get("lstm")


def forward(
    z: Tensor, w: Tensor, bias: Tensor, scales: Tensor, y: Tensor, h: Tensor, c: Tensor,
    cells: Tensor, T: int, B: int,
) -> None:  # fmt: skip
    """What ``lstm_exact`` in ``lstm_exact.cu`` does."""
    H = y.shape[2]
    (high, low), (recurrent, outer) = w.view(2, H, 4, H).float(), scales
    inputs = z.view(T, B, H, 4) * outer + bias.view(H, 4)
    for t in range(T):
        large = h.half().float()
        small = (h - large).half().float()
        sums = torch.einsum("bk,upk->bup", large, low) + torch.einsum("bk,upk->bup", small, high)
        sums = (sums + torch.einsum("bk,upk->bup", large, high)) * recurrent + inputs[t]
        i, f, o = (sums[..., gate].sigmoid() for gate in (0, 1, 3))
        c = f * c + i * sums[..., 2].tanh()
        h = o * c.tanh()
        y[t] = h
    cells.copy_(c)


PLAIN: Any = forward


def error(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    return float((found.double() - wanted).norm() / wanted.norm())


def drawn(B: int, wide: float) -> dict[str, Tensor]:
    """Ids, an embedding, a state, and weights, of which a few are ``wide`` times the others."""
    rng = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    w = {"weight_ih": 0.2 * normal(4 * H, E), "weight_hh": 0.08 * normal(4 * H, H)}
    w["weight_hh"][::50, ::7] *= wide
    w |= {"bias_ih": normal(4 * H), "bias_hh": normal(4 * H)}
    h, c = 0.4 * normal(B, H), normal(B, H)
    ids = torch.randint(V, (B, T), generator=rng)
    return {"ids": ids, "embedding": normal(V, E), "h": h, "c": c} | w


@pytest.mark.parametrize("wide", [1.0, 200.0])
@pytest.mark.parametrize("symbols", [False, True])
@pytest.mark.parametrize("B", [5, 20])
def test_the_layer_is_its_readable_step_in_float64(B: int, symbols: bool, wide: float) -> None:
    """With fewer streams than a cluster has, and with weights of very different sizes, too."""
    given = drawn(B, wide)
    exact = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    w = {name: t for name, t in exact.items() if "_" in name}
    x = exact["embedding"][given["ids"]]
    y, state = readable_layer(LSTM, x, (exact["h"], exact["c"]), w, torch.float64)
    bias = given["bias_ih"] + given["bias_hh"]
    rest = given["weight_ih"], given["weight_hh"], bias, given["h"], given["c"]
    if symbols:
        found = exact_symbols(given["ids"].T, given["embedding"], *rest, PLAIN)
    else:
        found = exact_layer(given["embedding"][given["ids"]].transpose(0, 1), *rest, PLAIN)
    for one, other in zip(found, (y.transpose(0, 1), *state), strict=True):
        assert error(one, other) <= 2e-6


@pytest.mark.parametrize("size", [1e-20, 1e-3, 0.1, 1.0, 300.0, 1e20])
def test_halves_keep_22_bits_of_what_is_not_tiny_beside_the_largest(size: float) -> None:
    rng = torch.Generator().manual_seed(1)
    w = size * torch.randn(50, 40, generator=rng) * 10.0 ** torch.arange(-3, 1).repeat(10)
    (high, low), scale = halves(w)
    both = (high.double() + low.double()) * scale.double()
    bound = torch.maximum(w.abs().double() * 2.0**-22, w.abs().max().double() * 2.0**-37)
    assert ((both - w).abs() <= bound).all()
    assert torch.frexp(scale).mantissa == 0.5  # nothing is rounded


def test_halves_of_zeros_are_zeros_and_what_is_no_number_stays_none() -> None:
    (high, low), scale = halves(torch.zeros(3, 4))
    assert not high.any()
    assert not low.any()
    assert torch.isfinite(scale)
    for bad in (float("nan"), float("inf")):
        split, scale = halves(torch.tensor([[1.0, bad]]))
        assert not torch.isfinite(split.float().sum() * scale)


def test_a_product_of_halves_is_nearly_that_of_float32() -> None:
    rng = torch.Generator().manual_seed(1)
    x, w = torch.randn(30, 512, generator=rng).tanh(), torch.randn(70, 512, generator=rng) * 0.05
    z, scale = product_of_halves(x, w)
    wanted = x.double() @ w.double().t()
    assert error(z * scale, wanted) <= 1e-6
    assert error(x @ w.t(), wanted) <= 1e-6


def test_all_loops_fit_into_shared_memory() -> None:
    for units in SIZES:
        for streams in STREAMS:
            products = kept(units, streams)
            assert 0 <= products <= units // 32
            assert products % 2 == 0
            assert exact_lstm._shared(units, streams, products) <= MOST_SHARED
    assert [kept(512, streams) for streams in STREAMS] == [0, 0, 2]


def test_loops_are_chosen_by_how_many_rounds_their_clusters_need() -> None:
    found = tuple(Loop(Any, streams, 7, step) for streams, step in STREAMS.items())  # type: ignore[arg-type]
    for B, streams in ((8, 8), (56, 8), (112, 16), (128, 24), (168, 24)):
        assert fastest(found, B).streams == streams, B


def test_layers_without_gradients_run_there_where_they_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, ids = CharNetwork(ModelConfig(V, hidden=H, layers=2), seed=3), drawn(9, 1.0)["ids"]
    state = network.zero_state(9)
    calls = []

    def loop(*arguments: Any) -> None:
        calls.append(1)
        forward(*arguments)

    with torch.no_grad():
        usual = network.outputs(ids, state)  # this device has no loops
        assert not calls
        monkeypatch.setattr(exact_lstm, "every_loop", lambda *args: (loop,))
        monkeypatch.setattr(exact_lstm, "fastest", lambda found, B: found[0])
        found = network.outputs(ids, state)
    assert len(calls) == 2
    monkeypatch.setattr(exact_lstm, "ENABLED", False)
    with torch.no_grad():
        network.outputs(ids, state)
    monkeypatch.setattr(exact_lstm, "ENABLED", True)
    network.outputs(ids, state)
    assert len(calls) == 2
    pairs = [(found[0], usual[0]), *zip(sum(found[1], ()), sum(usual[1], ()), strict=True)]
    for one, other in pairs:
        assert error(one, other.double()) <= 2e-6
    assert layers.kernels(LSTM, H, torch.device("cpu"), torch.float32) == "torch"
