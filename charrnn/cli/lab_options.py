"""What the commands of ``charrnn lab`` share: options, and the picture that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn import cells
from charrnn.cli.output import check_writable
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError
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
PICTURE_BYTES = 1 << 20  # a picture is smaller
PICTURE = Option(
    name="out",
    kind=Path,
    aliases=("-o",),
    variable="CHARRNN_LAB_OUT",
    unset="no picture",
    help="Picture to write; its name ends in .svg, .png or .pdf. Needs matplotlib.",
)


def sizes(**defaults: Any) -> tuple[Option, ...]:
    """The sizes of networks and runs, with these defaults."""
    found = []
    for settings in (ModelConfig, TrainConfig):
        names = [o.name for o in declared(settings) if o.name in defaults]
        for option in declared(settings, *names):
            plain = {"absent": None, "excludes": (), "unset": ""}
            found.append(option.replace(default=defaults[option.name], **plain))
    return tuple(found)


def checked_picture(out: Path | None, setting: str = "out", *, made: Path | None = None) -> str:
    """The format of the picture; all that it needs is there, or the folder ``made`` will be."""
    from charrnn.lab.pictures import FORMATS, check_matplotlib

    if out is None:
        return ""
    if str(out) == "-" or out.is_dir():
        raise ConfigError(f"is {out}: name a file", setting=setting)
    ending = out.suffix.removeprefix(".").lower()
    if ending and ending not in FORMATS and (out.is_file() or not out.exists()):
        kinds = ", ".join(f".{kind}" for kind in FORMATS)
        raise ConfigError(f"ends in {out.suffix}: a picture ends in {kinds}", setting=setting)
    check_matplotlib()
    check_writable(out, PICTURE_BYTES, setting, made=made)
    return ending if ending in FORMATS else FORMATS[0]
