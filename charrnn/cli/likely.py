"""``charrnn likely``."""

from __future__ import annotations

from pathlib import Path

import typer

from charrnn import interrupts
from charrnn.cli.options import CHECKPOINT, ESCAPE, JSON, TOP, takes, typed
from charrnn.cli.output import Escape, check_stdout
from charrnn.cli.records import print_likely
from charrnn.cli.sample import LINES
from charrnn.errors import Interrupted, counted, naming
from charrnn.generation.record_config import RecordConfig
from charrnn.generation.sample_config import SampleConfig
from charrnn.settings import declared

[PREFIX, MAX_TRIES] = declared(RecordConfig, "prefix", "max_tries")
[LENGTH] = declared(SampleConfig, "length")


@takes(
    TOP.replace(help="List the K most probable records."),
    LINES.replace(
        help="Treat each line as a record, even if the network did not train with --lines."
    ),
    PREFIX.replace(help="List only records that begin with this text.", excludes=()),
    LENGTH.replace(low=1, help="Characters of a record, at most."),
    MAX_TRIES.replace(help="Give up after looking at N beginnings of records.", unset="no limit"),
    ESCAPE,
    JSON,
)
def likely(
    checkpoint: Path = CHECKPOINT,
    *,
    top: int = 10,
    lines: bool = False,
    prefix: str = "",
    length: int = 1000,
    max_tries: int | None = None,
    escape: Escape = "auto",
    json: bool = False,
) -> None:
    """List the most probable records, best first: nats, characters and text of each.

    The list is exact: no other record is more probable. It is written as it is found.
    """
    from charrnn.console import note
    from charrnn.textmodel import load

    check_stdout()
    model = load(checkpoint)
    with naming("", "" if checkpoint else str(model.path)):
        records = model.likely(
            top=top, prefix=typed(prefix), length=length, lines=lines or None, max_tries=max_tries
        )
    if checkpoint is None:
        note(f"{model.path}")
    try:
        with interrupts.graceful():
            print_likely(records, json, escape)
    except Interrupted as error:  # what was found is written
        raise typer.Exit(error.exit_code) from None
    if records.listed < top:
        most = counted(length, model.vocab.unit)
        note(f"there are only {records.listed:,} records of at most {most}")
