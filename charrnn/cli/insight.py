"""``charrnn insight``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.options import (
    CHECKPOINT,
    ENCODING,
    SEED,
    UNKNOWN,
    naming,
    read_text,
    takes,
    titled,
)
from charrnn.cli.output import print_path
from charrnn.config import Unknown, draw_seed
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.generation.sample_config import SampleConfig
from charrnn.paths import BEST, LAST
from charrnn.settings import Option

if TYPE_CHECKING:
    from charrnn.insight.novelty import Copies
    from charrnn.text.vocab import Ids
    from charrnn.textmodel import TextModel


TEXT = Option(
    name="text",
    kind=str,
    metavar="FILE",
    unset="a text that the network writes itself",
    help="Text to read; - is standard input.",
)
OUT = Option(
    name="out",
    kind=Path,
    variable="CHARRNN_INSIGHT_OUT",
    unset="NAME.html",
    help="Page to write; - is standard output.",
)
CORPUS = Option(
    name="corpus",
    kind=Path,
    unset="the cached copy",
    help="Corpus the network was trained on, to find what it copied.",
)


@takes(TEXT, OUT, CORPUS, SEED.but(help="Seed of the text it writes itself."), UNKNOWN, ENCODING)
def insight(
    checkpoint: Path = CHECKPOINT,
    *,
    text: str | None = None,
    out: Path | None = None,
    corpus: Path | None = None,
    seed: int | None = None,
    unknown: Unknown = "error",
    encoding: str | None = None,
) -> None:
    """Make a page of what a network learned, and print its path.

    It shows the losses in training, which characters of a text surprised the network, how much it
    copies, which units track quotation marks, lines or words, and a map of the characters.
    """
    from charrnn import interrupts
    from charrnn.console import note
    from charrnn.insight.page import History, page
    from charrnn.insight.traces import longest, trace
    from charrnn.textmodel import load
    from charrnn.training.rundir.metrics import METRICS, losses

    model = load(checkpoint)
    assert model.path is not None  # it was loaded from a file
    encoding, name = model.encoding(encoding), _name(model.path)
    out = Path(f"{name}.html") if out is None else out
    if out.is_dir():
        raise ConfigError(f"is {out}, a folder: name a file, or - for stdout", setting="out")
    if text == str(corpus) == "-":
        raise ConfigError("--text and --corpus cannot both be standard input")
    which: list[str] = [str(model.path)] if checkpoint is None else []
    most, ids, source = longest(model.checkpoint.config), None, "Its own text, temperature 0.8"
    if text is not None:
        ids, source = _read(model, text, encoding, unknown, most)
    elif seed is None:
        seed = draw_seed()
        which.append(f"seed {seed}")
    with interrupts.graceful():
        if ids is None:
            assert seed is not None  # it was drawn above
            ids = _written(model, seed, most)
        history = History(**losses(model.path.with_name(METRICS)))
        copied = _copied(model, ids, corpus)  # first, to report a wrong corpus at once
        traced = trace(model.checkpoint, ids)
        made = page(name, model.checkpoint, traced, history, copied, source).encode()
        interrupts.check()
    if which:
        note(", ".join(which))
    _write(out, made)


def _name(path: Path) -> str:
    """The name of the run, or of a file that has a name of its own."""
    own = path.name not in (BEST, LAST)
    return path.stem if own else path.resolve().parent.name or path.stem


def _write(out: Path, made: bytes) -> None:
    """Write the page, and print its path."""
    from charrnn.atomic_io import write_atomic

    if str(out) == "-":
        sys.stdout.buffer.write(made)
        return
    place = out.resolve() if out.is_symlink() else out
    if place.exists() and not place.is_file():  # a device or a pipe must not be replaced
        place.write_bytes(made)
    else:
        write_atomic(place, [made])
    print_path(out)


def _written(model: TextModel, seed: int, length: int) -> Ids:
    config = SampleConfig(length=length, seed=seed)
    pieces = model.stream("", config, lines=False)  # as bytes, which need not be UTF-8
    return model.vocab.encode(b"".join(piece for piece, _ in pieces))


def _copied(model: TextModel, ids: Ids, corpus: Path | None) -> dict[str, Copies]:
    """How much of ``ids`` is in the training text; empty if that is neither cached nor named."""
    from charrnn.insight.novelty import compare

    try:
        whole, parts = model.corpus(corpus)
    except (CorpusError, CheckpointError):
        if corpus is not None:
            raise
        return {}
    return compare(ids, whole, parts)


def _read(
    model: TextModel, file: str, encoding: str, unknown: Unknown, most: int
) -> tuple[Ids, str]:
    """The ids of the first ``most`` characters of a text, and its name."""
    from charrnn.console import note

    source, raw = "standard input" if file == "-" else file, read_text(file)
    with naming(source):
        text = model.read(raw, encoding)
        if len(text) > most:
            note(f"{source}: reading the first {most:,} characters only")
            text = text[:most]
        if unknown != "error" and (omissions := model.vocab.omissions(text, unknown)):
            note(titled(source, omissions))
        ids = model.vocab.encode(text, unknown)
        if len(ids) < 2:
            raise CorpusError("there are fewer than two characters to read")
    return ids, Path(source).name
