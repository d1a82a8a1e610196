"""``charrnn info``."""

from __future__ import annotations

import json as jsonlib
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.options import CHECKPOINT, JSON, takes
from charrnn.paths import find_checkpoint

if TYPE_CHECKING:
    from charrnn.text.vocab import Vocab

# entries that a checkpoint's metadata may not override, and what only resuming needs
_OWN = {"path", "bytes", "weights", "model", "vocabulary", "symbols", "resume"}


@takes(JSON)
def info(checkpoint: Path = CHECKPOINT, *, json: bool = False) -> None:
    """Describe a checkpoint: its network, corpus, losses and how it was trained."""
    from charrnn.checkpoint.file import load
    from charrnn.console import table

    path = find_checkpoint(checkpoint)
    loaded = load(path)
    config = loaded.config
    facts: dict[str, Any] = {
        "path": str(path),
        "bytes": path.stat().st_size,
        "weights": loaded.weight_dtype,
        "model": config.to_dict() | {"parameters": config.parameters},
        **_symbols(loaded.vocab, json),
    } | {name: value for name, value in loaded.meta.items() if name not in _OWN}
    if json:
        sys.stdout.write(jsonlib.dumps(facts) + "\n")
        return
    table(("", ""), list(_rows("", facts)), "checkpoint")


def _symbols(vocab: Vocab, all: bool) -> dict[str, Any]:
    """The vocabulary; symbols of several characters are listed if ``all``, else counted."""
    if not vocab.expression:
        return {"vocabulary": "".join(vocab.symbols())}
    singles = "".join(islice(vocab.symbols(), len(vocab.codes)))
    long = list(vocab.long) if all else len(vocab.long)
    return {"vocabulary": singles, "symbols": {"expression": vocab.expression, "longer": long}}


def _rows(prefix: str, facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            rows += _rows(f"{prefix}{name}.", value)
        elif value is not None:
            rows.append((prefix + name, str(value) if name == "seed" else _show(value)))
    return rows


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
