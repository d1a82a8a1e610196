"""Small things that several tests need."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import cells
from charrnn.config import ModelConfig
from charrnn.text.vocab import Vocab

# every cell under each of its names, and some with other options than by default
CELLS: dict[str, dict[str, Any]] = {name: {"cell": name} for name in cells.names()} | {
    "scrn, learned": {"cell": "scrn", "context": 3, "learn_decay": True},
    "clockwork, uneven": {"cell": "clockwork", "periods": (2, 3, 7)},
}


def model(which: str, V: int, **sizes: Any) -> ModelConfig:
    """The configuration of a network with V symbols and a cell of ``CELLS``."""
    return ModelConfig.from_dict({"vocab_size": V} | CELLS[which] | sizes)


def clocks(config: ModelConfig) -> list[int]:
    """For each part of a layer's state, the length of its cycle if it counts steps; else 0."""
    return [config.definition.cycles.get(name, 0) for name in config.state_widths]


def random_weights(config: ModelConfig, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights U(±1/√H), embeddings and head N(0, 1): a network with opinions."""
    rng = np.random.default_rng(seed)
    bound = config.hidden**-0.5
    weights = {}
    for name, shape in config.shapes().items():
        if name in ("embedding.weight", "head.weight"):
            values = rng.standard_normal(shape)
        else:
            values = rng.uniform(-bound, bound, shape)
        weights[name] = values.astype(np.float32)
    return weights


def letters(text: str = "\n abcdefghijklmnopqrstuvwxyz.,") -> Vocab:
    """The vocabulary of ``text``, with how often it has each symbol."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return Vocab.from_counts(np.bincount(codes).astype(np.int64), is_bytes=False)


def drawn_text(V: int, N: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """``N`` ids drawn at random, each by itself, and the ``V`` probabilities they follow."""
    probabilities = np.random.default_rng(1).dirichlet(np.ones(V))
    ids = np.random.default_rng(2).choice(V, N, p=probabilities)
    return ids.astype(np.uint8), probabilities
