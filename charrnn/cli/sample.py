"""``charrnn sample``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from charrnn import interrupts
from charrnn.cli.options import (
    CHECKPOINT,
    ENCODING,
    JSON,
    SAMPLE_THREADS,
    WEIGHT_DTYPE,
    read_text,
    takes,
)
from charrnn.cli.output import Escape, TextWriter, check_stdout, is_escaped, print_line
from charrnn.config import WeightDtype, draw_seed
from charrnn.errors import ConfigError, Interrupted, counted, naming, titled
from charrnn.generation.filters import FILTERS
from charrnn.generation.sample_config import SampleConfig
from charrnn.settings import Option, declared

if TYPE_CHECKING:
    from charrnn.generation.generator import Texts

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
ESCAPE = Option(
    name="escape",
    kind=str,
    choices=get_args(Escape),
    help="Write control characters as escapes such as \\x1b; auto does so on a terminal.",
)
HOW = *declared(SampleConfig), *(filter.option for filter in FILTERS.values())


@takes(
    PRIME,
    PRIME_FILE,
    *HOW,
    LINES,
    ENCODING,
    ESCAPE,
    WEIGHT_DTYPE,
    SAMPLE_THREADS,
    JSON,
)
def sample(
    checkpoint: Path = CHECKPOINT,
    *,
    prime: str = "",
    prime_file: Path | None = None,
    stop: tuple[str, ...] = (),
    lines: bool = False,
    encoding: str | None = None,
    escape: Escape = "auto",
    weight_dtype: WeightDtype = "int8",
    threads: int = 0,
    json: bool = False,
    **settings: Any,
) -> None:
    """Generate text in the style of a checkpoint's corpus."""
    from charrnn.console import note
    from charrnn.textmodel import load

    drawn = "seed" not in settings
    settings.setdefault("seed", draw_seed())
    config = SampleConfig(stop=tuple(map(_typed, stop)), **settings)
    check_stdout()
    raw, source = _prime(prime, prime_file)
    model = load(checkpoint, weight_dtype=weight_dtype, threads=threads)
    encoding = model.encoding(encoding)
    # find every error before anything is written
    with naming(source):
        text = model.read(raw, encoding) if source else raw  # typed text is UTF-8
        omissions = model.vocab.omissions(text, config.unknown)
    texts: Texts[Any]
    if json:
        texts = model.samples(text, config, lines=lines or None)
        write = partial(_print_json, texts, config, escape)
    else:
        texts = model.stream(text, config, lines=lines or None)
        ends = (b"", _utf8(text)) if model.reverse else (_utf8(text), b"")
        write = partial(_print, texts, config, escape, ends, lines or model.lines)
    if omissions:
        note(titled(source, omissions))
    if checkpoint is None:
        note(f"{model.path}" + (f", seed {config.seed}" if drawn else ""))
    elif drawn:
        note(f"seed {config.seed}")
    try:
        with interrupts.graceful():
            write()
    except Interrupted as error:  # the text so far is written; nothing to report
        raise typer.Exit(error.exit_code) from None
    if texts.cut and (lines or model.lines):
        which = "the sample"
        if config.count > 1:
            which = f"{texts.cut:,} of {counted(config.count, 'sample')}"
        note(f"{which} ended at --length {config.length}, before a line end")


def _prime(prime: str, file: Path | None) -> tuple[bytes, str]:
    """The text to continue, and its name; typed text has none."""
    if file is not None:
        if prime:
            raise ConfigError("more than one prime; set only one of --prime and --prime-file")
        return read_text(file), "standard input" if str(file) == "-" else str(file)
    if prime == "-":
        return read_text(prime), "standard input"
    return os.fsencode(prime), ""  # the bytes that were typed


def _typed(text: str) -> str:
    """An argument decoded as UTF-8, whatever the locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def _utf8(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _print_json(texts: Iterator[str], config: SampleConfig, escape: Escape) -> None:
    escaped = is_escaped(sys.stdout, escape)
    for index, text in enumerate(texts):
        line = {"index": index, "seed": config.seed, "text": text}
        print_line(jsonlib.dumps(line, ensure_ascii=escaped))


def _print(
    pieces: Iterator[tuple[bytes, bool]],
    config: SampleConfig,
    escape: Escape,
    ends: tuple[bytes, bytes],
    lines: bool,
) -> None:
    """Print texts, each between the two ``ends``."""
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
    except Interrupted:
        writer.end()  # keep the text so far
        raise
    writer.end()
