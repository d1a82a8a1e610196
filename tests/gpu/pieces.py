"""A file in pieces that are small enough to be sent, and a script that joins and checks them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

MIB = 1 << 20
LARGEST = 15 * MIB

JOIN = """#!/bin/sh
# Joins the pieces beside this script to {name}, or to a file that is named, and checks it.
set -e
here=$(dirname "$0")
whole=${{1:-$here/{name}}}
cat {pieces} > "$whole"
echo "{sha256}  $whole" | sha256sum -c
"""


def write_pieces(data: bytes, name: str, folder: Path, largest: int = LARGEST) -> list[Path]:
    """Write ``data`` to ``folder`` as ``NAME.0``, ``NAME.1``, …, and ``join.sh``.

    Each is written under another name and renamed, and ``join.sh`` last: it knows the sha256 of the
    whole, and so refuses pieces of which some are older.
    """
    starts = range(0, max(len(data), 1), largest)
    paths = [folder / f"{name}.{number}" for number in range(len(starts))]
    for path, start in zip(paths, starts, strict=True):
        _replace(path, data[start : start + largest])
    for path in folder.glob(f"{name}.*"):
        if path not in paths and path.suffix[1:].isdigit():
            path.unlink()
    pieces = " ".join(f'"$here/{path.name}"' for path in paths)
    script = JOIN.format(name=name, pieces=pieces, sha256=hashlib.sha256(data).hexdigest())
    join = folder / "join.sh"
    _replace(join, script.encode())
    return [*paths, join]


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(data)
    os.replace(temporary, path)
