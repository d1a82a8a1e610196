"""``charrnn next``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from pathlib import Path

import typer

from charrnn.cli.options import ENCODING, JSON, MODEL, TOP, UNKNOWN, read_text, takes
from charrnn.cli.output import check_stdout
from charrnn.config import Unknown
from charrnn.errors import naming, titled

PREFIX = typer.Argument(
    "", help="Beginning of a text; - reads it from standard input.", metavar="PREFIX"
)


@takes(TOP, MODEL, UNKNOWN, ENCODING, JSON)
def next(
    prefix: str = PREFIX,
    *,
    top: int = 10,
    checkpoint: Path | None = None,
    unknown: Unknown = "error",
    encoding: str | None = None,
    json: bool = False,
) -> None:
    """List the likeliest next characters after a text, with their probabilities."""
    from charrnn.console import note, table
    from charrnn.textmodel import load

    check_stdout()
    model = load(checkpoint)
    encoding = model.encoding(encoding)
    raw, source = (read_text("-"), "standard input") if prefix == "-" else (os.fsencode(prefix), "")
    with naming(source, "" if checkpoint else str(model.path)):
        text = model.read(raw, encoding) if source else raw  # typed text is UTF-8
        omissions = model.vocab.omissions(text, unknown)
        found = model.next(text, top=top, unknown=unknown)
    if omissions:
        note(titled(source, omissions))
    if checkpoint is None:
        note(f"{model.path}")
    if json:
        for one in found:
            values = {"symbol": one.symbol, "probability": one.probability, "nats": one.nats}
            sys.stdout.write(jsonlib.dumps(values, ensure_ascii=sys.stdout.isatty()) + "\n")
        return
    rows = [(one.symbol, f"{one.probability:.6f}", f"{one.nats:.4f}") for one in found]
    table(("symbol", "probability", "nats"), rows)
