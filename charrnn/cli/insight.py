"""``charrnn insight``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.bar import progress
from charrnn.cli.options import CHECKPOINT, CORPUS, ENCODING, SEED, UNKNOWN, read_text, takes
from charrnn.cli.output import check_stdout, check_writable, write_file
from charrnn.config import Unknown, draw_seed
from charrnn.errors import ConfigError, naming
from charrnn.settings import Option

if TYPE_CHECKING:
    from charrnn.textmodel import TextModel

PAGE_BYTES = 1 << 20  # a page is smaller

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
    aliases=("-o",),
    variable="CHARRNN_INSIGHT_OUT",
    unset="NAME.html",
    help="Page to write; - is standard output.",
)


@takes(
    TEXT, OUT, CORPUS, SEED.replace(help="Seed of the text it writes itself."), UNKNOWN, ENCODING
)
def insight(
    checkpoint: Path = CHECKPOINT,
    *,
    text: str | None = None,
    out: Path | None = None,
    corpus: tuple[Path, ...] = (),
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
    from charrnn.insight.api import insight_page
    from charrnn.textmodel import load

    model = load(checkpoint)
    encoding = model.encoding(encoding)
    out = Path(f"{model.name}.html") if out is None else out
    if out.is_dir():
        raise ConfigError(f"is {out}, a folder: name a file, or - for stdout", setting="out")
    if text == "-" and Path("-") in corpus:
        raise ConfigError("--text and --corpus cannot both be standard input")
    check_stdout()
    check_writable(out, PAGE_BYTES)
    which = [str(model.path)] if checkpoint is None else []
    read, source = (None, "") if text is None else _read(model, text, encoding)
    if text is None and seed is None:
        seed = draw_seed()
        which.append(f"seed {seed}")
    with interrupts.graceful(), progress(1.0, quiet=False, product=False) as tell:
        page = insight_page(
            model,
            read,
            source=source,
            corpus=corpus or None,
            seed=seed,
            unknown=unknown,
            on_note=note,
            # before that, the time spent writing the text would distort the estimate
            on_progress=lambda done, total: done < total / 50 or tell(done / total, "reading"),
        )
        interrupts.check()
    if which:
        note(", ".join(which))
    write_file(out, page.encode())


def _read(model: TextModel, file: str, encoding: str) -> tuple[str | bytes, str]:
    """A text and its name."""
    source, raw = "standard input" if file == "-" else file, read_text(file)
    with naming(source):
        return model.read(raw, encoding), source
