"""Which kernels a layer is computed with."""

from __future__ import annotations

import pytest
import torch

from charrnn import cells
from charrnn.model.layers import kernels


def test_the_kernels_are_those_of_an_lstm_on_a_processor() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    lstm, gru = cells.get("lstm"), cells.get("gru")
    assert kernels(gru, 8, cpu, torch.bfloat16) == "torch"
    assert kernels(lstm, 8, cuda, torch.bfloat16) == "torch"
    assert kernels(lstm, 8, cpu, torch.float32) == "torch"


@pytest.mark.parametrize("cell", ["elman", "rnn-tanh", "rnn-relu", "irnn"])
def test_torch_has_a_layer_for_both_forms_of_elman_s_network(cell: str) -> None:
    assert kernels(cells.get(cell), 8, torch.device("cpu"), torch.float32) == "torch"
