"""``charrnn bench``."""

from __future__ import annotations

import typer

app = typer.Typer(help="Speed here.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def bench() -> None:
    """Speed here, against the plain reference in the same run and against the ceiling."""
