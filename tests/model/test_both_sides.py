"""Bidirectional networks: what each character is named from, and what they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.generation.halves import halves
from charrnn.generation.numpy_engine import Engine
from charrnn.model.dropout import LONGEST_GAP, Dropout
from charrnn.model.network import CharNetwork
from tests.support.networks import CELLS, model, random_weights

B, T, V = 2, 9, 11
BOTH = sorted(name for name in CELLS if model(name, V).definition.after_head is None)


def configuration(cell: str, **sizes: Any) -> ModelConfig:
    sizes = {"embedding": 5, "hidden": 6, "layers": 2, "bidirectional": True} | sizes
    return model(cell, V, **sizes)


def text(seed: int = 2, N: int = T + 1) -> torch.Tensor:
    return torch.randint(V, (B, N), generator=torch.Generator().manual_seed(seed))


def named(network: CharNetwork, whole: torch.Tensor, **how: Any) -> torch.Tensor:
    """The logits ``(B, N − 1, V)`` of all characters of ``whole (B, N)`` but the first."""
    x, y = whole[:, :-1], whole[:, 1:]
    features, _ = network.around(x, y, network.zero_state(len(x)), **how)
    return network.logits(features)


@torch.no_grad()
@pytest.mark.parametrize("cell", BOTH)
@pytest.mark.parametrize("sum_layers", [False, True])
def test_a_character_is_named_from_all_others_and_never_from_itself(
    cell: str, sum_layers: bool
) -> None:
    network = CharNetwork(configuration(cell, sum_layers=sum_layers), seed=1).double()
    whole = text()
    before = named(network, whole)
    for place in range(T):  # of the target
        changed = whole.clone()
        changed[:, place + 1] = (changed[:, place + 1] + 1) % V
        differ = (named(network, changed) != before).any(2).all(0)
        assert not differ[place]
        others = [t for t in range(T) if t != place]
        if not cell.startswith(("clockwork", "rnn-relu", "irnn")):  # some of their units sleep
            assert differ[others].all(), place


@torch.no_grad()
@pytest.mark.parametrize("cell", BOTH)
@pytest.mark.parametrize("sum_layers", [False, True])
def test_its_logits_are_those_of_two_networks_that_read_in_one_direction(
    cell: str, sum_layers: bool
) -> None:
    config = configuration(cell, sum_layers=sum_layers)
    weights = random_weights(config)
    network = CharNetwork(config)
    network.load_numpy(weights)
    whole = text()
    both = named(network, whole).numpy()
    ahead, behind = (Engine(*half, streams=B) for half in halves(config, weights))
    forward = np.stack([ahead.step(column) for column in whole.T[:-1].numpy()], 1)
    backward = np.zeros((B, T, V), np.float32)
    for t in range(T - 1, 0, -1):
        backward[:, t - 1] = behind.step(whole[:, t + 1].numpy())[:, :V]
    np.testing.assert_allclose(both, forward + backward, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_a_gap_hides_is_not_read() -> None:
    network = CharNetwork(configuration("lstm"), seed=1)
    whole, dropout = text(), Dropout(gap_rate=0.5)

    def hiding(hidden: torch.Tensor) -> torch.Tensor:
        dropout.gaps = lambda x: hidden  # type: ignore[method-assign]
        return named(network, whole, dropout=dropout)

    none = torch.zeros(B, T, dtype=torch.bool)
    assert torch.equal(hiding(none), named(network, whole))
    gap = none.clone()
    gap[:, 4:7] = True
    changed, before = whole.clone(), hiding(gap)
    changed[:, 5:8] = (changed[:, 5:8] + 1) % V
    whole = changed
    # those before the gap see only that there is one; all others read it from the left
    assert torch.equal(hiding(gap)[:, :5], before[:, :5])
    assert not torch.equal(hiding(gap)[:, 5:], before[:, 5:])
    assert not torch.equal(hiding(gap)[:, :4], hiding(none)[:, :4])


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.6])
def test_gaps_hide_the_fraction_that_was_asked_for(rate: float) -> None:
    x = torch.zeros(64, 2000, dtype=torch.int64)
    generator = torch.Generator().manual_seed(3)
    hidden = Dropout(gap_rate=rate, generator=generator).gaps(x)
    assert hidden[:, LONGEST_GAP:].float().mean().item() == pytest.approx(rate, abs=0.03)
    ends = (hidden[:, :-1] & ~hidden[:, 1:]).sum().item()
    mean = hidden.sum().item() / ends
    if rate == 0.05:  # few of them meet
        assert mean == pytest.approx((1 + LONGEST_GAP) / 2, rel=0.1)
    again = Dropout(gap_rate=rate, generator=generator.manual_seed(3)).gaps(x)
    assert torch.equal(hidden, again)


def test_the_gaps_of_a_stream_do_not_depend_on_the_process_that_trains_it() -> None:
    x, generator = torch.zeros(6, 40, dtype=torch.int64), torch.Generator()
    whole = Dropout(gap_rate=0.3, generator=generator.manual_seed(1)).gaps(x)
    parts = [
        Dropout(gap_rate=0.3, generator=generator.manual_seed(1), first=first, streams=6).gaps(
            x[first:stop]
        )
        for first, stop in ((0, 1), (1, 4), (4, 6))
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_gradients_are_those_of_finite_differences() -> None:
    network = CharNetwork(configuration("lstm", layers=1), seed=1).double()
    whole = text()

    def loss() -> torch.Tensor:
        logits = named(network, whole)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), whole[:, 1:].flatten())

    torch.autograd.backward(loss())
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            flat, grad = weight.view(-1), weight.grad
            assert grad is not None, name
            index = int(rng.integers(len(flat)))
            own = flat[index].item()
            found = []
            for step in (1e-6, -1e-6):
                flat[index] = own + step
                found.append(loss().item())
            flat[index] = own
            slope = (found[0] - found[1]) / 2e-6
            assert grad.view(-1)[index].item() == pytest.approx(slope, abs=1e-8), name


def test_it_has_the_weights_of_two_stacks() -> None:
    plain, both = (configuration("lstm", bidirectional=value) for value in (False, True))
    assert both.features == 2 * plain.features
    stacks = {name.split(".")[0] for name in both.shapes()}
    assert stacks == {"embedding", "layers", "backward", "head"}
    assert both.parameters == sum(p.numel() for p in CharNetwork(both).parameters())
    assert list(both.shapes()) == [name for name, _ in CharNetwork(both).named_parameters()]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reverse": True}, "bidirectional reads in both directions; omit reverse"),
        ({"cell": "jordan"}, "bidirectional needs another cell: each step of jordan reads"),
        ({"layers": 5}, "layers is 5: it must be at most 4 for a bidirectional network"),
        ({"vocab_size": 65535}, "vocab_size is 65535: it must be at most 65,534"),
    ],
)
def test_what_cannot_be_bidirectional_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig.from_dict({"vocab_size": 9, "bidirectional": True} | wrong)
