"""The network against the readable cells, and the cells against calculus."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from charrnn import cells
from charrnn.config import ModelConfig
from charrnn.generation.numpy_engine import NumpyNamespace
from charrnn.model.dropout import Dropout
from charrnn.model.flat_parameters import FlatParameters
from charrnn.model.layers import (
    LayerState,
    Parameters,
    contiguous,
    readable_layer,
    run_first_layer,
    run_layer,
)
from charrnn.model.namespace import TORCH
from charrnn.model.network import CharNetwork, RecurrentLayer
from tests.support.networks import CELLS, model, random_weights

B, T, E, H, V = 3, 7, 5, 4, 11


def definition(cell: str) -> cells.Cell:
    return model(cell, V).definition


def layer_inputs(
    cell: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, width: int = E, size: int = H
) -> tuple[torch.Tensor, LayerState, Parameters]:
    """``x (B, T, width)``, a state and the parameters of a layer of ``size`` units, at random.

    Clocks differ from stream to stream.
    """
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return (torch.rand(*shape, generator=rng, dtype=torch.float64) - 0.5).to(dtype)

    own = definition(cell)
    weights = {name: draw(*shape) for name, shape in own.parameters(width, size).items()}
    state = tuple(
        torch.randint(own.cycles[name], (B, 1), generator=rng).to(dtype)
        if name in own.cycles
        else draw(B, part)
        for name, part in own.state_widths(size).items()
    )
    return draw(B, T, width), state, weights


def prepared_namespace(own: cells.Cell, weights: Parameters) -> SimpleNamespace:
    return own.prepare(TORCH, SimpleNamespace(**weights))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_every_cell_are_those_of_finite_differences(cell: str) -> None:
    """Of two steps; clocks are whole numbers, which nothing learns."""
    own, (x, state, weights) = definition(cell), layer_inputs(cell)
    names = list(own.state_widths(H))
    counts = {name: part for name, part in zip(names, state, strict=True) if name in own.cycles}
    learned = {n: part for n, part in zip(names, state, strict=True) if n not in counts}
    inputs = [t.requires_grad_() for t in (x[:, :2].clone(), *learned.values(), *weights.values())]

    def steps(x: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = counts | dict(zip(learned, rest, strict=False))
        w = prepared_namespace(own, dict(zip(weights, rest[len(learned) :], strict=True)))
        after, outputs = tuple(parts[name] for name in names), []
        for z in own.project(TORCH, x, w).unbind(1):
            y, after = own.step(TORCH, z, after, w)
            outputs.append(y)
        kept = dict(zip(names, after, strict=True))
        return *outputs, *(kept[name] for name in learned)

    assert gradcheck(steps, inputs, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_a_whole_network_are_those_of_finite_differences(cell: str) -> None:
    """Through layers, head and loss, and what comes back from the head."""
    few = {"context": 3} if "scrn" in cell else {}  # the default would take ten times as long
    config = model(cell, 5, embedding=3, hidden=H, layers=2, **few)
    network = CharNetwork(config)
    network.load_numpy(random_weights(config))  # an IRNN begins where its rectifiers have a kink
    network.double()
    x = torch.randint(5, (2, 6), generator=torch.Generator().manual_seed(2))
    parameters = dict(network.named_parameters())

    def loss(*values: torch.Tensor) -> torch.Tensor:
        named = dict(zip(parameters, values, strict=True))
        logits, _ = torch.func.functional_call(network, named, (x[:, :-1], network.zero_state(2)))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), x[:, 1:].flatten())

    inputs = [p.detach().clone().requires_grad_() for p in parameters.values()]
    assert gradcheck(loss, inputs, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_numpy_and_torch_run_the_same_step(cell: str) -> None:
    """To the rounding of float64's functions, which the two libraries may round differently."""
    own, (x, state, weights) = definition(cell), layer_inputs(cell)
    w = prepared_namespace(own, weights)
    y, after = own.step(TORCH, own.project(TORCH, x[:, 0], w), state, w)
    xp, plain = (
        NumpyNamespace(batched=True),
        SimpleNamespace(**{name: value.numpy() for name, value in weights.items()}),
    )
    mine = own.prepare(xp, plain)
    z = own.project(xp, x[:, 0].numpy(), mine)
    other, parts = own.step(xp, z, tuple(part.numpy() for part in state), mine)
    for theirs, ours in zip((y, *after), (other, *parts), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_changes_nothing_that_it_is_given(cell: str) -> None:
    own, (x, state, weights) = definition(cell), layer_inputs(cell, dtype=torch.float32)
    xp = NumpyNamespace(batched=True)
    stored = SimpleNamespace(**{name: value.numpy() for name, value in weights.items()})
    unchanged = [value.copy() for value in vars(stored).values()]
    w = own.prepare(xp, stored)
    parts = tuple(part.numpy() for part in state)
    z = own.project(xp, x[:, 0].numpy(), w)
    given = [z, *parts, *vars(w).values()]
    before = [np.copy(value) for value in given]
    own.step(xp, z, parts, w)
    assert all(np.array_equal(a, b) for a, b in zip(before, given, strict=True))
    assert all((a == b).all() for a, b in zip(unchanged, vars(stored).values(), strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_weights_in_one_piece_are_the_weights(cell: str) -> None:
    *_, weights = layer_inputs(cell)
    for weight in weights.values():
        weight.requires_grad_()
    pieces = contiguous(weights, torch.float64)
    start = pieces[0].data_ptr()
    for piece, weight in zip(pieces, weights.values(), strict=True):
        assert torch.equal(piece, weight)
        assert piece.is_contiguous()
        assert piece.data_ptr() == start
        start += 8 * piece.numel()
    torch.autograd.backward([(k + 1) * piece.sum() for k, piece in enumerate(pieces)])
    for k, weight in enumerate(weights.values()):
        assert weight.grad is not None
        assert torch.equal(weight.grad, torch.full_like(weight, k + 1))


def readable(
    cell: str, x: torch.Tensor, state: LayerState, w: Parameters
) -> tuple[torch.Tensor, LayerState]:
    return readable_layer(definition(cell), x, state, w, x.dtype)


def fast(
    cell: str, x: torch.Tensor, state: LayerState, w: Parameters
) -> tuple[torch.Tensor, LayerState]:
    return run_layer(definition(cell), x, state, w, None)


@pytest.mark.parametrize("cell", CELLS)
def test_the_fast_layer_is_the_readable_loop(cell: str) -> None:
    y, after = fast(cell, *layer_inputs(cell))
    expected, end = readable(cell, *layer_inputs(cell))
    for ours, theirs in zip((y, *after), (expected, *end), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_the_fast_layer_are_those_of_the_readable_loop(cell: str) -> None:
    results = []
    for layer in (readable, fast):
        x, state, weights = layer_inputs(cell)
        inputs = [t.requires_grad_() for t in (x, *state, *weights.values())]
        y, after = layer(cell, x, state, weights)
        loss = (y**2).sum() + sum((part**3).sum() for part in after)
        results.append(torch.autograd.grad(loss, inputs))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sum_layers", [False, True])
def test_a_text_in_chunks_is_the_text_as_a_whole(cell: str, sum_layers: bool) -> None:
    config = model(cell, V, embedding=E, hidden=H, layers=2, sum_layers=sum_layers)
    network = CharNetwork(config, seed=1).double()
    x = torch.randint(11, (B, 21), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole, end = network(x, network.zero_state(B))
        state, parts = network.zero_state(B), []
        for chunk in (x[:, :5], x[:, 5:6], x[:, 6:]):
            logits, state = network(chunk, state)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-15)
    for mine, theirs in zip(sum(state, ()), sum(end, ()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-15)


def test_the_lstm_is_torchs_own() -> None:
    config = ModelConfig(11, embedding=E, hidden=H, layers=2)
    network = CharNetwork(config, seed=3)
    theirs = torch.nn.LSTM(E, H, 2, batch_first=True)
    for index, layer in enumerate(network.layers):
        for name, value in layer.named_parameters():
            getattr(theirs, f"{name}_l{index}").data.copy_(value)
    x = torch.randint(11, (B, T))
    logits, state = network(x, network.zero_state(B))
    y, (h, c) = theirs(network.embedding(x))
    torch.testing.assert_close(logits, network.head(y))
    torch.testing.assert_close(state, tuple(zip(h, c, strict=True)))


def test_weights_have_the_names_and_shapes_that_the_configuration_says() -> None:
    for cell in CELLS:
        config = model(cell, V, embedding=E, hidden=H, layers=3)
        weights = CharNetwork(config).to_numpy()
        assert {name: value.shape for name, value in weights.items()} == config.shapes()
        whole = sum(value.size for value in weights.values())
        assert config.parameters == whole - 3 * config.definition.unused(H)


def test_initial_weights_follow_from_the_seed_alone() -> None:
    config = ModelConfig(11, embedding=E, hidden=H)
    one, same, other = (CharNetwork(config, seed).to_numpy() for seed in (1, 1, 2))
    assert all((one[name] == same[name]).all() for name in one)
    assert any((one[name] != other[name]).any() for name in one)


def test_fresh_weights_are_torchs_own_but_the_heads_are_wider_and_no_gate_is_special() -> None:
    weights = CharNetwork(ModelConfig(11, embedding=E, hidden=H)).to_numpy()
    assert weights.pop("embedding.weight").std() == pytest.approx(1, abs=0.2)
    for name, value in weights.items():
        bound = (4 if name == "head.weight" else 1) * H**-0.5
        assert 0.8 * bound < abs(value).max() <= bound, name


def test_dropout_draws_one_mask_a_window_and_repeats_with_its_seed() -> None:
    x = torch.ones(64, 10, 50)
    dropped, again = (
        Dropout(0.25, generator=torch.Generator().manual_seed(5)).units(x) for _ in range(2)
    )
    assert (dropped == dropped[:, :1]).all()
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 1 / 0.75])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (dropped == again).all()


@pytest.mark.parametrize("rate", [0.05, 0.37, 0.9])
def test_masks_drop_their_rate_and_keep_the_mean(rate: float) -> None:
    """In 4 million places, neighbours of which come from one draw."""
    size = 4_000_000
    kept = Dropout(rate, generator=torch.Generator().manual_seed(3)).units(torch.ones(1, 1, size))
    dropped = (kept == 0).double().view(-1, 4)
    near = 5 * (rate * (1 - rate) / size) ** 0.5 + 2**-16
    assert abs(dropped.mean() - rate) < near
    assert (abs(dropped.mean(0) - rate) < 2 * near).all()
    assert abs(kept.double().mean() - 1) < near / (1 - rate)
    together = torch.corrcoef(dropped.T) - torch.eye(4)
    assert (abs(together) < 5 * (4 / size) ** 0.5).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.05, 0.1, 0.31, 0.5, 0.9, 0.99999])
def test_masks_of_every_number_format_keep_the_mean(rate: float, dtype: torch.dtype) -> None:
    """Over all 2^16 draws, each of which is as likely: the rate and the mean are exact."""
    dropout = Dropout(rate, generator=torch.Generator())
    every = torch.arange(-(2**15), 2**15).to(torch.int16)
    dropout._draws = lambda shape, device: every.view(shape)  # type: ignore[method-assign]
    mask = dropout.units(torch.ones(1, 1, 2**16, dtype=dtype))
    assert mask.dtype == dtype
    assert abs((mask == 0).double().mean().item() - rate) <= 2**-15
    assert abs(mask.double().mean().item() - 1) < 2e-7 / (1 - rate)
    spread = mask[mask != 0].double()
    assert spread.max() / spread.min() - 1 <= torch.finfo(dtype).eps


@pytest.mark.parametrize("rate", [1e-9, 0.999999])
def test_masks_of_extreme_rates_are_finite(rate: float) -> None:
    kept = Dropout(rate, generator=torch.Generator().manual_seed(3)).units(torch.ones(1, 1, 1003))
    assert torch.isfinite(kept).all()
    assert (kept == 0).float().mean().round() == round(rate)


def first_layer(network: CharNetwork) -> Parameters:
    layer = network.layers[0]
    assert isinstance(layer, RecurrentLayer)
    return layer.weights


def test_each_rate_drops_its_own() -> None:
    x = torch.ones(8, 3, 50)
    weights = first_layer(CharNetwork(ModelConfig(11, embedding=E, hidden=64)))
    for own in ("units", "inputs", "recurrent"):
        units, inputs, recurrent = (0.5 * (own == n) for n in ("units", "inputs", "recurrent"))
        dropout = Dropout(units, inputs, recurrent, torch.Generator().manual_seed(1))
        assert (dropout.units(x) == 0).any() == (own == "units")
        assert (dropout.inputs(x) == 0).any() == (own == "inputs")
        after = dropout.recurrent(cells.get("lstm"), weights)
        assert (after["weight_hh"] == 0).any() == (own == "recurrent")
        assert after["weight_ih"] is weights["weight_ih"]


def test_dropped_weights_learn_nothing_and_the_rest_twice() -> None:
    """The gradient of a window with dropped weights is that of the masked and scaled matrix."""
    weights = first_layer(CharNetwork(ModelConfig(11, embedding=E, hidden=H)))
    dropout = Dropout(weight_rate=0.5, generator=torch.Generator().manual_seed(2))
    masked = dropout.recurrent(cells.get("lstm"), weights)["weight_hh"]
    torch.autograd.backward(masked.sum())
    learned = weights["weight_hh"].grad
    assert learned is not None
    assert torch.equal(learned, (masked != 0) * 2.0)


def test_flat_vectors_and_parameters_are_the_same_memory() -> None:
    network = CharNetwork(ModelConfig(11, embedding=E, hidden=H))
    before = network.to_numpy()
    flat = FlatParameters(network)
    assert all((network.to_numpy()[name] == before[name]).all() for name in before)
    flat.values.fill_(7)
    assert all((value == 7).all() for value in network.to_numpy().values())
    network(torch.zeros(1, 2, dtype=torch.long), network.zero_state(1))[0].sum().backward()
    assert flat.grads.abs().sum() > 0
    biases = sum(p.numel() for p in network.parameters() if p.dim() == 1)
    assert flat.decayed == len(flat.values) - biases


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("cell", CELLS)
def test_the_first_layer_reads_characters_as_it_reads_their_embeddings(
    cell: str, dtype: torch.dtype | None
) -> None:
    _, state, weights = layer_inputs(cell, dtype=torch.float32, width=32, size=64)
    embedding = torch.randn(11, 32, generator=torch.Generator().manual_seed(4))
    ids = torch.randint(11, (B, T), generator=torch.Generator().manual_seed(5))
    own = definition(cell)
    y, after = run_first_layer(own, ids, embedding, state, weights, dtype)
    expected, end = run_layer(own, embedding[ids], state, weights, dtype)
    for mine, theirs in zip((y, *after), (expected, *end), strict=True):
        tolerance = 1e-6 if dtype is None else 3e-2
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=0, atol=tolerance)
