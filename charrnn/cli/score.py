"""``charrnn score``."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from charrnn.cli.options import (
    ENCODING,
    JSON,
    UNKNOWN,
    flag,
    naming,
    option,
    read_text,
    titled,
)
from charrnn.config import Unknown
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.generation.scoring import Score
    from charrnn.text.vocab import Ids
    from charrnn.textmodel import ScoredLine, TextModel


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
    encoding: str = ENCODING,
    json: bool = JSON,
) -> None:
    """Say how well a checkpoint predicts a text: nats and bits a character, perplexity."""
    from charrnn.console import note
    from charrnn.textmodel import load

    _check(file, split, per_line or color, adapt)
    if color and json:
        raise ConfigError("--color shows a text, --json prints figures: give one of them")
    if split is not None and encoding is not None:
        raise ConfigError("--split reads the corpus as its checkpoint did: leave --encoding away")
    model = load(checkpoint)
    which = str(model.path) if checkpoint is None else ""  # said when nothing is wrong
    encoding = model.encoding(encoding)
    if split is not None:
        ids, ranges = model.part(split, file)
        static = model.score_ranges(ids, ranges)
        _name(which)
        _print(static, json, _adapted(model, ids, ranges) if adapt else {})
        return
    raw, source = read_text(file), "standard input" if file == "-" else file
    with naming(source):
        text = model.read(raw, encoding)
        if unknown != "error" and (omissions := model.vocab.omissions(text, unknown)):
            note(titled(source, omissions))
        if per_line or color:
            lines = model.score_lines(text, unknown=unknown)
            _name(which)
            _print_lines(lines) if json else _show_lines(lines, per_line, color)
        else:
            static = model.score(text, unknown=unknown)
            _name(which)
            adapted = _adapted(model, model.vocab.encode(text, unknown)) if adapt else {}
            _print(static, json, adapted)


def _name(which: str) -> None:
    from charrnn.console import note

    if which:
        note(which)


def _check(file: str | None, split: str | None, detail: bool, adapt: bool) -> None:
    if file is None and split is None:
        raise ConfigError("score needs a FILE (or - for stdin), or --split val or test")
    if split is not None and detail:
        raise ConfigError("--per-line and --color show a whole FILE, not a --split of it")
    if adapt and detail:
        raise ConfigError("--adapt gives one figure: leave --per-line and --color away")


def _adapted(
    model: TextModel, ids: Ids, ranges: tuple[tuple[int, int], ...] | None = None
) -> dict[str, float]:
    """The figures of dynamic evaluation, under names of their own."""
    from charrnn.model.network import CharNetwork
    from charrnn.training.evaluation.dynamic import score_adapting

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
    table(("", ""), [(name, _figure(value)) for name, value in values.items()])


def _figure(value: float | None) -> str:
    if value is None:  # of nothing
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _print_lines(lines: Iterator[ScoredLine]) -> None:
    for line in lines:
        values = line.score.to_dict() | {"text": line.text}
        sys.stdout.write(jsonlib.dumps(values, ensure_ascii=sys.stdout.isatty()) + "\n")


def _show_lines(lines: Iterator[ScoredLine], figures: bool, color: bool) -> None:
    from charrnn.console import coloured, one_line

    for line in lines:
        figure = _figure(line.score.to_dict()["nats_per_char"]) + "\t" if figures else ""
        text = coloured(line.pieces, line.nats) if color else one_line(line.text)
        sys.stdout.write(f"{figure}{text}\n")
