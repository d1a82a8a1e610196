"""``charrnn bench``."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Any

import typer

from charrnn import cells
from charrnn.cli.command import Command
from charrnn.cli.options import JSON, SAMPLE_THREADS, STATE_DTYPE, THREADS, WEIGHT_DTYPE, takes
from charrnn.cli.output import check_stdout
from charrnn.config import ModelConfig, StateDtype, TrainConfig, WeightDtype, model_options
from charrnn.settings import Option, declared

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
    help="Measure instead how efficient it is beside N busy programs.",
)


@app.callback()
def bench() -> None:
    """Measure the speed of this machine beside a plain reference and the hardware's limit."""


@app.command("train", cls=Command, short_help="Measure the speed of training.")
@takes(
    *declared(ModelConfig, "cell"),
    *cells.options(),
    SIZE,
    LAYERS,
    *(option.replace(unset="") for option in declared(TrainConfig, "batch", "window")),
    *declared(TrainConfig, "device", "precision"),
    THREADS,
    BESIDE,
    JSON,
)
def bench_train(*, beside: int = 0, json: bool = False, **settings: Any) -> None:
    """Measure training in characters per second: ours, nn.LSTM's, and the hardware's limit."""
    from charrnn.bench.training import VOCABULARY, bench_training, training_beside

    check_stdout()
    names = {option.name for option in model_options()}
    model = {name: value for name, value in settings.items() if name in names}
    training = {name: value for name, value in settings.items() if name not in names}
    config = ModelConfig.from_dict(model | {"vocab_size": VOCABULARY})
    chosen = TrainConfig(steps=1, **training)
    if beside:
        _print(training_beside(config, chosen, beside).to_dict(), json)
        return
    _print(bench_training(config, chosen).to_dict(), json)


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


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
    return str(value)
