"""``charrnn data``."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from charrnn.cli.options import option

app = typer.Typer(help="Corpora to train on.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Corpora to train on."""


@app.command("get")
def get(
    name: str = typer.Argument(..., help="A corpus: war-and-peace, tinyshakespeare."),
    out: Path = option(Path("data"), "--out", help="Folder to put it in."),
) -> None:
    """Download a public-domain corpus, check its sha256, and print its path."""
    from charrnn.downloads import fetch

    sys.stdout.write(f"{fetch(name, out)}\n")
