"""``charrnn fill``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn.cli.options import ENCODING, ESCAPE, JSON, MODEL, UNKNOWN, read_text, runs, takes
from charrnn.cli.output import Escape, TextWriter, check_stdout, is_escaped, print_line
from charrnn.config import FillConfig, Unknown
from charrnn.errors import naming, titled
from charrnn.settings import Option, declared

if TYPE_CHECKING:
    from charrnn.filling import Filling

TEXT = typer.Argument(
    ...,
    help="Text with gaps, such as 'Prince Andrew ____ at once'; - is standard input.",
    metavar="TEXT",
)
FILLER = MODEL.replace(
    help="Checkpoint to fill with: a network trained with --bidirectional, or one that reads from "
    "left to right."
)
REVERSE = Option(
    name="reverse",
    kind=Path,
    metavar="CHECKPOINT",
    variable="CHARRNN_FILL_REVERSE",
    complete=runs,
    help="Checkpoint of a network trained with --reverse, which helps to rank what --model "
    "proposes.",
)


@takes(FILLER, REVERSE, *declared(FillConfig), UNKNOWN, ENCODING, ESCAPE, JSON)
def fill(
    text: str = TEXT,
    *,
    checkpoint: Path | None = None,
    reverse: Path | None = None,
    unknown: Unknown = "error",
    encoding: str | None = None,
    escape: Escape = "auto",
    json: bool = False,
    **settings: Any,
) -> None:
    """Fill the gaps in a text."""
    from charrnn.console import note
    from charrnn.filling import fill as filled
    from charrnn.textmodel import load

    check_stdout()
    raw, source = (read_text(text), "standard input") if text == "-" else (os.fsencode(text), "")
    model, other = load(checkpoint), None if reverse is None else load(reverse)
    encoding = model.encoding(encoding)
    with naming(source, "" if checkpoint else str(model.path)):
        whole = model.read(raw, encoding) if source else raw  # typed text is UTF-8
        fillings = filled(
            model,
            whole,
            reverse=other,
            unknown=unknown,
            on_note=lambda text: note(titled(source, text)),
            **settings,
        )
    if checkpoint is None:
        note(str(model.path))
    if json:
        _print_json(fillings, is_escaped(sys.stdout, escape))
    else:
        _print(fillings, escape, figures=settings.get("count", 1) > 1)


def _print_json(fillings: list[Filling], escaped: bool) -> None:
    for filling in fillings:
        line = {"nats": filling.nats, "gaps": filling.gaps, "text": filling.text}
        print_line(jsonlib.dumps(line, ensure_ascii=escaped))


def _print(fillings: list[Filling], escape: Escape, figures: bool) -> None:
    """Print the texts, each on a line after its nats if there may be several."""
    from charrnn.console import one_line

    writer = TextWriter(sys.stdout, escape)
    for filling in fillings:
        line = filling.text
        if figures:
            line = f"{filling.nats:.4f}\t{one_line(line)}"
        writer.put(line.encode("utf-8", "replace"))
        writer.end_sample(b"" if line.endswith("\n") else b"\n")
    writer.end()
