"""``charrnn sample``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.options import CHECKPOINT, JSON, draw_seed, flag, option, read_text
from charrnn.cli.output import Escape, TextWriter
from charrnn.config import Form, SampleConfig, Unknown
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.textmodel import TextModel


def sample(
    checkpoint: Path = CHECKPOINT,
    temp: float = option(0.8, "--temp", help="Boldness: 0 takes the likeliest, 1 as learned."),
    length: int = option(None, "--length", "-n", min=0, help="Characters; 0: endless. [1000]"),
    prime: str = option("", "--prime", help="Text to go on from; - reads it from stdin."),
    prime_file: Path = option(None, "--prime-file", help="File with the text to go on from."),
    seed: int = option(None, "--seed", min=0, help="Default: drawn, and said."),
    top_k: int = option(0, "--top-k", min=0, help="Draw among the k likeliest; 0: all."),
    top_p: float = option(1.0, "--top-p", help="Draw among the likeliest that make up p."),
    min_p: float = option(0.0, "--min-p", help="Leave out what is below this part of the top."),
    stop: list[str] = option(None, "--stop", help="End before this text; may be repeated."),
    count: int = option(1, "--count", min=1, help="Samples, one after the other."),
    lines: bool = flag("--lines", help="One record a line: a sample ends at its line's end."),
    unknown: Unknown = option("error", "--unknown", help="Characters the vocabulary lacks."),
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
        min_p=min_p, stop=tuple(stop or ()), count=count, seed=seed, unknown=unknown,
    )  # fmt: skip
    text = _prime(prime, prime_file)
    model = load(checkpoint, form=form)
    if checkpoint is None:
        note(f"{model.path}" + (f", seed {seed}" if drawn else ""))
    elif drawn:
        note(f"seed {seed}")
    write = _json if json else _text
    write(model, text, config, lines or model.lines, escape)


def _prime(prime: str, file: Path | None) -> str | bytes:
    if file is not None:
        if prime:
            raise ConfigError("--prime and --prime-file: give one of them")
        return read_text(file)
    # the bytes as they were typed: UTF-8, whatever the locale
    return read_text(prime) if prime == "-" else os.fsencode(prime)


def _json(
    model: TextModel, prime: str | bytes, config: SampleConfig, lines: bool, escape: Escape
) -> None:
    if config.length == 0:
        raise ConfigError("--json writes whole samples: it needs a --length above 0")
    for index, text in enumerate(model.samples(prime, config, lines=lines)):
        line = {"index": index, "seed": config.seed, "text": text}
        sys.stdout.write(jsonlib.dumps(line, ensure_ascii=sys.stdout.isatty()) + "\n")
        sys.stdout.flush()


def _text(
    model: TextModel, prime: str | bytes, config: SampleConfig, lines: bool, escape: Escape
) -> None:
    writer = TextWriter(sys.stdout, escape)
    start = prime.encode("utf-8", "surrogateescape") if isinstance(prime, str) else prime
    left = config.count
    writer.put(start)
    try:
        for piece, last in model.stream(prime, config, lines=lines):
            writer.put(piece)
            if last:
                left -= 1
                writer.end_sample(b"\n" if lines else b"\n\n" if left else b"")
                writer.put(start if left else b"")
    except KeyboardInterrupt:
        writer.end()  # what was drawn is not lost
        raise
    writer.end()
