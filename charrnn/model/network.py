"""Embedding → recurrent stack → head. State is passed in and returned, never kept inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn import cells
from charrnn.config import ModelConfig
from charrnn.model.dropout import NO_DROPOUT, Dropout
from charrnn.model.feedback import run_network
from charrnn.model.layers import LayerState, Parameters, prepared, run_first_layer, run_layer
from charrnn.model.namespace import TORCH

# each layer's parts (B, width), in the order in which the cell declares them
State = tuple[LayerState, ...]


def detached(state: State) -> State:
    """``state`` without its graph: gradients end at the start of the window."""
    return tuple(tuple(part.detach() for part in layer) for layer in state)


def zeroed(state: State, streams: Tensor) -> State:
    """``state`` with zeros for the streams that ``streams (B,)`` marks as true."""
    return tuple(
        tuple(part.masked_fill(streams[:, None], 0.0) for part in layer) for layer in state
    )


class RecurrentLayer(nn.Module):
    """A layer's parameters, with the names and shapes that its cell declares."""

    def __init__(self, shapes: cells.Shapes) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    @property
    def weights(self) -> Parameters:
        """All parameters by name."""
        return dict(self.named_parameters())


# ``CharNetwork.reset`` draws the weights; torch would first draw others, from the generator that it
# shares with the whole program


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Nothing."""


class _Head(nn.Linear):
    def reset_parameters(self) -> None:
        """Nothing."""


class CharNetwork(nn.Module):
    """A character-level language model of ``config``'s shape, initialised from ``seed``."""

    layers: nn.ModuleList

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = _Embedding(config.vocab_size, config.embedding)
        for stack in config.stacks:  # layers and, of a bidirectional network, backward
            shapes = (config.layer_shapes(layer) for layer in range(config.layers))
            self.add_module(stack, nn.ModuleList(map(RecurrentLayer, shapes)))
        self.head = _Head(config.features, config.vocab_size)
        self.reset(seed)

    @property
    def vocab_size(self) -> int:
        """V, the number of symbols in the vocabulary."""
        return self.config.vocab_size

    @property
    def cycle(self) -> int:
        """The number of characters after which its clocks repeat; 1 without clocks."""
        return self.config.cycle

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        """Initialise all weights as torch does: U(±1/√H), embeddings N(0, 1); the head's U(±4/√H).

        A cell may declare others. The wider head gains 0.02 nats here; forget gates that start open
        (a bias of 1, Jozefowicz et al. 2015) lose as much (checkpoints/README.md).
        """
        rng, cell = torch.Generator().manual_seed(seed), self.config.definition
        bound = self.config.hidden**-0.5
        for name, parameter in self.named_parameters():
            room, _, own = name.rpartition(".")
            if room == "embedding":
                parameter.copy_(torch.randn(parameter.shape, generator=rng))
                continue
            width = 4 * bound if name == "head.weight" else bound
            drawn = (torch.rand(parameter.shape, generator=rng) * 2 - 1) * width
            parameter.copy_(drawn if room == "head" else cell.initial(TORCH, own, drawn))

    def zero_state(self, B: int) -> State:
        """The state of ``B`` streams before a text: zeros, ``(B, width)`` for each part."""
        like, widths = self.head.weight, self.config.state_widths.values()
        return tuple(
            tuple(like.new_zeros(B, width) for width in widths) for _ in range(self.config.layers)
        )

    def features(
        self,
        x: Tensor,
        state: State,
        *,
        dtype: torch.dtype | None = None,
        dropout: Dropout = NO_DROPOUT,
    ) -> tuple[Tensor, State]:
        """The head's input ``(B, T, features)`` for ids ``x (B, T)``, and the state after them.

        ``dtype`` is the type of the matrix products (None: that of the weights); states keep their
        own type. A bidirectional network has ``around`` instead.
        """
        assert not self.config.bidirectional, "it needs the characters on both sides"
        return self._read("layers", x, self.embedding.weight, state, dtype, dropout)

    def around(
        self,
        x: Tensor,
        y: Tensor,
        state: State,
        *,
        dtype: torch.dtype | None = None,
        dropout: Dropout = NO_DROPOUT,
    ) -> tuple[Tensor, State]:
        """What a bidirectional network's head reads to name ``y (B, T)`` from both sides.

        The layers read ``x (B, T)``, the characters before each of ``y``, from ``state``; the
        backward layers read ``y`` from its end, from zeros. What belongs to ``y[:, t]`` is the
        output of the layers after ``x[:, t]``, which ends just before it, beside that of the
        backward layers after ``y[:, t + 1]``, which begins just behind it. Behind the last one
        there is nothing, so there it is zeros.

        Returns:
            The head's input ``(B, T, features)``, and the layers' state after ``x``.

        """
        table, seen = self.embedding.weight, y
        if dropout.gap_rate:
            table = F.pad(table, (0, 0, 0, 1))  # (V + 1, E): the last row, zeros, is for gaps
            seen = y.masked_fill(dropout.gaps(y), self.vocab_size)
        how = dtype, dropout
        ahead, after = self._read("layers", x, self.embedding.weight, state, *how)
        back, _ = self._read("backward", seen.flip(1), table, self.zero_state(len(y)), *how)
        back = F.pad(back.flip(1)[:, 1:], (0, 0, 0, 1))  # (B, T, output width)
        return torch.cat((ahead, back), 2), after

    def _read(
        self,
        stack: str,
        x: Tensor,
        embedding: Tensor,
        state: State,
        dtype: torch.dtype | None,
        dropout: Dropout,
    ) -> tuple[Tensor, State]:
        """What ``stack`` puts out ``(B, T, output width)`` for rows ``x`` of ``embedding``."""
        cell, y, total, after = self.config.definition, x, None, []
        layers = self.get_submodule(stack).children()
        for index, (layer, before) in enumerate(zip(layers, state, strict=True)):
            assert isinstance(layer, RecurrentLayer)
            rest = (before, dropout.recurrent(cell, layer.weights), dtype)
            if index == 0 and dropout.input_rate == 0:
                y, parts = run_first_layer(cell, x, embedding, *rest)
            elif index == 0:
                y, parts = run_layer(cell, dropout.inputs(F.embedding(x, embedding)), *rest)
            else:
                y, parts = run_layer(cell, y, *rest)
            after.append(parts)
            y = dropout.units(y)  # (B, T, output width)
            if self.config.sum_layers:
                total = y if total is None else total + y
        return (y if total is None else total), tuple(after)

    def forward(
        self,
        x: Tensor,
        state: State,
        *,
        dtype: torch.dtype | None = None,
        dropout: Dropout = NO_DROPOUT,
    ) -> tuple[Tensor, State]:
        """``logits (B, T, V)`` in the weights' type for ids ``x (B, T)``, and the state after."""
        if self.config.definition.after_head is not None:
            return self._with_feedback(x, state, dtype, dropout)
        features, state = self.features(x, state, dtype=dtype, dropout=dropout)
        return self.logits(features, dtype), state

    @property
    def output_width(self) -> int:
        """The width of ``outputs``."""
        has_feedback = self.config.definition.after_head is not None
        return self.config.vocab_size if has_feedback else self.config.features

    def outputs(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """What ``logits`` reads, ``(B, T, output_width)``, for ids ``x (B, T)``; the state after.

        That is the head's input. Of a cell that reads the head's output it is this output.
        """
        has_feedback = self.config.definition.after_head is not None
        return self(x, state) if has_feedback else self.features(x, state)

    def logits(self, outputs: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """``logits (..., V)`` in the weights' type for ``outputs``, products in ``dtype``."""
        if self.config.definition.after_head is not None:
            return outputs
        return self._head(dtype)(outputs)

    def _head(self, dtype: torch.dtype | None) -> Callable[[Tensor], Tensor]:
        """What maps the head's input ``(..., features)`` to logits ``(..., V)``."""
        own = self.head.weight.dtype
        weight, bias = (t.to(dtype or own) for t in (self.head.weight, self.head.bias))
        return lambda features: F.linear(features.to(weight.dtype), weight, bias).to(own)

    def _with_feedback(
        self, x: Tensor, state: State, dtype: torch.dtype | None, dropout: Dropout
    ) -> tuple[Tensor, State]:
        """``forward`` for a cell that reads the head's output of the step before."""
        cell, own = self.config.definition, self.head.weight.dtype
        layers, masks = [], []
        for layer in self.layers:
            assert isinstance(layer, RecurrentLayer)
            layers.append(prepared(cell, dropout.recurrent(cell, layer.weights), dtype or own))
            output = self.head.weight.new_ones(len(x), 1, self.config.features)
            masks.append(dropout.units(output)[:, 0] if dropout.rate else None)
        return run_network(
            cell,
            dropout.inputs(self.embedding(x)),
            state,
            layers,
            self._head(dtype),
            masks=masks,
            sum_layers=self.config.sum_layers,
        )

    def to_numpy(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all weights in float32, with the names of ``ModelConfig.shapes``."""
        return {
            name: value.detach().to("cpu", torch.float32, copy=True).numpy()
            for name, value in self.named_parameters()
        }

    @torch.no_grad()
    def load_numpy(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Copy ``weights``, which must have the names and shapes of ``config.shapes()``."""
        for name, parameter in self.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(weights[name], np.float32)))
