"""``charrnn data``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from charrnn.cli.command import Command
from charrnn.cli.options import takes
from charrnn.cli.output import check_stdout, print_path
from charrnn.settings import Option

Known = Literal["war-and-peace", "tinyshakespeare"]

app = typer.Typer(
    help="Download corpora to train on.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

NAME = typer.Argument(..., help="Corpus: war-and-peace or tinyshakespeare.", metavar="NAME")
OUT = Option(
    name="out", kind=Path, variable="CHARRNN_DATA_OUT", help="Folder to put the corpus in."
)


@app.callback()
def data() -> None:
    """Download corpora to train on."""


@app.command("get", cls=Command, short_help="Download a public-domain corpus.")
@takes(OUT)
def get(name: Known = NAME, *, out: Path = Path("data")) -> None:
    """Download a public-domain corpus, check its sha256, and print its path."""
    from charrnn.text.downloads import fetch

    check_stdout()
    print_path(fetch(name, out))
