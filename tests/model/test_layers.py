"""Which kernels a layer is computed with."""

from __future__ import annotations

import torch

from charrnn.model.layers import kernels


def test_the_kernels_are_those_of_an_lstm_on_a_processor() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert kernels("gru", cpu, torch.bfloat16) == "torch"
    assert kernels("lstm", cuda, torch.bfloat16) == "torch"
    assert kernels("lstm", cpu, torch.float32) == "torch"
