"""Back-propagation through time by hand: against torch, finite differences and lecture notes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from charrnn import cells
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.insight.bptt import Network, finite_differences
from charrnn.insight.derivatives import ELMAN, RULES
from charrnn.model.network import CharNetwork, detached
from tests.cells.test_equations import Drawn
from tests.support.networks import CELLS, model

V, E, H, T = 6, 4, 9, 24
IDS = np.random.default_rng(3).integers(0, V, T + 1).tolist()


def drawn(config: ModelConfig) -> tuple[Network, CharNetwork]:
    """The same random weights for both; an IRNN's are not at the corners of its rectifiers."""
    network = CharNetwork(config, 5).double()
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * 0.1)
    weights = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    return Network(config, weights), network


KNOWN = [which for which, values in CELLS.items() if cells.get(values["cell"]).name in RULES]


@pytest.fixture(params=KNOWN)
def pair(request: pytest.FixtureRequest) -> tuple[Network, CharNetwork]:
    """A network of every cell, by hand and in torch."""
    return drawn(model(request.param, V, embedding=E, hidden=H, layers=1))


def torchs(network: CharNetwork, back: int) -> dict[str, NDArray[np.float64]]:
    """The gradients if each loss goes back ``back`` steps."""
    states = [network.zero_state(1)]
    for now in IDS[:-1]:
        states.append(detached(network(torch.tensor([[now]]), states[-1])[1]))
    network.zero_grad()
    for t in range(T):
        first = max(t + 1 - back, 0)
        logits, _ = network(torch.tensor([IDS[first : t + 1]]), states[first])
        torch.autograd.backward(F.cross_entropy(logits[0, -1], torch.tensor(IDS[t + 1])))
    return {
        name: np.zeros(tuple(p.shape)) if p.grad is None else p.grad.numpy().copy()
        for name, p in network.named_parameters()
    }


def test_the_forward_pass_is_that_of_torch(pair: tuple[Network, CharNetwork]) -> None:
    by_hand, network = pair
    logits, _ = network(torch.tensor([IDS[:-1]]), network.zero_state(1))
    steps = by_hand.forward(IDS)
    o = np.array([step.o for step in steps])
    np.testing.assert_allclose(o, logits[0].detach().numpy(), rtol=0, atol=1e-10)
    p = np.array([step.p for step in steps])
    np.testing.assert_allclose(p, torch.softmax(logits[0], 1).detach(), rtol=0, atol=1e-10)
    loss = F.cross_entropy(logits[0], torch.tensor(IDS[1:]), reduction="sum")
    assert by_hand.loss(IDS) == pytest.approx(loss.item(), rel=1e-12)


def test_the_gradients_are_those_of_torch(pair: tuple[Network, CharNetwork]) -> None:
    by_hand, network = pair
    wanted, found = torchs(network, T), by_hand.gradients(IDS)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, wanted[name], rtol=1e-8, atol=1e-8, err_msg=name)
        assert np.abs(gradient).max() > 1e-4, name


def test_the_gradients_are_those_of_finite_differences(pair: tuple[Network, CharNetwork]) -> None:
    by_hand, _ = pair
    for name, gradient in by_hand.gradients(IDS).items():
        places = np.random.default_rng(0).permutation(gradient.size)[:6].tolist()
        numeric = finite_differences(by_hand, IDS, name, places)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(gradient.reshape(-1)[places], numeric, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("back", [1, 2, 5, 23])
def test_truncated_gradients_are_those_of_torch(
    pair: tuple[Network, CharNetwork], back: int
) -> None:
    by_hand, network = pair
    wanted = torchs(network, back)
    for name, gradient in by_hand.truncated(IDS, back).items():
        np.testing.assert_allclose(gradient, wanted[name], rtol=1e-8, atol=1e-8, err_msg=name)


def test_the_parts_of_all_lags_add_up(pair: tuple[Network, CharNetwork]) -> None:
    by_hand, _ = pair
    lags, whole = by_hand.by_lag(IDS), by_hand.gradients(IDS)
    assert len(lags) == T
    for name, gradient in whole.items():
        total = np.sum([lag[name] for lag in lags], axis=0)
        np.testing.assert_allclose(total, gradient, rtol=1e-10, atol=1e-10)
    assert not any(lag["head.bias"].any() for lag in lags[1:]) or by_hand.reads_output


def test_finite_differences_leave_the_weights_as_they_were() -> None:
    by_hand, _ = drawn(model("elman", V, embedding=E, hidden=H, layers=1))
    before = by_hand.weights["head.weight"].copy()
    finite_differences(by_hand, IDS, "head.weight", [0, 7])
    assert (by_hand.weights["head.weight"] == before).all()


def test_a_step_of_elmans_network_gives_the_numbers_of_the_notes() -> None:
    """The network of the notes has its streams in columns; these rules have one stream."""
    draw = Drawn(1)
    x, a = draw(3, 10), draw(5, 10)
    w_aa, w_ax, _, b_a = draw(5, 5), draw(5, 3), draw(2, 5), draw(5, 1)
    w = SimpleNamespace(weight_ih=w_ax, weight_hh=w_aa, bias_ih=b_a[:, 0], bias_hh=np.zeros(5))
    h = np.array([ELMAN.forward(w, x[:, n], (a[:, n],)).h for n in range(10)])
    wanted = [0.59584544, 0.18141802, 0.61311866, 0.99808218, 0.85016201,
              0.99980978, -0.18887155, 0.99815551, 0.6531151, 0.82872037]  # fmt: skip
    np.testing.assert_allclose(h[:, 4], wanted, rtol=0, atol=5e-9)


def test_an_lstm_s_values_have_the_names_of_its_equations() -> None:
    by_hand, _ = drawn(model("lstm", V, embedding=E, hidden=H, layers=1))
    v = by_hand.forward(IDS)[-1].values
    np.testing.assert_allclose(v.c, v.f * v.c_before + v.i * v.g, rtol=1e-12)
    np.testing.assert_allclose(v.h, v.o * np.tanh(v.c), rtol=1e-12)


def test_every_cell_of_ours_has_derivatives() -> None:
    ours = {"elman", "rnn-relu", "irnn", "jordan", "lstm", "gru", "scrn", "clockwork"}
    assert RULES.keys() == ours
    assert ours <= set(cells.names())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "foreign"}, "cell is 'foreign', which has no derivatives by hand: choose from"),
        ({"layers": 2}, "layers is 2: it must be 1"),
    ],
)
def test_what_has_no_rules_is_refused(settings: dict[str, Any], said: str) -> None:
    cells.register(cells.Cell("foreign", cells.get("elman").step))
    try:
        config = ModelConfig(**{"vocab_size": V, "layers": 1} | settings)
        with pytest.raises(ConfigError) as refused:
            Network(config, {})
    finally:
        cells.unregister("foreign")
    assert str(refused.value).startswith(said)
