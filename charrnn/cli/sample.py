"""``charrnn sample``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn import interrupts
from charrnn.cli.bar import Progress, progress
from charrnn.cli.options import (
    CHECKPOINT,
    ENCODING,
    ESCAPE,
    JSON,
    QUIET,
    SAMPLE_THREADS,
    STATE_DTYPE,
    WEIGHT_DTYPE,
    check_rivals,
    read_text,
    takes,
    typed,
)
from charrnn.cli.output import Escape, TextWriter, check_stdout, is_escaped, print_line
from charrnn.cli.records import CONDITIONS, NOVEL_CORPUS, TSV, conditions, print_records
from charrnn.config import StateDtype, WeightDtype, draw_seed
from charrnn.errors import ConfigError, Interrupted, counted, naming, titled
from charrnn.generation.filters import FILTERS
from charrnn.generation.record_config import RecordConfig
from charrnn.generation.sample_config import SampleConfig
from charrnn.settings import Notation, Option, declared

if TYPE_CHECKING:
    from charrnn.generation.generator import Texts
    from charrnn.textmodel import TextModel

PRIME = Option(
    name="prime",
    kind=str,
    help="Text to continue; - reads it from standard input. A network trained with --reverse "
    "writes what comes before it.",
)
PRIME_FILE = Option(
    name="prime_file", kind=Path, excludes=("prime",), help="File with the text to continue."
)
LINES = Option(
    name="lines",
    kind=bool,
    help="Treat each line as a record: end samples at the end of a line.",
)
[_TEMPERATURE] = declared(SampleConfig, "temperature")


def _temperatures(text: str) -> tuple[float, ...]:
    parts = text.split(":")
    if len(parts) > 2:
        raise ValueError
    try:
        return tuple(map(_TEMPERATURE.parse, parts))
    except ConfigError as error:
        raise ValueError from error


# one number, or the first and the last
TEMP = _TEMPERATURE.replace(
    kind=tuple,
    default=(_TEMPERATURE.default,),
    low=None,
    metavar="X|X:Y",
    notation=Notation(
        _temperatures,
        lambda values: ":".join(f"{value:g}" for value in values),
        f"{_TEMPERATURE.wanted}, or two of them such as 0.6:1.2",
    ),
    help=f"{_TEMPERATURE.help} X:Y changes from X to Y over --length.",
)
HOW = (
    TEMP,
    *(option for option in declared(SampleConfig) if option.name != "temperature"),
    *(filter.option for filter in FILTERS.values()),
)


OPTIONS = (
    PRIME,
    PRIME_FILE,
    *HOW,
    LINES,
    *CONDITIONS,
    NOVEL_CORPUS,
    TSV,
    ENCODING,
    ESCAPE,
    WEIGHT_DTYPE,
    STATE_DTYPE,
    SAMPLE_THREADS,
    QUIET,
    JSON,
)


@takes(*OPTIONS)
def sample(
    checkpoint: Path = CHECKPOINT,
    *,
    prime: str = "",
    prime_file: Path | None = None,
    stop: tuple[str, ...] = (),
    encoding: str | None = None,
    weight_dtype: WeightDtype = "int8",
    state_dtype: StateDtype | None = None,
    threads: int = 0,
    **settings: Any,
) -> None:
    """Generate text in the style of a checkpoint's corpus."""
    from charrnn.textmodel import load

    check_rivals(OPTIONS, {"prime": prime, "prime_file": prime_file, **settings})
    drawn = "seed" not in settings
    settings.setdefault("seed", draw_seed())
    if temperatures := settings.pop("temperature", ()):
        settings["temperature"] = temperatures[0]
        settings |= {"final_temperature": temperatures[1]} if temperatures[1:] else {}
    shape = Shape(conditions(settings), **{n: settings.pop(n) for n in _SHAPE if n in settings})
    config = SampleConfig(stop=tuple(map(typed, stop)), **settings)
    check_stdout()
    raw, source = _prime(prime, prime_file)
    model = load(checkpoint, weight_dtype=weight_dtype, state_dtype=state_dtype, threads=threads)
    encoding = model.encoding(encoding)
    # find every error before anything is written
    with naming(source, "" if checkpoint else str(model.path)):
        text = model.read(raw, encoding) if source else raw  # typed text is UTF-8
        omissions = model.vocab.omissions(text, config.unknown)
    told = [titled(source, omissions)] if omissions else []
    if shape.quiet:
        drawn = False
    elif checkpoint is None:
        told.append(f"{model.path}" + (f", seed {config.seed}" if drawn else ""))
    elif drawn:
        told.append(f"seed {config.seed}")
    if shape.wants_records(model, bool(raw)):
        _write_records(model, config, shape, told)
    else:
        _write_texts(model, text, config, shape, told)


