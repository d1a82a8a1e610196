"""What a file for other programs says of its model: how ids are text, and where it comes from."""

from __future__ import annotations

import json
from typing import Any

import charrnn
from charrnn.checkpoint.file import Checkpoint
from charrnn.generation.generator import first_id

_KEPT = ("corpus", "losses", "temperature", "licence")  # of a checkpoint's metadata


def description(checkpoint: Checkpoint) -> str:
    """A JSON object in ASCII that describes the model in ``checkpoint``.

    ``symbols`` has the text of each id, or its byte where ``bytes`` is true; ``first`` is the id to
    read where there is nothing to continue, ``reads`` the direction, ``network`` the settings of
    the network. ``corpus``, ``losses``, ``temperature`` (which the head is divided by already) and
    ``licence`` are those of the checkpoint, if it has them.
    """
    vocab, config = checkpoint.vocab, checkpoint.config
    singles: list[Any] = list(vocab.codes if vocab.is_bytes else map(chr, vocab.codes))
    facts: dict[str, Any] = {
        "by": f"charrnn {charrnn.__version__}",
        "network": config.to_dict(),
        "reads": "from right to left" if config.reverse else "from left to right",
        "symbols": [*singles, *vocab.long],
        "bytes": vocab.is_bytes,
        "first": first_id(vocab),
    }
    if vocab.expression:
        facts["expression"] = vocab.expression
    kept = {name: checkpoint.meta[name] for name in _KEPT if checkpoint.meta.get(name) is not None}
    return json.dumps(facts | kept, separators=(",", ":"))
