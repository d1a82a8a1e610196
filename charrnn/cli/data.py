"""``charrnn data``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from charrnn.cli.command import Command
from charrnn.cli.options import option
from charrnn.cli.output import print_path

Known = Literal["war-and-peace", "tinyshakespeare"]

app = typer.Typer(help="Corpora to train on.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Corpora to train on."""


@app.command("get", cls=Command, short_help="Download a public-domain corpus.")
def get(
    name: Known = typer.Argument(..., help="war-and-peace or tinyshakespeare.", metavar="NAME"),
    out: Path = option(Path("data"), "--out", variable="DATA_OUT", help="Folder to put it in."),
) -> None:
    """Download a public-domain corpus, check its sha256, and print its path."""
    from charrnn.text.downloads import fetch

    print_path(fetch(name, out))
