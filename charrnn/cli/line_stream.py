"""``score --lines``: a score for every line, as soon as the line is there."""

from __future__ import annotations

import json as jsonlib
import os
import stat
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING, Any, Literal

import typer

from charrnn import interrupts, outlet
from charrnn.cli.bar import progress
from charrnn.config import Unknown
from charrnn.errors import (
    CorpusError,
    Interrupted,
    UnknownCharacterError,
    counted,
    naming,
    unreadable,
)

if TYPE_CHECKING:
    from charrnn.generation.line_scores import ScoredLine
    from charrnn.textmodel import TextModel

STEP = 1 << 16  # bytes of a file that are read at a time: with more, its bar would stand still


Form = Literal["rows", "worst", "json"]  # what is printed: nats first, the worst of them first


def score_stream(
    model: TextModel,
    file: str,
    encoding: str,
    unknown: Unknown,
    form: Form,
    quiet: bool,
    opened: Callable[[], None],
) -> None:
    """Print a score for every line of ``file`` (``-`` is standard input) as it arrives.

    ``opened`` is called once the file is open. A bar shows how much of a regular file is scored,
    unless ``quiet``.

    Raises:
        ConfigError: lines have no end in the vocabulary.
        CorpusError: the file cannot be read, or is not in ``encoding``.
        UnknownCharacterError: a line has an unknown character; those before it are printed.

    """
    from charrnn.text.arriving import arriving_lines

    model.record_form(lines=True)
    source, done = "standard input" if file == "-" else file, 0
    said = unknown == "error"  # which is an error of its own
    marked = not model.vocab.is_bytes and model.vocab.id_of("\ufeff") is not None
    try:
        with _opened(file) as stream, naming(source), interrupts.graceful():
            opened()
            size = _size(stream)
            how: dict[str, Any] = {"marked": marked} | ({"most": STEP} if size else {})
            with progress(size, quiet or not size) as tell:
                for lines in arriving_lines(stream, source, encoding, **how):
                    _score(model, lines, unknown, form, done)
                    said = said or _said(model, lines, unknown, source, done)
                    done += len(lines)
                    if size:
                        tell(min(stream.tell(), size), counted(done, "line"))
    except Interrupted as error:  # the lines so far are printed; nothing to report
        raise typer.Exit(error.exit_code) from None


def _opened(file: str) -> Any:
    """The file as a context, which leaves standard input open."""
    if not file:
        raise CorpusError("the path of the text is empty: name a file, or - for standard input")
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        stream: IO[bytes] = open(file, "rb")  # noqa: SIM115
    except OSError as error:
        raise unreadable(file, error) from None
    return stream


def _size(stream: IO[bytes]) -> int:
    """The size of a regular file in bytes; 0 for a pipe, a terminal or anything else."""
    try:
        about = os.fstat(stream.fileno())
    except OSError:
        return 0
    return about.st_size if stat.S_ISREG(about.st_mode) else 0


def _score(model: TextModel, lines: list[Any], unknown: Unknown, form: Form, done: int) -> None:
    """Print the scores of ``lines``, before which ``done`` were printed."""
    try:
        _print(model, lines, unknown, form)
    except UnknownCharacterError:
        for index, line in enumerate(lines):
            if missing := model.vocab.missing(_without_return(line)):
                _print(model, lines[:index], unknown, form)
                hint = "set {unknown} to 'skip' or 'replace'"
                where = f"line {done + index + 1:,}: {missing}"
                raise UnknownCharacterError(where, hint) from None
        raise


def _said(model: TextModel, lines: list[Any], unknown: Unknown, source: str, done: int) -> bool:
    """Print a note about the first line that has unknown characters; whether there is one.

    One note is enough for a stream that may never end.
    """
    from charrnn.console import note

    lines = list(map(_without_return, lines))
    if not model.vocab.missing(lines[0][:0].join(lines)):  # all at once, as that is fast
        return False
    for index, line in enumerate(lines):
        if omissions := model.vocab.omissions(line, unknown):
            note(f"{source}: line {done + index + 1:,}: {omissions}; later lines are not reported")
            return True
    return False


def _without_return(line: Any) -> Any:
    """A line, or its bytes, without the return that its line end had: no symbol of a record."""
    return line.removesuffix(b"\r" if isinstance(line, bytes) else "\r")


def _print(model: TextModel, lines: list[Any], unknown: Unknown, form: Form) -> None:
    """Print the scores of ``lines`` at once."""
    if not lines:
        return
    from charrnn.console import one_line

    terminal = sys.stdout.isatty()
    end: Any = b"\n" if isinstance(lines[0], bytes) else "\n"
    found = model.score_lines(end.join(lines) + end, unknown=unknown, lines=True)
    out = bytearray()
    for line, scored in zip(lines, found, strict=True):
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        text = text.removesuffix("\r")
        if form == "json":
            shown = jsonlib.dumps(_values(scored, text), ensure_ascii=terminal)
        else:
            shown = _row(scored, one_line(text) if terminal else text, form)
        out += f"{shown}\n".encode("utf-8", "surrogatepass")
    outlet.write(sys.stdout, bytes(out))


def _values(scored: ScoredLine, text: str) -> dict[str, Any]:
    """The JSON values of a line."""
    worst = scored.worst
    at = {} if worst is None else {"worst_nats": scored.nats[worst], "worst_at": scored.worst_at}
    return {"nats": scored.score.nats, **scored.score.to_dict(), **at, "text": text}


def _row(scored: ScoredLine, text: str, form: Form) -> str:
    """The row of a line."""
    row = f"{scored.score.nats:.4f}\t{scored.score.chars}\t{text}"
    if form == "worst":
        worst = scored.worst
        row = f"{'-' if worst is None else f'{scored.nats[worst]:.4f}'}\t{row}"
    return row
