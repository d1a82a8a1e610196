"""``charrnn ls``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from pathlib import Path
from typing import Any

import typer

from charrnn.cli.options import JSON, path, takes
from charrnn.errors import CheckpointError
from charrnn.paths import CHECKPOINTS, list_checkpoints, own_checkpoints

FOLDER = typer.Argument(
    None, help="Folder to search. Default: ./checkpoints.", parser=path, metavar="FOLDER"
)


@takes(JSON)
def ls(folder: Path = FOLDER, *, json: bool = False) -> None:
    """List your checkpoints, newest first, and then the bundled ones."""
    from charrnn.console import table

    if folder is not None and not os.path.isdir(folder):
        raise CheckpointError(
            f"{folder} is not a folder: name one that contains the folders of runs"
        )
    folder = folder or CHECKPOINTS
    own = set(own_checkpoints(folder))
    entries = [_entry(path, bundled=path not in own) for path in list_checkpoints(folder)]
    if json:
        sys.stdout.write(jsonlib.dumps(entries) + "\n")
        return
    columns = ("name", "corpus", "network", "weights", "val", "date")
    table(columns, [_row(entry) for entry in entries])


def _entry(path: Path, bundled: bool) -> dict[str, Any]:
    from charrnn.checkpoint.file import load

    entry: dict[str, Any] = {"path": str(path), "bundled": bundled}
    try:
        loaded = load(path)
    except CheckpointError as error:
        return entry | {"error": error.message}
    config = loaded.config
    return entry | {
        "corpus": loaded.about("corpus").get("name"),
        "cell": config.cell,
        "layers": config.layers,
        "hidden": config.hidden,
        "reverse": config.reverse,
        "bidirectional": config.bidirectional,
        "parameters": config.parameters,
        "val_nats": loaded.about("losses").get("val"),
        "val_chars": loaded.about("losses").get("val_chars"),
        "date": loaded.about("made").get("date"),
    }


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    from charrnn.console import weight_count

    name = Path(entry["path"]).parent.name + (" (bundled)" if entry["bundled"] else "")
    if "error" in entry:
        return (name, "damaged", "", "", "", "")
    val = entry["val_nats"]
    return (
        name,
        str(entry["corpus"]),
        f"{entry['cell']} {entry['layers']} x {entry['hidden']}" + _direction(entry),
        weight_count(entry["parameters"]),
        _loss(val, entry["val_chars"]) + (" (both sides)" if entry["bidirectional"] else ""),
        str(entry["date"] or ""),
    )


def _direction(entry: dict[str, Any]) -> str:
    """How the network reads, if not from left to right."""
    return "".join(f" {name}" for name in ("reverse", "bidirectional") if entry[name])


def _loss(val: Any, chars: Any) -> str:
    """A validation loss, and whether it is that of a sample of the validation part."""
    if not isinstance(val, (int, float)):
        return ""
    return f"{val:.4f}" + (" (sample)" if chars is not None else "")
