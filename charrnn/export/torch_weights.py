"""The weights of a network by the names of plain torch modules, in a safetensors file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.file import Checkpoint, pack
from charrnn.checkpoint.header import EXPORTED
from charrnn.errors import CheckpointError
from charrnn.export.description import description

# the cells that torch has a module for: nn.LSTM, nn.GRU, or nn.RNN with tanh or a rectifier
CELLS = ("elman", "gru", "irnn", "lstm", "rnn-relu")


def torch_weights(checkpoint: Checkpoint) -> Iterable[bytes | memoryview[Any]]:
    """A safetensors file of a network's weights as plain torch modules name them, in float32.

    They are those of ``nn.Embedding`` (``embedding.weight (V, E)``), of ``nn.LSTM``, ``nn.GRU`` or
    ``nn.RNN`` with all layers (``rnn.weight_ih_l0``, …) and of ``nn.Linear`` (``head.weight (V,
    H)``, ``head.bias (V,)``). Where the head reads the sum of several layers, each layer is a
    module of its own in a list: ``rnn.0.weight_ih_l0``, …, ``rnn.1.weight_ih_l0``, … The metadata
    ``charrnn_export`` is what ``description`` returns. Equal checkpoints give equal files.

    Raises:
        CheckpointError: torch has no module for such a network.

    """
    config = checkpoint.config
    config.check_causal("be run by plain torch modules")
    if (name := config.definition.name) not in CELLS:
        known = ", ".join(CELLS)
        raise CheckpointError(f"torch has no module for the cell {name}, only for {known}")
    tensors = {new: np.asarray(value, np.float32) for new, value in _renamed(checkpoint)}
    # "pt" says that its tensors are as torch saves them: some readers insist on it
    yield from pack(tensors, {"format": "pt", EXPORTED: description(checkpoint)})


def _renamed(checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[Any]]]:
    """The weights by torch's names."""
    config = checkpoint.config
    listed = config.sum_layers and config.layers > 1
    for name, value in checkpoint.weights.items():
        if name.startswith("layers."):
            _, layer, parameter = name.split(".")
            name = f"rnn.{layer}.{parameter}_l0" if listed else f"rnn.{parameter}_l{layer}"
        yield name, value
