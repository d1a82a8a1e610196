"""``charrnn score``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from charrnn.cli.line_stream import Form, score_stream
from charrnn.cli.options import (
    ENCODING,
    JSON,
    MODEL,
    QUIET,
    TOP,
    UNKNOWN,
    check_rivals,
    read_text,
    takes,
)
from charrnn.cli.output import check_stdout
from charrnn.config import Unknown
from charrnn.errors import CheckpointError, ConfigError, naming, titled
from charrnn.paths import SUFFIX, find_checkpoint
from charrnn.settings import Option

if TYPE_CHECKING:
    from charrnn.generation.distributions import ScoredChar
    from charrnn.generation.line_scores import ScoredLine
    from charrnn.generation.scoring import Score
    from charrnn.text.vocab import Ids
    from charrnn.textmodel import TextModel


FILES = typer.Argument(
    None,
    help="Text to score; - is standard input. With --split, the corpus as it was named for train.",
    metavar="FILE...",
)
SPLIT = Option(
    name="split",
    kind=str,
    choices=("val", "test"),
    variable="CHARRNN_SCORE_SPLIT",
    excludes=("encoding", "per_line", "per_char", "lines", "color"),
    help="Score the validation or test part of the checkpoint's own corpus, read from FILE... or "
    "from the cache.",
)
PER_LINE = Option(
    name="per_line", kind=bool, excludes=("adapt",), help="Print a score for each line."
)
PER_CHAR = Option(
    name="per_char",
    kind=bool,
    excludes=("adapt", "per_line", "color", "lines"),
    help="Print nats, rank (1: the likeliest) and symbol for each character.",
)
BESIDE = TOP.replace(
    needs=("per_char",), help="With --per-char: add the K likeliest characters there."
)
LINES = Option(
    name="lines",
    kind=bool,
    excludes=("adapt", "per_line", "color", "exact"),
    help="Score each line by itself, as it arrives: print nats, characters and text of each.",
)
WORST = Option(
    name="worst",
    kind=bool,
    needs=("lines",),
    excludes=("json",),
    help="With --lines: put the nats of each line's most surprising character first; sort by them "
    "to find odd lines. --json always prints them, with the character's place.",
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


OPTIONS = (
    *(
        MODEL,
        SPLIT,
        PER_LINE,
        PER_CHAR,
        BESIDE,
        LINES,
        WORST,
        COLOR,
        ADAPT,
        EXACT,
        UNKNOWN,
        ENCODING,
    ),
    QUIET,
    JSON,
)


@takes(*OPTIONS)
def score(
    files: list[str] = FILES,
    *,
    checkpoint: Path | None = None,
    split: Literal["val", "test"] | None = None,
    exact: bool = False,
    unknown: Unknown = "error",
    encoding: str | None = None,
    json: bool = False,
    quiet: bool = False,
    **how: Any,
) -> None:
    """Score how well a checkpoint predicts a text: nats and bits per character, perplexity."""
    from charrnn.textmodel import load

    given = {"split": split, "exact": exact, "encoding": encoding, "json": json, **how}
    file = _check(files, split, given)
    check_stdout()
    model = load(checkpoint)
    # printed once all is well
    which = str(model.path) if checkpoint is None and not quiet else ""
    encoding = model.encoding(encoding)
    if split is not None:
        ids, ranges = model.part(split, files or None)
        static = model.score_ranges(ids, ranges, exact=exact)
        _name(which)
        _print(static, json, _adapted(model, ids, ranges) if how.get("adapt") else {})
    elif how.get("lines"):
        form: Form = "json" if json else "worst" if how.get("worst") else "rows"
        score_stream(model, file, encoding, unknown, form, quiet, partial(_name, which))
    else:
        raw, source = read_text(file), "standard input" if file == "-" else file
        with naming(source, which):
            _score(model, model.read(raw, encoding), source, which, given | {"unknown": unknown})


def _score(
    model: TextModel, text: str | bytes, source: str, which: str, how: dict[str, Any]
) -> None:
    """Print the score of a whole text, of its lines or of its characters."""
    from charrnn.console import note

    read = {"unknown": how["unknown"], "exact": how["exact"]}
    if how["unknown"] != "error" and (omissions := model.vocab.omissions(text, how["unknown"])):
        note(titled(source, omissions))
    per_line, color, json = bool(how.get("per_line")), bool(how.get("color")), how["json"]
    if per_line or color:
        lines = model.score_lines(text, **read)
        _name(which)
        _print_lines(lines) if json else _show_lines(lines, per_line, color)
    elif how.get("per_char"):
        chars = model.score_chars(text, top=how.get("top", 0), **read)
        _name(which)
        _print_chars(chars, json)
    else:
        static = model.score(text, **read)
        _name(which)
        ids = model.encode(text, how["unknown"])
        _print(static, json, _adapted(model, ids) if how.get("adapt") else {})


def _name(which: str) -> None:
    from charrnn.console import note

    if which:
        note(which)


def _check(files: list[str] | None, split: str | None, given: dict[str, Any]) -> str:
    """The file to score, if there is one."""
    if not files and split is None:
        raise ConfigError("score needs a FILE (or - for stdin), or --split val or test")
    for file in files or ():
        _check_text(file)
    if split is None and len(files or ()) > 1:
        raise ConfigError("score reads one FILE; only a corpus, with --split, may have several")
    check_rivals(OPTIONS, given)
    return files[0] if files else ""


def _check_text(file: str) -> None:
    """Check that ``file`` is not what other commands take first, a checkpoint.

    Raises:
        ConfigError: it is.

    """
    if os.path.isfile(file) and not file.endswith(SUFFIX):
        return
    with suppress(CheckpointError):
        find_checkpoint(file)
        reason = f"{file} is a checkpoint, not a text"
        raise ConfigError(reason, "name a text, and set {checkpoint}", checkpoint=file)


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


def _print_chars(chars: Iterator[ScoredChar], json: bool) -> None:
    from charrnn.console import one_line

    for char in chars:
        if json:
            top = [{"symbol": one.symbol, "nats": one.nats} for one in char.top]
            values: dict[str, Any] = {"symbol": char.symbol, "nats": char.nats, "rank": char.rank}
            values |= {"top": top} if top else {}
            line = jsonlib.dumps(values, ensure_ascii=sys.stdout.isatty())
        else:
            cells = [_figure(char.nats), str(char.rank or "-"), one_line(char.symbol)]
            cells += [f"{one_line(one.symbol)} {one.probability:.4f}" for one in char.top]
            line = "\t".join(cells)
        sys.stdout.write(line + "\n")


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
