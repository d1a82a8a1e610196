"""``charrnn score``."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from charrnn.cli.options import JSON, flag, naming, option, read_text
from charrnn.config import Unknown
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.generation.scoring import Score
    from charrnn.textmodel import TextModel


def score(
    file: str = typer.Argument(None, help="A text; - is standard input."),
    checkpoint: Path = option(None, "--model", help="A checkpoint. Default: as for sample."),
    split: Literal["val", "test"] = option(
        None, "--split", help="Score that part of the checkpoint's own corpus (FILE, or as cached)."
    ),
    per_line: bool = flag("--per-line", help="A figure for each line of the text."),
    color: bool = flag("--color", help="Show the text, coloured by how much it surprises."),
    unknown: Unknown = option("error", "--unknown", help="Characters the vocabulary lacks."),
    json: bool = JSON,
) -> None:
    """Say how well a checkpoint predicts a text: nats and bits a character, perplexity."""
    from charrnn.textmodel import load

    if file is None and split is None:
        raise ConfigError("score needs a FILE (or - for stdin), or --split val or test")
    if split is not None and (per_line or color):
        raise ConfigError("--per-line and --color show a whole FILE, not a --split of it")
    model = load(checkpoint)
    if split is not None:
        _print(model.score_split(split, file), json)
        return
    text = read_text(file)
    with naming("standard input" if file == "-" else file):
        if per_line or color:
            _detail(model, text, unknown, color, json)
        else:
            _print(model.score(text, unknown=unknown), json)


def _print(score: Score, json: bool) -> None:
    from charrnn.console import table

    values = score.to_dict()
    if json:
        sys.stdout.write(jsonlib.dumps(values) + "\n")
        return
    rows = [(k, f"{v:,}" if isinstance(v, int) else f"{v:.4f}") for k, v in values.items()]
    table(("", ""), rows)


def _detail(model: TextModel, text: bytes, unknown: Unknown, color: bool, json: bool) -> None:
    from charrnn.console import coloured, one_line

    for line in model.score_lines(text, unknown=unknown):
        if json:
            values = line.score.to_dict() | {"text": line.text}
            sys.stdout.write(jsonlib.dumps(values, ensure_ascii=sys.stdout.isatty()) + "\n")
        elif color:
            sys.stdout.write(coloured(line.pieces, line.nats) + "\n")
        else:
            sys.stdout.write(f"{line.score.nats_per_char:.4f}\t{one_line(line.text)}\n")
