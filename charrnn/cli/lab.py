"""``charrnn lab``: the experiments of the lecture notes."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn import cells
from charrnn.cli.command import Command
from charrnn.cli.options import ENCODING, JSON, THREADS, path, read_text, runs, takes
from charrnn.cli.output import check_stdout, check_writable, save_file
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError, naming
from charrnn.settings import Notation, Option, declared

if TYPE_CHECKING:
    from charrnn.lab.check import Check
    from charrnn.lab.flow import Flow
    from charrnn.lab.short_runs import ShortRun

app = typer.Typer(
    help="Run the experiments of the lecture notes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


def read_cells(text: str) -> tuple[str, ...]:
    """Cells such as ``elman,lstm``, each once.

    Raises:
        ValueError: one is unknown, or named twice.

    """
    names = tuple(text.split(","))
    if not set(names) <= set(cells.names()) or len(set(names)) < len(names):
        raise ValueError("unknown cells, or the same twice")
    return names


CELLS = Option(
    name="cells",
    kind=tuple,
    flag="--cell",
    variable="CHARRNN_CELLS",
    notation=Notation(
        read_cells, ",".join, f"different cells with commas between: {', '.join(cells.names())}"
    ),
    metavar="CELL,...",
    default=("elman", "jordan", "irnn", "lstm", "gru", "scrn", "clockwork"),
    help="Cells to look at.",
)
[SEED] = declared(TrainConfig, "seed")
PICTURE_BYTES = 1 << 20  # a picture is smaller
PICTURE = Option(
    name="out",
    kind=Path,
    aliases=("-o",),
    variable="CHARRNN_LAB_OUT",
    unset="no picture",
    help="Picture to draw: an SVG, or what the name ends in (.png, .pdf). Needs matplotlib.",
)
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
    help="Also show the first cell with recurrent weights that are X times as large at first.",
)


def _sizes(**defaults: Any) -> tuple[Option, ...]:
    """The sizes of networks and runs, with these defaults."""
    found = []
    for settings in (ModelConfig, TrainConfig):
        names = [o.name for o in declared(settings) if o.name in defaults]
        for option in declared(settings, *names):
            plain = {"absent": None, "excludes": (), "unset": ""}
            found.append(option.replace(default=defaults[option.name], **plain))
    return tuple(found)


OF_NEW = (
    CELLS,
    *cells.options(),
    *_sizes(embedding=64, hidden=128, layers=1, batch=32, window=64, lr=4e-3, steps=300, seed=0),
    *declared(TrainConfig, "clip_by", "clip"),
    GAIN,
    THREADS,
)


@app.callback()
def lab() -> None:
    """Run the experiments of the lecture notes."""


@app.command("check", cls=Command, short_help="Check gradients derived by hand.")
@takes(CELLS, *cells.options(), SEED.replace(unset="", help="Seed of the random weights."), JSON)
def check(
    *,
    cells: tuple[str, ...] = CELLS.default,
    seed: int = 0,
    json: bool = False,
    **options: Any,
) -> None:
    """Check back-propagation through time by hand against torch and finite differences.

    Small networks with random weights read a few words. For one cell, the tables show the gradient
    of each weight, and what is left of the gradient of the recurrent weights if each loss goes back
    a limited number of steps; for several cells, the largest differences.
    """
    from charrnn.lab.check import EMBEDDING, HIDDEN, TEXT, check_gradients
    from charrnn.lab.networks import networks

    check_stdout()
    symbols = sorted(set(TEXT))
    ids = [symbols.index(symbol) for symbol in TEXT]
    sizes = {"embedding": EMBEDDING, "hidden": max(HIDDEN, _least(options)), "layers": 1}
    configs = networks(cells, len(symbols), sizes | options)
    found = [check_gradients(config, ids, seed) for config in configs.values()]
    if json:
        sys.stdout.writelines(f"{jsonlib.dumps(one.to_dict())}\n" for one in found)
    elif len(found) == 1:
        _print_gradients(found[0])
    else:
        _print_checks(found)
    for one in found:
        one.verify()


def _least(options: dict[str, Any]) -> int:
    """The units that a network with these options needs at least."""
    return len(options.get("periods", ()))


def _print_gradients(check: Check) -> None:
    from charrnn.console import table

    heads = "weight", "shape", "norm of gradient", "off from torch", "off from differences"
    rows = [
        (r.name, " × ".join(map(str, r.shape)), f"{r.norm:.6g}", f"{r.autograd:.1e}",
         f"{r.differences:.1e}")
        for r in check.rows
    ]  # fmt: skip
    table(heads, rows, f"{check.cell}: {check.T} steps, {check.loss:.4f} nats/char")
    sys.stdout.write("\n")
    heads = "steps back", "norm of the last", "norm of the sum", "cosine to all", "off from torch"
    rows = [
        (f"{t.steps}", f"{t.lag_norm:.3g}", f"{t.norm:.6g}", f"{t.cosine:.6f}",
         f"{t.autograd:.1e}")
        for t in check.truncated
    ]  # fmt: skip
    table(heads, rows, "truncation: the gradient of the recurrent weights")


def _print_checks(checks: list[Check]) -> None:
    from charrnn.console import table

    rows = [(c.cell, f"{c.loss:.4f}", *(f"{worst:.1e}" for worst in c.worst)) for c in checks]
    table(("cell", "nats/char", "off from torch", "off from differences"), rows)


@app.command("flow", cls=Command, short_help="Show how far gradients flow back.")
@takes(TEXT, *OF_NEW, ENCODING.replace(unset="utf-8, or that of RUN"), PICTURE, JSON)
def flow(
    run: Path = RUN,
    *,
    text: str | None = None,
    encoding: str | None = None,
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
    kind = _checked_picture(out)
    if run is not None and settings:
        flags = [option.flag for option in OF_NEW if option.name in settings]
        raise ConfigError(f"a run has its own network and settings: omit {', '.join(flags)}")
    with interrupts.graceful():
        found = _of_run(run, text, encoding) if run else _of_cells(settings, text, encoding)
        if json:
            sys.stdout.write(jsonlib.dumps(found.to_dict()) + "\n")
        else:
            _print_flow(found)
        if out is not None:
            from charrnn.lab.pictures import flow_picture

            save_file(out, flow_picture(found, kind))


def _checked_picture(out: Path | None) -> str:
    """The format of the picture; all that it needs is there."""
    from charrnn.lab.pictures import FORMATS, check_matplotlib

    if out is None:
        return ""
    if str(out) == "-" or out.is_dir():
        raise ConfigError(f"is {out}: name a file", setting="out")
    check_matplotlib()
    check_writable(out, PICTURE_BYTES)
    ending = out.suffix.removeprefix(".").lower()
    return ending if ending in FORMATS else FORMATS[0]


def _of_run(run: Path, text: str | None, encoding: str | None) -> Flow:
    from charrnn.lab.flow import flow_of_run
    from charrnn.textmodel import load

    model = load(run)
    encoding = model.encoding(encoding)
    if text is None:
        return flow_of_run(model)
    name = "standard input" if text == "-" else text
    with naming(name):
        return flow_of_run(model, model.encode(model.read(read_text(text), encoding)))


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
