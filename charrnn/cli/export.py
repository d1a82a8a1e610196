"""``charrnn export``."""

from __future__ import annotations

from pathlib import Path

import typer

from charrnn.cli.options import QUIET, path, runs, takes
from charrnn.cli.output import check_stdout, check_writable, print_path, save_file
from charrnn.errors import ConfigError
from charrnn.export.formats import format_of, listed

CHECKPOINT = typer.Argument(
    ...,
    help="Checkpoint file, its folder or the name of a run.",
    parser=path,
    metavar="CHECKPOINT",
    autocompletion=runs,
)
FILE = typer.Argument(
    ..., help=f"File to write, which ends in {listed()}.", parser=path, metavar="FILE"
)


@takes(QUIET)
def export(checkpoint: Path = CHECKPOINT, file: Path = FILE, *, quiet: bool = False) -> None:
    """Write a model in a form for use without charrnn, and print the path."""
    from charrnn import interrupts
    from charrnn.console import byte_count, note
    from charrnn.export.api import exported
    from charrnn.textmodel import load

    format_of(file)
    if file.is_dir():
        raise ConfigError(f"is {file}, a folder: name a file", setting="file")
    check_stdout()
    check_writable(file, 0, "file")
    with interrupts.graceful():
        data = exported(load(checkpoint), file)
        interrupts.check()
    save_file(file, data, "file")
    if not quiet:
        note(f"{file}: {byte_count(len(data))}")
    print_path(file)
