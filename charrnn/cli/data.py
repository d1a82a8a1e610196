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
    from charrnn.console import one_line
    from charrnn.downloads import fetch

    path = str(fetch(name, out))
    sys.stdout.write((one_line(path) if sys.stdout.isatty() else path) + "\n")
