"""``charrnn train``."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Any

import typer

from charrnn import interrupts
from charrnn.cli.command import OptionStyle
from charrnn.cli.options import THREADS, flag, option, seconds
from charrnn.config import Cell, Device, Precision, Preset, Split

FROM_BOTH = "Default: from the corpus and the time."
FROM_EPOCHS = "Default: from how often the text will be read."


def train(
    corpus: list[str] = typer.Argument(
        None,
        help="Text files, one after the other; - is standard input. Default: bundled prose.",
        metavar="CORPUS...",
    ),
    out: Path = option(None, "--out", help="Folder for the run. Default: checkpoints/CORPUS."),
    cell: Cell = option(None, "--cell", help="Kind of recurrent cell. Default: lstm."),
    size: int = option(None, "--size", help=f"Hidden units a layer. {FROM_BOTH}"),
    layers: int = option(None, "--layers", help="Recurrent layers. Default: 2."),
    embedding: int = option(
        None, "--embedding", help="Width of a character's embedding. Default: from --size."
    ),
    sum_layers: bool = option(
        None,
        "--sum-layers/--last-layer",
        help="What is read out: all layers, summed, or the last. Default: all.",
    ),
    batch: int = option(None, "--batch", help=f"Streams trained side by side. {FROM_BOTH}"),
    window: int = option(None, "--window", help=f"Characters a gradient reaches back. {FROM_BOTH}"),
    dropout: float = option(
        None, "--dropout", help=f"Part of the units to drop, 0 to 1. {FROM_EPOCHS}"
    ),
    input_dropout: float = option(
        None, "--input-dropout", help=f"Part of the embedding to drop. {FROM_EPOCHS}"
    ),
    weight_dropout: float = option(
        None, "--weight-dropout", help=f"Part of the recurrent weights to drop. {FROM_EPOCHS}"
    ),
    lr: float = option(None, "--lr", help="Peak learning rate. Default: from the time."),
    epochs: int = option(None, "--epochs", min=1, help="Train for so many passes over the text."),
    steps: int = option(None, "--steps", min=1, help="Train for so many windows."),
    time: str = option(None, "--time", help="Train for so long: 90s, 10m, 1h30m. Default: 10m."),
    patience: int = option(
        None,
        "--patience",
        help="Validations without a better one before stopping; 0: never. Default: 8.",
    ),
    ema: float = option(
        None, "--ema", help="Decay of the weights' running average; 0, the default: off."
    ),
    fit_temperature: bool = option(
        None,
        "--fit-temperature/--no-fit-temperature",
        help="In the end divide the best network's logits by what validates best. Default: on.",
    ),
    val_frac: float = option(
        None, "--val-frac", help="Part that validates. Default: 0.1, at most 500,000 characters."
    ),
    test_frac: float = option(
        None, "--test-frac", help="Part that tests. Default: 0, but 0.1 with --split interleaved."
    ),
    split: Split = option(
        None,
        "--split",
        help="How the parts are cut: one after the other (default), or as in the 2015 paper.",
    ),
    as_bytes: bool = flag("--bytes", help="Bytes in place of characters: takes any file."),
    encoding: str = option(None, "--encoding", help="How the text is encoded. Default: utf-8."),
    max_bytes: int = option(None, "--max-bytes", min=1, help="Take only the text's beginning."),
    lines: bool = flag("--lines", help="One record a line: their order is drawn each epoch."),
    resume: bool = flag("--resume", help="Go on with the run in --out, or with the newest one."),
    start: str = option(
        None, "--from", metavar="CKPT", help="Begin with a checkpoint's weights, not afresh."
    ),
    preset: Preset = option(
        None, "--preset", help="A named recipe. What is given besides wins over it."
    ),
    device: Device = option(None, "--device", help="Where to train. Default: auto."),
    precision: Precision = option(
        None, "--precision", help="Type of the matrix products. Default: auto."
    ),
    threads: int = THREADS,
    seed: int = option(None, "--seed", min=0, help="Default: drawn, and said."),
    quiet: bool = flag("--quiet", short="-q", help="Say nothing but warnings and errors."),
    json: bool = flag("--json", help="Print the metrics lines on stdout."),
) -> None:
    """Train on a text and keep the best network under ./checkpoints."""
    settings: dict[str, Any] = {
        "cell": cell, "hidden": size, "layers": layers, "embedding": embedding,
        "sum_layers": sum_layers, "batch": batch, "window": window, "dropout": dropout, "lr": lr,
        "epochs": epochs, "steps": steps, "seconds": seconds(time), "patience": patience,
        "input_dropout": input_dropout, "weight_dropout": weight_dropout,
        "fit_temperature": fit_temperature, "ema": ema, "lines": lines or None, "device": device,
        "precision": precision, "threads": threads, "seed": seed,
    }  # fmt: skip
    with interrupts.abrupt():
        console = _console(quiet, json)
        try:
            result = _train(
                *(corpus or ()),
                out=out, resume=resume, start_from=start, preset=preset, is_bytes=as_bytes,
                encoding=encoding, max_bytes=max_bytes, split=split, val_frac=val_frac,
                test_frac=test_frac, listener=console, **settings,
            )  # fmt: skip
        finally:
            console.close()
        console.on_result(result)


def _train(*corpus: str, **settings: Any) -> Any:
    from charrnn.training.api import train as run

    return run(*corpus, **settings)


def _console(quiet: bool, json: bool) -> Any:
    from charrnn.console import TrainConsole

    def echo(line: dict[str, Any]) -> None:
        try:
            sys.stdout.write(jsonlib.dumps(line) + "\n")
            sys.stdout.flush()
        except OSError as error:
            error.filename = "standard output"
            raise

    return TrainConsole(quiet=quiet, echo=echo if json else None, style=OptionStyle())
