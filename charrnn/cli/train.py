"""``charrnn train``."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from charrnn import interrupts
from charrnn.cli.command import OptionStyle, options_of
from charrnn.cli.options import QUIET, check_rivals, runs, takes
from charrnn.cli.output import check_stdout, print_line
from charrnn.config import START_FROM, TextConfig, TrainConfig, model_options
from charrnn.errors import CharRNNError, Interrupted, LostProcessError
from charrnn.settings import Option, declared
from charrnn.training.distributed import is_main_process, is_raised_by_all, raised_here
from charrnn.training.recipes import PRESETS

CORPUS = typer.Argument(
    None,
    help="Texts to train on, one after the other: files, folders, patterns such as '**/*.txt', or "
    "- for standard input; gzip and zstd are unpacked. Default: the bundled novel.",
    metavar="CORPUS...",
)
OUT = Option(name="out", kind=Path, unset="checkpoints/CORPUS", help="Folder to keep the run in.")
RESUME = Option(
    name="resume",
    kind=bool,
    excludes=("preset", "start_from"),
    help="Resume the run in --out, or the newest one.",
)
PRESET = Option(
    name="preset",
    kind=str,
    choices=tuple(PRESETS),
    help="Use a named recipe; options given with it override it.",
)
PLAN = Option(
    name="plan",
    kind=bool,
    excludes=("resume",),
    help="Print the memory, time and disk that the run would take, and do not train.",
)
JSON = Option(
    name="json", kind=bool, help="Print the metrics, or the plan, as JSON lines on stdout."
)


@takes(
    OUT,
    RESUME,
    START_FROM.replace(complete=runs),
    PRESET,
    *model_options(),
    *declared(TrainConfig),
    *declared(TextConfig),
    PLAN,
    QUIET,
    JSON,
)
def train(
    corpus: list[str] = CORPUS,
    *,
    plan: bool = False,
    quiet: bool = False,
    json: bool = False,
    **settings: Any,
) -> None:
    """Train on a text and keep the best network under ./checkpoints."""
    check_rivals((PLAN, RESUME), {"plan": plan, **settings})
    with interrupts.abrupt():
        if json or plan:
            check_stdout()
        console = _console(quiet, json)
        if plan:
            _plan(*(corpus or ()), console=console, quiet=quiet, json=json, **settings)
            return
        try:
            result = _train(*(corpus or ()), listener=console, **settings)
        finally:
            console.close()
        if is_main_process():
            console.on_result(result)


def _train(*corpus: str, **settings: Any) -> Any:
    from charrnn.training.api import train as run

    return _by_main(run, *corpus, **settings)


def _by_main(run: Callable[..., Any], *corpus: str, **settings: Any) -> Any:
    """What ``run`` returns; an error that only this process raises is marked as its own."""
    try:
        return run(*corpus, **settings)
    except (CharRNNError, Interrupted) as error:
        if not (
            is_main_process() or is_raised_by_all(error) or isinstance(error, LostProcessError)
        ):
            raised_here(error)
        raise


def _plan(*corpus: str, console: Any, quiet: bool, json: bool, **settings: Any) -> None:
    from charrnn.cli.forecast import print_plan
    from charrnn.training.planning import plan

    found = _by_main(plan, *corpus, listener=console, **settings)
    if is_main_process():
        print_plan(found, json=json, quiet=quiet)


def _console(quiet: bool, json: bool) -> Any:
    from charrnn.cli.progress import TrainConsole

    def echo(line: dict[str, Any]) -> None:
        try:
            print_line(jsonlib.dumps(line))
        except OSError as error:
            error.filename = "standard output"
            raise

    style = OptionStyle(options_of(train))
    return TrainConsole(quiet=quiet, echo=echo if json else None, style=style)
