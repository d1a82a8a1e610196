"""A bidirectional network as two networks that each read in one direction.

Its head is linear: the logits of a character are those of the layers before it plus those of the
backward layers behind it. So each stack of layers with its part of the head is a network that every
engine can run, and the network itself is their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig

Tensors: TypeAlias = dict[str, NDArray[Any]]
Weights: TypeAlias = Mapping[str, NDArray[Any]]
Network: TypeAlias = tuple[ModelConfig, Weights]


def halves(config: ModelConfig, weights: Weights) -> tuple[Network, Network]:
    """The two halves of a bidirectional network; the forward one has the head's bias.

    The backward one knows one symbol more, V: a character that is not known, which it reads as
    zeros. Its logits of that symbol mean nothing.
    """
    width, one_way = config.output_width, replace(config, bidirectional=False)
    forward = {name: weights[name] for name in one_way.shapes()}
    forward["head.weight"] = weights["head.weight"][:, :width]
    blank = replace(one_way, vocab_size=config.vocab_size + 1)
    backward = {
        name.replace("backward.", "layers."): value
        for name, value in weights.items()
        if name.startswith("backward.")
    }
    backward["embedding.weight"] = _one_more(weights["embedding.weight"])
    backward["head.weight"] = _one_more(weights["head.weight"][:, width:])
    backward["head.bias"] = np.zeros(blank.vocab_size, np.float32)
    return (one_way, forward), (blank, backward)


def _one_more(rows: NDArray[Any]) -> NDArray[Any]:
    """``rows`` and one of zeros."""
    return np.concatenate((rows, np.zeros_like(rows[:1])))
