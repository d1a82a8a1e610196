"""Weights for plain torch: the logits of our network, and what is no checkpoint."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load
from torch import nn

from charrnn.checkpoint.file import Checkpoint
from charrnn.checkpoint.file import load as load_checkpoint
from charrnn.errors import CheckpointError
from charrnn.export.torch_weights import torch_weights
from charrnn.model.network import CharNetwork
from tests.support.networks import CELLS, letters, model, random_weights

V, B = len(letters()), 3
PLAIN = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN, "rnn-tanh": nn.RNN} | dict.fromkeys(
    ("rnn-relu", "irnn"), partial(nn.RNN, nonlinearity="relu")
)


def exported(checkpoint: Checkpoint) -> bytes:
    return b"".join(torch_weights(checkpoint))


def small(cell: str = "lstm", **sizes: Any) -> Checkpoint:
    config = model(cell, V, **({"embedding": 7, "hidden": 12, "layers": 2} | sizes))
    return Checkpoint(config, letters(), random_weights(config))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("sum_layers", [False, True])
@pytest.mark.parametrize("cell", PLAIN)
def test_plain_modules_give_the_logits_of_our_network(
    cell: str, layers: int, sum_layers: bool
) -> None:
    checkpoint = small(cell, layers=layers, sum_layers=sum_layers)
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, V, (B, 12)))
    plain = nn.ModuleDict({"embedding": nn.Embedding(V, 7), "head": nn.Linear(12, V)})
    if sum_layers and layers > 1:
        each = [PLAIN[cell](12 if n else 7, 12, batch_first=True) for n in range(layers)]
        plain["rnn"] = nn.ModuleList(each)
    else:
        plain["rnn"] = PLAIN[cell](7, 12, layers, batch_first=True)
    plain.load_state_dict(load(exported(checkpoint)))  # all names and shapes are right
    ours = CharNetwork(checkpoint.config)
    ours.load_numpy(checkpoint.weights)
    with torch.no_grad():
        outputs = [plain["embedding"](ids)]
        for module in plain["rnn"] if isinstance(plain["rnn"], nn.ModuleList) else [plain["rnn"]]:
            outputs.append(module(outputs[-1])[0])
        features = sum(outputs[1:]) if sum_layers else outputs[-1]
        wanted, _ = ours(ids, ours.zero_state(B))
        torch.testing.assert_close(plain["head"](features), wanted, rtol=0, atol=1e-5)


def test_the_file_is_float32_says_what_it_is_and_is_the_same_for_equal_checkpoints() -> None:
    small().save("int8.safetensors", weight_dtype="int8")
    checkpoint = load_checkpoint(Path("int8.safetensors"))
    Path("novel.torch.safetensors").write_bytes(exported(checkpoint))
    with safe_open("novel.torch.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float32}  # noqa: SIM118
        metadata = file.metadata()
    assert metadata.keys() == {"format", "charrnn_export"}
    assert metadata["format"] == "pt"
    assert json.loads(metadata["charrnn_export"])["network"]["cell"] == "lstm"
    assert {exported(checkpoint) for _ in range(4)} == {exported(checkpoint)}


@pytest.mark.parametrize("cell", sorted(CELLS.keys() - PLAIN.keys()))
def test_a_cell_that_torch_lacks_is_refused(cell: str) -> None:
    checkpoint = small(cell)
    with pytest.raises(CheckpointError) as refused:
        exported(checkpoint)
    name, known = checkpoint.config.cell, "elman, gru, irnn, lstm, rnn-relu"
    assert str(refused.value) == f"torch has no module for the cell {name}, only for {known}"


def test_a_bidirectional_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match="reads both sides of a character: it cannot be run"):
        exported(small(bidirectional=True))
