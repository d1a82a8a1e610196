"""``charrnn lab flow``."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn import cells
from charrnn.cli.figure import PICTURE, checked_picture
from charrnn.cli.lab_options import CELLS, sizes
from charrnn.cli.options import (
    ENCODING,
    JSON,
    THREADS,
    UNKNOWN,
    path,
    read_text,
    runs,
    takes,
)
from charrnn.cli.output import check_stdout, save_file
from charrnn.config import TrainConfig, Unknown
from charrnn.errors import ConfigError, naming, titled
from charrnn.settings import Option, declared

if TYPE_CHECKING:
    from charrnn.lab.flow import Flow
    from charrnn.lab.short_runs import ShortRun

RUN = typer.Argument(
    None,
    help="Checkpoint file, its folder or the name of a run. Default: new networks.",
    parser=path,
    metavar="RUN",
    autocompletion=runs,
)
TEXT = Option(
    name="text",
    kind=str,
    metavar="FILE",
    unset="that of RUN, or the bundled novel",
    help="Text to train on and to read; - is standard input.",
)
GAIN = Option(
    name="gain",
    kind=float,
    default=4.0,
    above=0,
    high=1e6,
    help="Also show the first cell with its initial recurrent weights multiplied by X.",
)


OF_NEW = (
    CELLS,
    *cells.options(),
    *sizes(embedding=64, hidden=128, layers=1, batch=32, window=64, lr=4e-3, steps=300, seed=0),
    *declared(TrainConfig, "clip_by", "clip"),
    GAIN,
    THREADS,
)


@takes(TEXT, *OF_NEW, ENCODING.replace(unset="utf-8, or that of RUN"), UNKNOWN, PICTURE, JSON)
def flow(
    run: Path = RUN,
    *,
    text: str | None = None,
    encoding: str | None = None,
    unknown: Unknown = "error",
    out: Path | None = None,
    json: bool = False,
    **settings: Any,
) -> None:
    """Show how far gradients flow back through time, before and after training.

    For RUN, or for new networks of several cells: the norm of the gradient that the loss of one
    character gives to the state k characters before it. With large recurrent weights (--gain), the
    gradients of the first cell explode: it is then trained with each kind of clipping.
    """
    from charrnn import interrupts

    check_stdout()
    kind = checked_picture(out)
    if run is not None and settings:
        flags = [option.flag for option in OF_NEW if option.name in settings]
        raise ConfigError(f"a run has its own network and settings: omit {', '.join(flags)}")
    with interrupts.graceful():
        found = (
            _of_run(run, text, encoding, unknown) if run else _of_cells(settings, text, encoding)
        )
        if json:
            sys.stdout.write(jsonlib.dumps(found.to_dict()) + "\n")
        else:
            _print_flow(found)
        if out is not None:
            from charrnn.lab.pictures import flow_picture

            save_file(out, flow_picture(found, kind))


def _of_run(run: Path, text: str | None, encoding: str | None, unknown: Unknown) -> Flow:
    from charrnn.console import note
    from charrnn.lab.flow import flow_of_run
    from charrnn.textmodel import load

    model = load(run)
    encoding = model.encoding(encoding)
    if text is None:
        return flow_of_run(model)
    name = "standard input" if text == "-" else text
    with naming(name):
        read = model.read(read_text(text), encoding)
        if unknown != "error" and (omissions := model.vocab.omissions(read, unknown)):
            note(titled(name, omissions))
        return flow_of_run(model, model.encode(read, unknown))


def _of_cells(settings: dict[str, Any], text: str | None, encoding: str | None) -> Flow:
    from charrnn.console import note
    from charrnn.lab.flow import flow_of_cells, mean_loss
    from charrnn.lab.networks import networks
    from charrnn.training.texts import TextChoice, parts_of

    values = {option.name: option.default for option in OF_NEW if option not in cells.options()}
    values |= settings
    names, gain = values.pop("cells"), values.pop("gain")
    of_training = {option.name for option in declared(TrainConfig)}
    training = TrainConfig(**{n: v for n, v in values.items() if n in of_training})
    model = {n: v for n, v in values.items() if n not in of_training}
    networks(names, 1, model)  # before the text is read
    choice = TextChoice.of(() if text is None else (text,), {"encoding": encoding})
    corpus = choice.encode()
    parts = parts_of(corpus, choice.split_spec(len(corpus)))

    def tell(name: str, run: ShortRun) -> None:
        note(f"{name}: {len(run.losses)} steps, {mean_loss(run):.3f} nats/char")

    chosen = networks(names, len(corpus.vocab), model)
    return flow_of_cells(chosen, training, corpus, parts, gain=gain, on_run=tell)


def _print_flow(found: Flow) -> None:
    from charrnn.console import table
    from charrnn.lab.flow import CLIPPED
    from charrnn.lab.gradients import SHOWN

    lags = [lag for lag in SHOWN if lag < len(found.curves[0].norms)]
    rows = [
        (c.network, c.stage, c.part, *(_figure(float(c.norms[lag])) for lag in lags))
        for c in found.curves
    ]
    table(("network", "training", "state", *(f"k = {lag}" for lag in lags)), rows)
    if not found.norms:
        return
    import numpy as np

    sys.stdout.write("\n")
    rows = []
    for kind, norms in found.norms.items():
        shown = [_figure(float(norm)) for norm in np.quantile(norms, (0, 0.5, 0.9, 1))]
        nats = found.nats.get(kind)
        rows.append((CLIPPED[kind], *shown, "-" if nats is None else f"{nats:.3f}"))
    heads = "least norm", "median", "90 %", "largest", "nats/char at last"
    table((f"gradients of {found.clipped}", *heads), rows)


def _figure(norm: float) -> str:
    return f"{norm:.2g}" if abs(norm) < float("inf") else "overflow"
