"""``charrnn insight``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.options import (
    CHECKPOINT,
    ENCODING,
    UNKNOWN,
    naming,
    option,
    read_text,
    titled,
)
from charrnn.cli.output import print_path
from charrnn.config import SampleConfig, Unknown, draw_seed
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.text.vocab import Ids
    from charrnn.textmodel import TextModel


def insight(
    checkpoint: Path = CHECKPOINT,
    text: str = option(
        None, "--text", help="A text to read; - is stdin. Default: one that it writes itself."
    ),
    out: Path = option(
        None, "--out", variable="INSIGHT_OUT", help="The page; - is stdout. Default: NAME.html."
    ),
    seed: int = option(None, "--seed", min=0, help="Of its own text. Default: drawn, and said."),
    unknown: Unknown = UNKNOWN,
    encoding: str = ENCODING,
) -> None:
    """Make a page that shows what a network learned, and print its path.

    How it learned, which characters of a text surprised it, which single units follow quotation
    marks, lines or words, and how it sees the characters.
    """
    from charrnn import interrupts
    from charrnn.console import note
    from charrnn.files import write_atomic
    from charrnn.insight.page import History, page
    from charrnn.insight.traces import longest, trace
    from charrnn.textmodel import load
    from charrnn.training.metrics import METRICS, losses

    if out is not None and out.is_dir():
        raise ConfigError(f"out is {out}, a folder: name a file, or - for stdout", "out")
    model = load(checkpoint)
    encoding = model.encoding(encoding)
    assert model.path is not None
    name = model.path.parent.name or model.path.stem
    which: list[str] = [str(model.path)] if checkpoint is None else []
    most = longest(model.checkpoint.config)
    with interrupts.graceful():
        if text is None:
            drawn = draw_seed() if seed is None else seed
            ids, source = _written(model, drawn, most), "Its own text, temperature 0.8"
            which += [f"seed {drawn}"] if seed is None else []
        else:
            ids, source = _read(model, text, encoding, unknown, most)
        logged = model.path.with_name(METRICS)
        history = History(losses(logged, "train_nats"), losses(logged, "val_nats"))
        made = page(name, model.checkpoint, trace(model.checkpoint, ids), history, source).encode()
    if which:
        note(", ".join(which))
    out = Path(f"{name}.html") if out is None else out
    if str(out) == "-":
        sys.stdout.buffer.write(made)
        return
    if out.exists() and not out.is_file():  # a device, or a pipe: nothing may take its place
        out.write_bytes(made)
    else:
        write_atomic(out, [made])
    print_path(out)


def _written(model: TextModel, seed: int, length: int) -> Ids:
    config = SampleConfig(length=length, seed=seed)
    return model.vocab.encode(next(model.samples("", config, lines=False)))


def _read(
    model: TextModel, file: str, encoding: str, unknown: Unknown, most: int
) -> tuple[Ids, str]:
    """The ids of the first ``most`` characters of a text, and what it is called."""
    from charrnn.console import note

    source = "standard input" if file == "-" else file
    with naming(source):
        text = model.read(read_text(file), encoding)
        if unknown != "error" and (omissions := model.vocab.omissions(text, unknown)):
            note(titled(source, omissions))
        ids = model.vocab.encode(text, unknown)
    if len(ids) > most:
        note(f"{source}: its first {most:,} characters are read")
    return ids[:most], Path(source).name
