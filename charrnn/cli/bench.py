"""``charrnn bench``."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn import cells
from charrnn.cli.command import Command
from charrnn.cli.figure import PICTURE, checked_picture
from charrnn.cli.options import (
    JSON,
    SAMPLE_THREADS,
    STATE_DTYPE,
    THREADS,
    WEIGHT_DTYPE,
    check_rivals,
    takes,
)
from charrnn.cli.output import check_stdout, save_file
from charrnn.config import ModelConfig, StateDtype, TrainConfig, WeightDtype, model_options
from charrnn.settings import Option, declared

if TYPE_CHECKING:
    from charrnn.bench.scaling import Scale

MAX_STREAMS = 1 << 16

app = typer.Typer(
    help="Measure the speed of this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

SIZE, LAYERS = (option.replace(unset="") for option in declared(ModelConfig, "hidden", "layers"))
STREAMS = Option(
    name="streams", kind=int, low=1, high=MAX_STREAMS, help="Texts generated in parallel."
)
BESIDE = Option(
    name="beside",
    kind=int,
    low=1,
    high=256,
    help="Measure instead the efficiency beside N busy programs.",
)
STEP_MS = Option(
    name="step_ms",
    kind=float,
    above=0,
    high=1e9,
    metavar="MS",
    excludes=("device", "precision", "threads"),
    unset="measured here",
    help="Predict for a device whose training step takes MS milliseconds; measure nothing.",
)
STEP = (  # what a training step is
    *declared(ModelConfig, "cell"),
    *cells.options(),
    SIZE,
    LAYERS,
    *(option.replace(unset="") for option in declared(TrainConfig, "batch", "window")),
    *declared(TrainConfig, "device", "precision"),
    THREADS,
)
EXCHANGE = declared(TrainConfig, "grad_compression", "sync_every")
PLOT = PICTURE.replace(name="plot", flag="--plot", aliases=(), variable="CHARRNN_PLOT")


@app.callback()
def bench() -> None:
    """Measure the speed of this machine beside a plain reference and the hardware's limit."""


@app.command("train", cls=Command, short_help="Measure the speed of training.")
@takes(*STEP, BESIDE, JSON)
def bench_train(*, beside: int = 0, json: bool = False, **settings: Any) -> None:
    """Measure training in characters per second: ours, nn.LSTM's, and the hardware's limit."""
    from charrnn.bench.training import bench_training, training_beside

    check_stdout()
    config, chosen = _configs(settings)
    if beside:
        _print(training_beside(config, chosen, beside).to_dict(), json)
        return
    _print(bench_training(config, chosen).to_dict(), json)


@app.command("scale", cls=Command, short_help="Predict the speed of several processes.")
@takes(*STEP, *EXCHANGE, STEP_MS, PLOT, JSON)
def bench_scale(
    *, step_ms: float = 0.0, plot: Path | None = None, json: bool = False, **settings: Any
) -> None:
    """Predict the training speed of 1 to 256 processes over several links.

    Each process trains on --batch streams of its own. The time of a step is measured here, or
    given by --step-ms. The links have their nominal speeds; on a CPU, the link between two
    processes of this machine is measured as well. Efficiency is the speed of N processes divided
    by N times the speed of one; the last line says where it falls below one half.
    """
    from charrnn.bench.scaling import predict, scale_picture

    check_rivals((*STEP, STEP_MS), {"step_ms": step_ms, **settings})
    check_stdout()
    kind = checked_picture(plot, "plot")
    scale = predict(*_configs(settings), step_ms=step_ms)
    if json:
        sys.stdout.write(jsonlib.dumps(scale.to_dict()) + "\n")
    else:
        _print_scale(scale)
    if plot is not None:
        save_file(plot, scale_picture(scale, kind), "plot")


def _configs(settings: dict[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """The network that is measured, and how it is trained."""
    from charrnn.bench.training import VOCABULARY

    names = {option.name for option in model_options()}
    model = {name: value for name, value in settings.items() if name in names}
    training = {name: value for name, value in settings.items() if name not in names}
    config = ModelConfig.from_dict(model | {"vocab_size": VOCABULARY})
    return config, TrainConfig(steps=1, **training)


def _print_scale(scale: Scale) -> None:
    from charrnn.console import byte_count, table

    heads = [f"N = {point.processes}" for point in scale.curves[-1].points]
    rows = []
    for curve in scale.curves:
        shown = [f"{_show(p.chars_per_second)} ({p.efficiency:.2f})" for p in curve.points]
        rows.append((curve.link, *shown, *("-" for _ in heads[len(shown) :])))
    table(("char/s (efficiency)", *heads), rows)
    how = f"measured on {scale.device}" if scale.device else "as given"
    size, every = byte_count(scale.exchanged_bytes), scale.sync_every
    apart = f"every {every:,} steps, {size} of weights and moments are exchanged"
    what = f"its gradient has {size}" if every == 1 else apart
    sys.stdout.write(
        f"\nA step of {scale.batch} streams of {scale.window} characters takes "
        f"{_time(scale.step_ms)}, {how}; {what}.\n"
        f"{scale.sentence}\n"
    )


@app.command("sample", cls=Command, short_help="Measure the speed of sampling.")
@takes(
    SIZE, LAYERS, STREAMS, WEIGHT_DTYPE, STATE_DTYPE.replace(unset=""), SAMPLE_THREADS, BESIDE, JSON
)
def bench_sample(
    *,
    hidden: int = 512,
    layers: int = 3,
    streams: int = 1,
    weight_dtype: WeightDtype = "int8",
    state_dtype: StateDtype = "int16",
    threads: int = 0,
    beside: int = 0,
    json: bool = False,
) -> None:
    """Measure sampling in characters per second: ours, torch's loops', the hardware's limit."""
    from charrnn.bench.sampling import Case, measure, sampling_beside

    check_stdout()
    case = Case(layers, hidden, streams, weight_dtype, state_dtype)
    if beside:
        _print(sampling_beside(case, beside, threads).to_dict(), json)
        return
    _print(measure(case, threads=threads).to_dict(), json)


def _print(result: dict[str, object], json: bool) -> None:
    from charrnn.console import table

    if json:
        sys.stdout.write(jsonlib.dumps(result) + "\n")
        return
    table(("", ""), [(name, _show(value)) for name, value in result.items() if value is not None])


def _time(milliseconds: float) -> str:
    """A time in a unit that suits it."""
    if milliseconds < 1000:
        return f"{milliseconds:.4g} ms"
    return f"{_show(milliseconds / 1000)} s"


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
    return str(value)
