"""Options that the commands of ``charrnn lab`` share."""

from __future__ import annotations

from typing import Any

from charrnn import cells
from charrnn.config import ModelConfig, TrainConfig
from charrnn.settings import Notation, Option, declared


def read_cells(text: str) -> tuple[str, ...]:
    """Cells such as ``elman,lstm``, each once.

    Raises:
        ValueError: one is unknown, or named twice.

    """
    names = tuple(text.split(","))
    if not set(names) <= set(cells.names()) or len(set(names)) < len(names):
        raise ValueError("unknown cells, or the same twice")
    return names


CELLS = Option(
    name="cells",
    kind=tuple,
    flag="--cell",
    aliases=("--cells",),
    variable="CHARRNN_CELLS",
    notation=Notation(
        read_cells, ",".join, f"different cells with commas between: {', '.join(cells.names())}"
    ),
    metavar="CELL,...",
    default=("elman", "jordan", "irnn", "lstm", "gru", "scrn", "clockwork"),
    help="Cells to look at.",
)
[SEED] = declared(TrainConfig, "seed")


def sizes(**defaults: Any) -> tuple[Option, ...]:
    """The sizes of networks and runs, with these defaults."""
    found = []
    for settings in (ModelConfig, TrainConfig):
        names = [o.name for o in declared(settings) if o.name in defaults]
        for option in declared(settings, *names):
            plain = {"absent": None, "excludes": (), "unset": ""}
            found.append(option.replace(default=defaults[option.name], **plain))
    return tuple(found)
