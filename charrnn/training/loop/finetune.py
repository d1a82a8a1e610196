"""Starting from a checkpoint: the network keeps its shape, and characters keep their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import ConfigError, counted
from charrnn.hints import omit
from charrnn.model.network import CharNetwork
from charrnn.text.corpus import Corpus


def keep_shape(origin: Checkpoint, settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` completed by the shape of the network in ``origin``.

    Raises:
        ConfigError: they ask for another shape.

    """
    shape = {k: v for k, v in origin.config.to_dict().items() if k != "vocab_size"}
    asked = {k: settings[k] for k in shape if k in settings}
    other = sorted(k for k, v in asked.items() if not origin.config.agrees(k, v))
    if other:
        raise ConfigError("keeps the checkpoint's shape", omit(other), setting="start_from")
    return settings | shape


@torch.no_grad()
def adopt(network: CharNetwork, origin: Checkpoint, corpus: Corpus) -> str:
    """Copy the weights of ``origin`` into ``network``, whose vocabulary is that of ``corpus``.

    Rows of the embedding and the head follow their characters, whatever their ids. Characters that
    ``origin`` lacks keep their initial rows.

    Returns:
        A line for the user: how many characters are known, new and dropped.

    """
    rows = origin.vocab.rows_of(corpus.vocab)
    new = torch.from_numpy(np.flatnonzero(rows >= 0))
    old = torch.from_numpy(rows[rows >= 0].astype(np.int64))
    for name, parameter in network.named_parameters():
        weight = torch.from_numpy(origin.weights[name].copy())
        if name.startswith(("embedding", "head")):
            parameter[new] = weight[old]
        else:
            parameter.copy_(weight)
    fresh = len(corpus.vocab) - len(new)
    return (
        f"weights from {origin.about('corpus').get('name', 'the checkpoint')}: "
        f"{counted(len(new), corpus.vocab.unit)} known, "
        f"{fresh} new, {len(origin.vocab) - len(new)} dropped"
    )
