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
    read_text,
    runs,
    takes,
)
from charrnn.cli.output import check_stdout
from charrnn.config import Unknown
from charrnn.errors import ConfigError, naming, titled
from charrnn.settings import Option

if TYPE_CHECKING:
    from charrnn.generation.line_scores import ScoredLine
    from charrnn.generation.scoring import Score
    from charrnn.text.vocab import Ids
    from charrnn.textmodel import TextModel


FILE = typer.Argument(None, help="Text to score; - is standard input.", metavar="FILE")
MODEL = Option(
    name="checkpoint",
    kind=Path,
    flag="--model",
    metavar="CHECKPOINT",
    complete=runs,
    unset="as for sample",
    help="Checkpoint to score with.",
)
SPLIT = Option(
    name="split",
    kind=str,
    choices=("val", "test"),
    variable="CHARRNN_SCORE_SPLIT",
    excludes=("encoding", "per_line", "color"),
    help="Score the validation or test part of the checkpoint's own corpus, read from FILE or "
    "from the cache.",
)
PER_LINE = Option(
    name="per_line", kind=bool, excludes=("adapt",), help="Print a score for each line."
)
COLOR = Option(
    name="color",
    kind=bool,
    excludes=("adapt", "json"),
    help="Print the text, colored by how much each character surprises the model.",
)
ADAPT = Option(
    name="adapt",
    kind=bool,
    help="Also score a model that keeps learning from the text it has scored; needs torch.",
)
EXACT = Option(
    name="exact",
    kind=bool,
    help="Read the text in one pass, even if that takes several times as long. Otherwise a long "
    "text is read in pieces, and error_bound says how far a score may be from that of one pass.",
)


@takes(MODEL, SPLIT, PER_LINE, COLOR, ADAPT, EXACT, UNKNOWN, ENCODING, JSON)
def score(
    file: str = FILE,
    *,
    checkpoint: Path | None = None,
    split: Literal["val", "test"] | None = None,
    per_line: bool = False,
    color: bool = False,
    adapt: bool = False,
    exact: bool = False,
    unknown: Unknown = "error",
    encoding: str | None = None,
    json: bool = False,
) -> None:
    """Score how well a checkpoint predicts a text: nats and bits per character, perplexity."""
    from charrnn.console import note
    from charrnn.textmodel import load

    _check(file, split, per_line or color, adapt)
    if color and json:
        raise ConfigError("--color prints a text, --json scores: omit one of them")
    if split is not None and encoding is not None:
        raise ConfigError("--split reads the corpus as the checkpoint did: omit --encoding")
    check_stdout()
    model = load(checkpoint)
    which = str(model.path) if checkpoint is None else ""  # printed once all is well
    encoding = model.encoding(encoding)
    if split is not None:
        ids, ranges = model.part(split, file)
        static = model.score_ranges(ids, ranges, exact=exact)
        _name(which)
        _print(static, json, _adapted(model, ids, ranges) if adapt else {})
        return
    raw, source = read_text(file), "standard input" if file == "-" else file
    with naming(source):
        text = model.read(raw, encoding)
        if unknown != "error" and (omissions := model.vocab.omissions(text, unknown)):
            note(titled(source, omissions))
        if per_line or color:
            lines = model.score_lines(text, unknown=unknown, exact=exact)
            _name(which)
            _print_lines(lines) if json else _show_lines(lines, per_line, color)
        else:
            static = model.score(text, unknown=unknown, exact=exact)
            _name(which)
            adapted = _adapted(model, model.encode(text, unknown)) if adapt else {}
            _print(static, json, adapted)


def _name(which: str) -> None:
    from charrnn.console import note

    if which:
        note(which)


def _check(file: str | None, split: str | None, detail: bool, adapt: bool) -> None:
    if file is None and split is None:
        raise ConfigError("score needs a FILE (or - for stdin), or --split val or test")
    if split is not None and detail:
        raise ConfigError("--per-line and --color score a whole FILE, not a --split of it")
    if adapt and detail:
        raise ConfigError("--adapt gives one score: omit --per-line and --color")


def _adapted(
    model: TextModel, ids: Ids, ranges: tuple[tuple[int, int], ...] | None = None
) -> dict[str, float]:
    """The scores of dynamic evaluation, under names of their own."""
    from charrnn.training.evaluation.dynamic import score_adapting

    score = score_adapting(model, ids, ranges)
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
    rows = [(name, _figure(value)) for name, value in values.items()]
    if score.chars:
        rows = [(n, f"{score.error_bound:g}" if n == "error_bound" else v) for n, v in rows]
    table(("", ""), rows)


def _figure(value: float | None) -> str:
    if value is None:  # nothing was scored
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _print_lines(lines: Iterator[ScoredLine]) -> None:
    for line in lines:
        values = line.score.to_dict() | {"text": line.text}
        sys.stdout.write(jsonlib.dumps(values, ensure_ascii=sys.stdout.isatty()) + "\n")


def _show_lines(lines: Iterator[ScoredLine], figures: bool, color: bool) -> None:
    from charrnn.console import colored, note, one_line

    said = False
    for line in lines:
        if (bound := line.score.error_bound) and not said:
            note(f"scores are within {bound:g} nats of those of one pass; --exact makes one pass")
            said = True
        figure = _figure(line.score.to_dict()["nats_per_char"]) + "\t" if figures else ""
        text = colored(line.pieces, line.nats) if color else one_line(line.text)
        sys.stdout.write(f"{figure}{text}\n")
