"""What a checkpoint says of itself, in a line for a page."""

from __future__ import annotations

from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import counted
from charrnn.training.events import bits
from charrnn.training.rundir.metrics import MOST_NATS


def facts(checkpoint: Checkpoint) -> str:
    """Network, number of weights, symbols, corpus and losses; untrusted, not yet escaped."""
    config, losses = checkpoint.config, checkpoint.about("losses")
    found = [
        f"{config.cell} {config.layers} × {config.hidden}",
        f"{config.parameters:,} weights",
        counted(config.vocab_size, "symbol"),
    ]
    corpus = checkpoint.about("corpus").get("name")
    if isinstance(corpus, str):
        found.append(f"trained on {corpus}")
    for part in ("val", "test"):
        value = losses.get(part)  # an untrusted file may hold anything
        if isinstance(value, float) and 0 <= value < MOST_NATS:
            found.append(f"{part} {value:.4f} nats/char ({bits(value):.3f} bits)")
    return " · ".join(found)
