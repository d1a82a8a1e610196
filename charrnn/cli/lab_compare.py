"""``charrnn lab compare``."""

from __future__ import annotations

import json as jsonlib
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn import cells
from charrnn.cli.command import OptionStyle, options_of
from charrnn.cli.figure import PICTURE, checked_picture
from charrnn.cli.lab_options import CELLS, sizes
from charrnn.cli.options import JSON, takes
from charrnn.cli.output import check_stdout, save_file
from charrnn.config import TrainConfig
from charrnn.settings import MAX_INT64, Option, declared

if TYPE_CHECKING:
    from charrnn.lab.compare import Compared

CORPUS = typer.Argument(
    None,
    help="Text files to train on, one after the other. Default: the bundled novel.",
    metavar="CORPUS...",
)
PARAMETERS = Option(
    name="parameters",
    kind=int,
    default=500_000,
    low=1,
    high=MAX_INT64,
    help="Weights of each network, at most; sizes are chosen to come close.",
)
FOLDER = Option(
    name="out",
    kind=Path,
    default=Path("checkpoints/compared"),
    help="Folder to keep the runs in, one for each cell.",
)
RESUME = Option(
    name="resume",
    kind=bool,
    help="Keep the runs in --out that have ended, and continue those that were stopped.",
)
PLOT = PICTURE.replace(name="plot", flag="--plot", aliases=(), variable="")
SAME = (
    *sizes(embedding=64, layers=2, batch=32, window=64, lr=4e-3),
    *(
        option.replace(unset="5m" if option.name == "seconds" else option.unset)
        for option in declared(TrainConfig, "seconds", "steps", "epochs")
    ),
    *declared(TrainConfig, "seed", "device", "precision", "threads"),
)


@takes(
    CELLS.replace(help="Cells to compare."),
    *cells.options(),
    PARAMETERS,
    *SAME,
    FOLDER,
    RESUME,
    PLOT,
    JSON,
)
def compare(
    corpus: list[str] = CORPUS,
    *,
    cells: tuple[str, ...] = CELLS.default,
    parameters: int = PARAMETERS.default,
    out: Path = FOLDER.default,
    resume: bool = False,
    plot: Path | None = None,
    json: bool = False,
    **settings: Any,
) -> None:
    """Train a network of each cell on a text, and compare their validation losses.

    The networks have equally many weights, the same settings and the same budget, by default five
    minutes each. The runs are kept; the picture shows the losses against time and against the
    characters read.
    """
    from charrnn import interrupts
    from charrnn.cli.compare_console import CompareConsole
    from charrnn.lab.compare import compare as run_all

    console = CompareConsole(OptionStyle(options_of(compare)))
    with interrupts.abrupt(), closing(console):
        check_stdout()
        kind = checked_picture(plot, "plot", made=out)
        if not {"seconds", "steps", "epochs"} & settings.keys():
            settings["seconds"] = 300.0
        found = run_all(
            tuple(corpus or ()),
            cells,
            parameters=parameters,
            out=out,
            resume=resume,
            listener=console,
            on_run=console.on_run,
            **settings,
        )
        if json:
            sys.stdout.writelines(f"{jsonlib.dumps(run.to_dict())}\n" for run in found)
        else:
            _print_compared(found)
        if plot is not None:
            from charrnn.lab.pictures import compare_picture

            save_file(plot, compare_picture(found, kind), "plot")


def _print_compared(runs: list[Compared]) -> None:
    from charrnn.console import table
    from charrnn.training.events import bits

    rows = [
        (
            run.cell,
            f"{run.hidden}",
            f"{run.parameters:,}",
            f"{run.chars:,}",
            f"{run.chars / run.seconds:,.0f}" if run.seconds else "-",
            "-" if run.best is None else f"{run.best:.4f}",
            "-" if run.best is None else f"{bits(run.best):.4f}",
        )
        for run in runs
    ]
    heads = "size", "weights", "characters", "characters/s", "nats/char", "bits/char"
    table(("cell", *heads), rows)
