"""``charrnn score``."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from charrnn.cli.options import JSON, UNKNOWN, flag, naming, option, read_text
from charrnn.config import Unknown
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.generation.scoring import Score
    from charrnn.text.vocab import Ids
    from charrnn.textmodel import TextModel


def score(
    file: str = typer.Argument(None, help="A text; - is standard input.", metavar="FILE"),
    checkpoint: Path = option(None, "--model", help="A checkpoint. Default: as for sample."),
    split: Literal["val", "test"] = option(
        None,
        "--split",
        variable="SCORE_SPLIT",
        help="Score that part of the checkpoint's own corpus (FILE, or as cached).",
    ),
    per_line: bool = flag("--per-line", help="A figure for each line of the text."),
    color: bool = flag("--color", help="Show the text, coloured by how much it surprises."),
    adapt: bool = flag(
        "--adapt", help="Also let it go on learning from what it has been scored on; needs torch."
    ),
    unknown: Unknown = UNKNOWN,
    json: bool = JSON,
) -> None:
    """Say how well a checkpoint predicts a text: nats and bits a character, perplexity."""
    from charrnn.textmodel import load

    if file is None and split is None:
        raise ConfigError("score needs a FILE (or - for stdin), or --split val or test")
    if split is not None and (per_line or color):
        raise ConfigError("--per-line and --color show a whole FILE, not a --split of it")
    if adapt and (per_line or color):
        raise ConfigError("--adapt gives one figure: leave --per-line and --color away")
    model = load(checkpoint)
    if split is not None:
        ids, ranges = model.part(split, file)
        static = model.score_ranges(ids, ranges)
        _print(static, json, _adapted(model, ids, ranges) if adapt else {})
        return
    text = read_text(file)
    with naming("standard input" if file == "-" else file):
        if per_line or color:
            _detail(model, text, unknown, color, json)
        else:
            static = model.score(text, unknown=unknown)
            adapted = _adapted(model, model.vocab.encode(text, unknown)) if adapt else {}
            _print(static, json, adapted)


def _adapted(
    model: TextModel, ids: Ids, ranges: tuple[tuple[int, int], ...] | None = None
) -> dict[str, float]:
    """The figures of dynamic evaluation, under names of their own."""
    from charrnn.model.network import CharNetwork
    from charrnn.training.adaptation import score_adapting

    network = CharNetwork(model.checkpoint.config)
    network.load_numpy(model.checkpoint.weights)
    score = score_adapting(network, ids, ranges)
    return {
        "adapted_nats_per_char": score.nats_per_char,
        "adapted_bits_per_char": score.bits_per_char,
    }


def _print(score: Score, json: bool, adapted: dict[str, float]) -> None:
    from charrnn.console import table

    values = score.to_dict() | adapted
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
