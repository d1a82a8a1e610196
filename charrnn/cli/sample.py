"""``charrnn sample``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import typer

from charrnn import interrupts
from charrnn.cli.options import (
    CHECKPOINT,
    ENCODING,
    JSON,
    UNKNOWN,
    flag,
    naming,
    option,
    read_text,
    titled,
    whole_variable,
)
from charrnn.cli.output import Escape, TextWriter, is_escaped
from charrnn.config import Form, Unknown, draw_seed
from charrnn.errors import ConfigError, Interrupted
from charrnn.generation.sample_config import SampleConfig


def sample(
    checkpoint: Path = CHECKPOINT,
    temp: float = option(0.8, "--temp", help="Boldness: 0 takes the likeliest, 1 as learned."),
    length: int = option(
        None, "--length", "-n", min=0, help="Characters; 0: endless. Default: 1000."
    ),
    prime: str = option("", "--prime", help="Text to go on from; - reads it from stdin."),
    prime_file: Path = option(None, "--prime-file", help="File with the text to go on from."),
    seed: int = option(None, "--seed", min=0, help="Default: drawn, and said."),
    top_k: int = option(0, "--top-k", min=0, help="Draw among the k likeliest; 0: all."),
    top_p: float = option(1.0, "--top-p", help="Draw among the likeliest that make up p."),
    min_p: float = option(0.0, "--min-p", help="Leave out what is below this part of the top."),
    stop: list[str] = option(
        None, "--stop", help="End before this text; may be repeated.", callback=whole_variable
    ),
    count: int = option(1, "--count", min=1, help="Samples, one after the other."),
    lines: bool = flag("--lines", help="One record a line: a sample ends at its line's end."),
    unknown: Unknown = UNKNOWN,
    encoding: str = ENCODING,
    escape: Escape = option(
        "auto", "--escape", help="Write control characters out: auto does so on a terminal."
    ),
    form: Form = option(
        "int8", "--form", help="How weights are held: int8 is fastest, float32 exact."
    ),
    json: bool = JSON,
) -> None:
    """Write text in the manner of a checkpoint's corpus."""
    from charrnn.console import note
    from charrnn.textmodel import load

    drawn = seed is None
    seed = draw_seed() if seed is None else seed
    config = SampleConfig(
        temperature=temp, length=1000 if length is None else length, top_k=top_k, top_p=top_p,
        min_p=min_p, stop=tuple(map(_typed, stop or ())), count=count, seed=seed, unknown=unknown,
    )  # fmt: skip
    raw, source = _prime(prime, prime_file)
    model = load(checkpoint, form=form)
    encoding = model.encoding(encoding)
    # whatever can be wrong is found before anything is written
    with naming(source):
        text = model.read(raw, encoding) if source else raw  # what was typed is UTF-8
        omissions = model.vocab.omissions(text, unknown)
    if json:
        texts = model.samples(text, config, lines=lines or None)
        write = partial(_print_json, texts, config, escape)
    else:
        pieces = model.stream(text, config, lines=lines or None)
        write = partial(_print, pieces, config, escape, _utf8(text), lines or model.lines)
    if omissions:
        note(titled(source, omissions))
    if checkpoint is None:
        note(f"{model.path}" + (f", seed {seed}" if drawn else ""))
    elif drawn:
        note(f"seed {seed}")
    try:
        with interrupts.graceful():
            write()
    except Interrupted as error:  # what was drawn is out; there is nothing to say
        raise typer.Exit(error.exit_code) from None


def _prime(prime: str, file: Path | None) -> tuple[bytes, str]:
    """The text to go on from, and what it is called where it is not in plain sight."""
    if file is not None:
        if prime:
            raise ConfigError("--prime and --prime-file: give one of them")
        return read_text(file), "standard input" if str(file) == "-" else str(file)
    if prime == "-":
        return read_text(prime), "standard input"
    return os.fsencode(prime), ""  # the bytes as they were typed


def _typed(text: str) -> str:
    """An argument as UTF-8, whatever the locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def _utf8(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _print_json(texts: Iterator[str], config: SampleConfig, escape: Escape) -> None:
    escaped = is_escaped(sys.stdout, escape)
    for index, text in enumerate(texts):
        line = {"index": index, "seed": config.seed, "text": text}
        with interrupts.at_once():  # a reader may keep us waiting
            sys.stdout.write(jsonlib.dumps(line, ensure_ascii=escaped) + "\n")
            sys.stdout.flush()


def _print(
    pieces: Iterator[tuple[bytes, bool]],
    config: SampleConfig,
    escape: Escape,
    prime: bytes,
    lines: bool,
) -> None:
    writer, left = TextWriter(sys.stdout, escape), config.count
    writer.put(prime)
    try:
        for piece, last in pieces:
            writer.put(piece)
            if last:
                left -= 1
                writer.end_sample(b"\n" if lines else b"\n\n" if left else b"")
                writer.put(prime if left else b"")
    except Interrupted:
        writer.end()  # what was drawn is not lost
        raise
    writer.end()
