"""The usual sampling loops: torch in eager mode, one character at a time.

``python -m charrnn.bench.eager LAYERS HIDDEN VOCAB EMBEDDING`` prints the characters per second of
``EagerLoop`` in a process that does nothing else, as in ordinary use.
"""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import statistics
import subprocess
import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn.bench.machine import child_environment, seconds
from charrnn.config import ModelConfig

Weights = dict[str, NDArray[np.float32]]


def random_weights(config: ModelConfig, seed: int = 0) -> Weights:
    """Random weights U(±1/√H) in the shapes of ``config``."""
    rng = np.random.default_rng(seed)
    bound = config.hidden**-0.5
    return {
        name: rng.uniform(-bound, bound, shape).astype(np.float32)
        for name, shape in config.shapes().items()
    }


class EagerLoop:
    """The usual loop: ``nn.LSTM``, one character at a time."""

    chars = 8

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self._weights = {name: torch.from_numpy(value) for name, value in weights.items()}
        self._lstm = nn.LSTM(config.embedding, config.hidden, config.layers, batch_first=True)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self._lstm.load_state_dict({
            f"{name}_l{layer}": self._weights[f"layers.{layer}.{name}"]
            for layer in range(config.layers)
            for name in names
        })  # fmt: skip
        self._last = torch.zeros(1, 1, dtype=torch.long)
        self._state: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def __call__(self) -> None:
        """Sample ``chars`` characters."""
        head, bias = self._weights["head.weight"], self._weights["head.bias"]
        for _ in range(self.chars):
            x = nn.functional.embedding(self._last, self._weights["embedding.weight"])
            y, self._state = self._lstm(x, self._state)
            logits = nn.functional.linear(y[:, -1], head, bias)
            self._last = torch.multinomial(logits.softmax(-1), 1)


class CellLoop:
    """The fastest loop in eager torch: one ``nn.LSTMCell`` per layer."""

    chars = 32

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self._weights = {name: torch.from_numpy(value) for name, value in weights.items()}
        self._cells, width = [], config.embedding
        for layer in range(config.layers):
            cell = nn.LSTMCell(width, config.hidden)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            cell.load_state_dict({n: self._weights[f"layers.{layer}.{n}"] for n in names})
            self._cells.append(cell)
            width = config.hidden
        zeros = torch.zeros(1, config.hidden)
        self._states = [(zeros, zeros)] * config.layers
        self._last = torch.zeros(1, dtype=torch.long)

    @torch.no_grad()
    def __call__(self) -> None:
        """Sample ``chars`` characters."""
        head, bias = self._weights["head.weight"], self._weights["head.bias"]
        for _ in range(self.chars):
            y = self._weights["embedding.weight"][self._last]
            for layer, cell in enumerate(self._cells):
                self._states[layer] = cell(y, self._states[layer])
                y = self._states[layer][0]
            logits = nn.functional.linear(y, head, bias)
            self._last = torch.multinomial(logits.softmax(-1), 1)[0]


def in_own_process(config: ModelConfig) -> float:
    """Characters per second of ``EagerLoop`` in a process of its own.

    There the C library returns the memory of repacked weights to the system after every character
    and gets it again for the next; in a process that has used more memory before, it may not.
    """
    sizes = (config.layers, config.hidden, config.vocab_size, config.embedding)
    command = [sys.executable, "-m", "charrnn.bench.eager", *map(str, sizes)]
    done = subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Measure ``EagerLoop`` here and print its speed."""
    layers, hidden, vocab, embedding = map(int, sys.argv[1:])
    config = ModelConfig(vocab, embedding=embedding, hidden=hidden, layers=layers)
    loop = EagerLoop(config, random_weights(config))
    loop()
    print(EagerLoop.chars / statistics.median(seconds(loop, 0.2) for _ in range(5)))


if __name__ == "__main__":
    main()
