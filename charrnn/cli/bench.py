"""``charrnn bench``."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Any

import typer

from charrnn.cli.command import Command
from charrnn.cli.options import JSON, THREADS, option
from charrnn.config import MAX_LAYERS, MAX_WIDTH, Cell, Device, Form, Precision

MAX_STREAMS = 1 << 16

app = typer.Typer(help="Speed here.", no_args_is_help=True, rich_markup_mode=None)

CELL: Any = option("lstm", "--cell", help="Kind of recurrent cell.")
SIZE: Any = option(512, "--size", min=1, max=MAX_WIDTH, help="Hidden units a layer.")


@app.callback()
def bench() -> None:
    """Speed here, against the plain reference in the same run and against the ceiling."""


@app.command("train", cls=Command, short_help="Characters a second in training.")
def bench_train(
    cell: Cell = CELL,
    size: int = SIZE,
    layers: int = option(2, "--layers", min=1, max=MAX_LAYERS, help="Recurrent layers."),
    batch: int = option(64, "--batch", min=1, help="Streams trained side by side."),
    window: int = option(128, "--window", min=1, help="Characters a gradient reaches back."),
    device: Device = option("auto", "--device", help="Where to train."),
    precision: Precision = option("auto", "--precision", help="Type of the matrix products."),
    threads: int = THREADS,
    json: bool = JSON,
) -> None:
    """Characters a second in training: ours, nn.LSTM's, and how near the machine's ceiling."""
    from charrnn.bench.training import VOCABULARY, bench_training
    from charrnn.config import ModelConfig, TrainConfig

    config = ModelConfig(VOCABULARY, cell=cell, hidden=size, layers=layers)
    settings = TrainConfig(
        steps=1, batch=batch, window=window, device=device, precision=precision,
        threads=threads or 0,
    )  # fmt: skip
    _print(bench_training(config, settings).to_dict(), json)


@app.command("sample", cls=Command, short_help="Characters a second in sampling.")
def bench_sample(
    size: int = SIZE,
    layers: int = option(3, "--layers", min=1, max=MAX_LAYERS, help="Recurrent layers."),
    streams: int = option(
        1, "--streams", min=1, max=MAX_STREAMS, help="Texts written side by side."
    ),
    form: Form = option("int8", "--form", help="How recurrent weights are stored."),
    threads: int = option(
        None, "--threads", min=1, max=1024, help="Threads of our engine. Default: up to 2."
    ),
    json: bool = JSON,
) -> None:
    """Characters a second in sampling: ours, torch's eager loops', and the machine's ceiling."""
    from charrnn.bench.sampling import Case, measure

    _print(measure(Case(layers, size, streams, form), threads=threads or 0).to_dict(), json)


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
