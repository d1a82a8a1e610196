"""Notes in the cache: JSON files with a hash over everything in them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from charrnn.atomic_io import write_atomic

HASH = "note_sha256"


def write_note(path: Path, values: dict[str, Any]) -> None:
    """Write ``values`` to ``path``.

    Raises:
        OSError: that failed.

    """
    write_atomic(path, [json.dumps(_sealed(values)).encode()])


def read_note(path: Path) -> dict[str, Any] | None:
    """The values in ``path``; None if it is missing or damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and values == _sealed(values) else None


def _sealed(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with a hash over everything else in them."""
    rest = {name: value for name, value in values.items() if name != HASH}
    text = json.dumps(rest, sort_keys=True)
    return rest | {HASH: hashlib.sha256(text.encode()).hexdigest()}