@dataclass(frozen=True)
class Shape:
    """What is printed, and how."""

    wanted: RecordConfig | None = None
    lines: bool = False
    corpus: tuple[Path, ...] = ()
    tsv: bool = False
    escape: Escape = "auto"
    json: bool = False
    quiet: bool = False

    def wants_records(self, model: TextModel, primed: bool) -> bool:
        """Whether records are printed whole, as they are when they are chosen or scored.

        Raises:
            ConfigError: records are wanted, but texts are no lines.

        """
        lines = self.lines or model.lines
        if (self.tsv or self.wanted) and not lines:
            asked = "tsv" if self.wanted is None else self.wanted.given[0]
            raise ConfigError("needs records of one line each", "set {lines}", setting=asked)
        scored = self.json and lines and not primed and not model.reverse
        return self.tsv or self.wanted is not None or scored


_SHAPE = {field.name for field in fields(Shape)} - {"wanted"}


def _write_records(model: TextModel, config: SampleConfig, shape: Shape, told: list[str]) -> None:
    from charrnn.console import note

    records = model.sample_records(
        config, shape.wanted, corpus=shape.corpus or None, scored=shape.json or shape.tsv
    )
    for line in told:
        note(line)
    try:
        with interrupts.graceful(), progress(config.count, shape.quiet) as tell:
            print_records(records, shape.json, shape.tsv, config, shape.escape, tell)
    except Interrupted as error:  # the records so far are written
        raise typer.Exit(error.exit_code) from None
    if records.told and not shape.quiet:
        note(records.told)
    if shape.wanted is None:
        _tell_cut(records.cut, config)


def _write_texts(
    model: TextModel, text: str | bytes, config: SampleConfig, shape: Shape, told: list[str]
) -> None:
    from charrnn.console import note

    lines = shape.lines or None
    texts: Texts[Any]
    if shape.json:
        texts = model.samples(text, config, lines=lines, corpus=shape.corpus or None)
        write = partial(_print_json, texts, config, shape.escape)
    else:
        texts = model.stream(text, config, lines=lines, corpus=shape.corpus or None)
        ends = (b"", _utf8(text)) if model.reverse else (_utf8(text), b"")
        write = partial(_print, texts, config, shape.escape, ends, shape.lines or model.lines)
    for line in told:
        note(line)
    try:
        with interrupts.graceful(), progress(config.count, shape.quiet) as tell:
            write(tell)
    except Interrupted as error:  # the text so far is written; nothing to report
        raise typer.Exit(error.exit_code) from None
    if shape.lines or model.lines:
        _tell_cut(texts.cut, config)


def _tell_cut(cut: int, config: SampleConfig) -> None:
    from charrnn.console import note

    if cut:
        which = "the sample"
        if config.count > 1:
            which = f"{cut:,} of {counted(config.count, 'sample')}"
        note(f"{which} ended at --length {config.length}, before a line end")


def _prime(prime: str, file: Path | None) -> tuple[bytes, str]:
    """The text to continue, and its name; typed text has none."""
    if file is not None:
        return read_text(file), "standard input" if str(file) == "-" else str(file)
    if prime == "-":
        return read_text(prime), "standard input"
    return os.fsencode(prime), ""  # the bytes that were typed


def _utf8(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _print_json(texts: Iterator[str], config: SampleConfig, escape: Escape, tell: Progress) -> None:
    escaped = is_escaped(sys.stdout, escape)
    for index, text in enumerate(texts):
        line = {"index": index, "seed": config.seed, "text": text}
        print_line(jsonlib.dumps(line, ensure_ascii=escaped))
        tell(index + 1, f"{index + 1:,} of {counted(config.count, 'sample')}")


def _print(
    pieces: Iterator[tuple[bytes, bool]],
    config: SampleConfig,
    escape: Escape,
    ends: tuple[bytes, bytes],
    lines: bool,
    tell: Progress,
) -> None:
    """Print texts, each between the two ``ends``."""
    what = counted(config.count, "record" if lines else "sample")
    writer, left = TextWriter(sys.stdout, escape), config.count
    writer.put(ends[0])
    try:
        for piece, last in pieces:
            writer.put(piece)
            if last:
                left -= 1
                writer.put(ends[1])
                writer.end_sample(b"\n" if lines else b"\n\n" if left else b"")
                writer.put(ends[0] if left else b"")
                tell(config.count - left, f"{config.count - left:,} of {what}")
    except Interrupted:
        writer.end()  # keep the text so far
        raise
    writer.end()
