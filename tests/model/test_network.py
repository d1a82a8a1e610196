"""The network against the readable cells, and the cells against calculus."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from charrnn.config import CELLS, ModelConfig
from charrnn.model.cells import STEPS, LayerWeights, naive_layer
from charrnn.model.flat_parameters import FlatParameters
from charrnn.model.layers import one_after_another, run_first_layer, run_layer
from charrnn.model.network import CharNetwork, Dropout

B, T, E, H = 3, 7, 5, 4


def layer_inputs(
    cell: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, width: int = E, size: int = H
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, LayerWeights]:
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return (torch.rand(*shape, generator=rng, dtype=torch.float64) - 0.5).to(dtype)

    rows = ModelConfig(2, cell=cell, hidden=size).gates * size  # type: ignore[arg-type]
    weights = LayerWeights(draw(rows, width), draw(rows, size), draw(rows), draw(rows))
    return draw(B, T, width), draw(B, size), draw(B, size if cell == "lstm" else 0), weights


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_every_cell_are_those_of_finite_differences(cell):
    x, hx, cx, weights = layer_inputs(cell)
    inputs = [t.requires_grad_() for t in (x[:, 0].clone(), hx, cx, *weights)]

    def step(x, hx, cx, *w):
        return STEPS[cell](x, hx, cx, LayerWeights(*w))

    assert gradcheck(step, inputs, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_in_one_piece_are_the_weights(cell):
    *_, weights = layer_inputs(cell)
    for weight in weights:
        weight.requires_grad_()
    pieces = one_after_another(weights, torch.float64)
    start = pieces[0].data_ptr()
    for piece, weight in zip(pieces, weights, strict=True):
        assert torch.equal(piece, weight)
        assert piece.is_contiguous()
        assert piece.data_ptr() == start
        start += 8 * piece.numel()
    torch.stack([(k + 1) * piece.sum() for k, piece in enumerate(pieces)]).sum().backward()
    for k, weight in enumerate(weights):
        assert torch.equal(weight.grad, torch.full_like(weight, k + 1))


@pytest.mark.parametrize("cell", CELLS)
def test_the_fast_layer_is_the_naive_loop(cell):
    x, hx, cx, weights = layer_inputs(cell)
    slow = naive_layer(cell, x, hx, cx, weights)
    fast = run_layer(cell, x, hx, cx, weights, None)
    for ours, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_the_fast_layer_are_those_of_the_naive_loop(cell):
    results = []
    for layer in (naive_layer, lambda *a: run_layer(*a, None)):
        x, hx, cx, weights = layer_inputs(cell)
        inputs = [t.requires_grad_() for t in (x, hx, cx, *weights)]
        y, h, c = layer(cell, x, hx, cx, weights)
        loss = (y**2).sum() + h.sum() + (c**3).sum()
        results.append(torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sum_layers", [False, True])
def test_a_text_in_chunks_is_the_text_as_a_whole(cell, sum_layers):
    config = ModelConfig(11, cell=cell, embedding=E, hidden=H, layers=2, sum_layers=sum_layers)
    network = CharNetwork(config, seed=1).double()
    x = torch.randint(11, (B, 21), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole, end = network(x, network.zero_state(B))
        state, parts = network.zero_state(B), []
        for chunk in x.split((5, 1, 15), dim=1):
            logits, state = network(chunk, state)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-15)
    for mine, theirs in zip(state, end, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-15)


def test_the_lstm_is_torchs_own():
    config = ModelConfig(11, embedding=E, hidden=H, layers=2)
    network = CharNetwork(config, seed=3)
    theirs = torch.nn.LSTM(E, H, 2, batch_first=True)
    for index, layer in enumerate(network.layers):
        for name, value in layer.named_parameters():
            getattr(theirs, f"{name}_l{index}").data.copy_(value)
    x = torch.randint(11, (B, T))
    logits, (hx, cx) = network(x, network.zero_state(B))
    y, (h, c) = theirs(network.embedding(x))
    torch.testing.assert_close(logits, network.head(y))
    torch.testing.assert_close((hx, cx), (h, c))


def test_weights_have_the_names_and_shapes_that_the_configuration_says():
    for cell in CELLS:
        config = ModelConfig(11, cell=cell, embedding=E, hidden=H, layers=3)  # type: ignore[arg-type]
        weights = CharNetwork(config).to_numpy()
        assert {name: value.shape for name, value in weights.items()} == config.shapes()
        assert config.parameters == sum(value.size for value in weights.values())


def test_initial_weights_follow_from_the_seed_alone():
    config = ModelConfig(11, embedding=E, hidden=H)
    one, same, other = (CharNetwork(config, seed).to_numpy() for seed in (1, 1, 2))
    assert all((one[name] == same[name]).all() for name in one)
    assert any((one[name] != other[name]).any() for name in one)


def test_fresh_weights_are_torchs_own_but_the_heads_are_wider_and_no_gate_is_special():
    weights = CharNetwork(ModelConfig(11, embedding=E, hidden=H)).to_numpy()
    assert weights.pop("embedding.weight").std() == pytest.approx(1, abs=0.2)
    for name, value in weights.items():
        bound = (4 if name == "head.weight" else 1) * H**-0.5
        assert 0.8 * bound < abs(value).max() <= bound, name


def test_dropout_draws_one_mask_a_window_and_repeats_with_its_seed():
    x = torch.ones(64, 10, 50)
    dropped, again = (
        Dropout(0.25, generator=torch.Generator().manual_seed(5)).units(x) for _ in range(2)
    )
    assert (dropped == dropped[:, :1]).all()
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (dropped == again).all()


@pytest.mark.parametrize("rate", [0.05, 0.37, 0.9])
def test_masks_drop_their_rate_and_keep_the_mean(rate):
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


@pytest.mark.parametrize("rate", [1e-9, 0.999999])
def test_masks_of_extreme_rates_are_finite(rate):
    kept = Dropout(rate, generator=torch.Generator().manual_seed(3)).units(torch.ones(1, 1, 1003))
    assert torch.isfinite(kept).all()
    assert (kept == 0).float().mean().round() == round(rate)


def test_each_rate_drops_its_own():
    x = torch.ones(8, 3, 50)
    weights = CharNetwork(ModelConfig(11, embedding=E, hidden=64)).layers[0].weights
    for own in ("units", "inputs", "recurrent"):
        rates = {"rate": own == "units", "input_rate": own == "inputs"}
        rates["weight_rate"] = own == "recurrent"
        dropout = Dropout(**{name: 0.5 * on for name, on in rates.items()})
        dropout.generator = torch.Generator().manual_seed(1)
        assert (dropout.units(x) == 0).any() == (own == "units")
        assert (dropout.inputs(x) == 0).any() == (own == "inputs")
        after = dropout.recurrent(weights)
        assert (after.weight_hh == 0).any() == (own == "recurrent")
        assert after.weight_ih is weights.weight_ih


def test_dropped_weights_learn_nothing_and_the_rest_twice():
    """The gradient of a window with dropped weights is that of the masked and scaled matrix."""
    weights = CharNetwork(ModelConfig(11, embedding=E, hidden=H)).layers[0].weights
    dropout = Dropout(weight_rate=0.5, generator=torch.Generator().manual_seed(2))
    masked = dropout.recurrent(weights).weight_hh
    masked.sum().backward()
    assert weights.weight_hh.grad is not None
    assert torch.equal(weights.weight_hh.grad, (masked != 0) * 2.0)


def test_flat_vectors_and_parameters_are_the_same_memory():
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
def test_the_first_layer_reads_characters_as_it_reads_their_embeddings(cell, dtype):
    _, hx, cx, weights = layer_inputs(cell, dtype=torch.float32, width=32, size=64)
    embedding = torch.randn(11, 32, generator=torch.Generator().manual_seed(4))
    ids = torch.randint(11, (B, T), generator=torch.Generator().manual_seed(5))
    by_id = run_first_layer(cell, ids, embedding, hx, cx, weights, dtype)
    by_row = run_layer(cell, embedding[ids], hx, cx, weights, dtype)
    for mine, theirs in zip(by_id, by_row, strict=True):
        tolerance = 1e-6 if dtype is None else 3e-2
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=0, atol=tolerance)
