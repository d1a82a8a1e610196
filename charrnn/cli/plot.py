"""``charrnn plot``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import typer

from charrnn import outlet
from charrnn.cli.figure import PICTURE, checked_picture
from charrnn.cli.options import path, runs, takes
from charrnn.cli.output import TextWriter, check_stdout, write_file
from charrnn.errors import ConfigError
from charrnn.insight.learning import Across
from charrnn.settings import Option

if TYPE_CHECKING:
    from charrnn.insight.learning import Learning

RUNS = typer.Argument(
    None,
    help="Folders or names of runs, checkpoints in such folders, or files like metrics.jsonl. "
    "Default: the run that was written to last.",
    parser=path,
    metavar="RUN...",
    autocompletion=runs,
)
OUT = PICTURE.replace(
    variable="CHARRNN_PLOT_OUT",
    unset="a chart on a terminal, else NAME.png",
    help="Picture to write (.svg, .png or .pdf; needs matplotlib), or table (.csv); - writes a "
    "table to standard output.",
)
X = Option(
    name="x",
    kind=str,
    choices=get_args(Across),
    default="step",
    variable="CHARRNN_PLOT_X",
    help="Draw over steps, characters read, epochs, or time of training.",
)
GRAD_NORM = Option(
    name="grad_norm",
    kind=bool,
    needs=("out",),  # the chart on a terminal has losses only
    help="Also draw the norms of gradients.",
)
TABLE = "csv"


@takes(OUT, X, GRAD_NORM)
def plot(
    run: list[Path] = RUNS,
    *,
    out: Path | None = None,
    x: Across = "step",
    grad_norm: bool = False,
) -> None:
    """Draw the learning curves of one or several runs, and print the path of the picture.

    It shows training and validation losses, learning rates and characters per second. The lowest
    validation loss of each run is marked. With more than 8 runs, only validation losses are drawn.
    """
    from charrnn.console import note
    from charrnn.insight.learning import as_csv, placed, read_runs

    check_stdout()
    kind = _checked(out)
    found = read_runs(run or (), note)
    _check_spared(out, found)
    if kind == TABLE:
        _write(out, as_csv(found))
        return
    found = placed(found, x, note)
    if out is None and sys.stdout.isatty():
        _show(found, x)
        return
    if out is None:
        name = found[0].name if len(found) == 1 else ""
        out = Path(f"{name or 'curves'}.png")
        kind = _checked(out)
    from charrnn.insight.learning_picture import learning_picture

    write_file(out, learning_picture(found, x, grad_norm, kind))


def _checked(out: Path | None) -> str:
    """The format of the file to write; all that it needs is there."""
    if out is not None and str(out) == "-":
        return TABLE
    return checked_picture(out, tables=(TABLE,))


def _check_spared(out: Path | None, found: Sequence[Learning]) -> None:
    """Refuse to write over the reports of a run, also through a link."""
    for run in found:
        with suppress(OSError):  # one of the two is not there
            if out is not None and out.samefile(run.path):
                message = f"is {out}, which has the reports of {run.name}"
                raise ConfigError(message, "name another file", setting="out")


def _write(out: Path | None, table: bytes) -> None:
    if out is not None and str(out) != "-":
        write_file(out, table)
        return
    writer = TextWriter(sys.stdout, "auto")
    writer.put(table)
    writer.end()


def _show(found: Sequence[Learning], x: Across) -> None:
    """Show a chart on the terminal."""
    import locale

    from charrnn.console import columns_of, is_plain, painted
    from charrnn.insight.learning_chart import chart

    blocks = not is_plain(sys.stdout) and "utf" in locale.getencoding().lower()
    columns = columns_of(sys.stdout)
    outlet.write(sys.stdout, painted(chart(found, x, columns, blocks=blocks), columns).encode())
