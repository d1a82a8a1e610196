"""Output for people: notes and tables, and text made harmless for a terminal.

Notes go to stderr, requested tables to stdout. rich is imported only where it is used: a pipe does
not need it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TextIO

from charrnn import outlet

LONGEST_NOTE = 2000  # characters; a note may quote an argument of any length
DEFAULT_COLUMNS = 80  # if the output does not say how wide it is
NARROW_CELL = 12  # the least columns of a cell in a table, unless it needs fewer

_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
_LINE = {0x2028, 0x2029}
_CONTROLS = ({*range(0x20), *range(0x7F, 0xA0)} | _BIDI | _LINE) - {0x09, 0x0A}
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS}
_ESCAPES[0x0D] = "\\r"


def harmless(text: str) -> str:
    r"""``text`` with all control characters except newline and tab escaped, as ``\x1b``.

    C0, DEL, C1, bidirectional controls and line separators; each character by itself, so it
    may be applied to a stream. A carriage return before a newline is dropped.
    """
    return text.replace("\r\n", "\n").translate(_ESCAPES)


def one_line(text: str) -> str:
    """``harmless`` for messages: newlines and tabs are escaped too."""
    return text.translate(_ESCAPES | {0x0A: "\\n", 0x09: "\\t"})


def _is_dumb(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that does not understand escape sequences."""
    return os.environ.get("TERM") == "dumb" and stream.isatty()


def is_plain(stream: TextIO) -> bool:
    """Whether ``stream`` should get neither bars nor colors."""
    return bool(_is_dumb(stream) or os.environ.get("NO_COLOR")) or not stream.isatty()


def columns_of(stream: TextIO) -> int:
    """The width of ``stream``: of the terminal, unless ``COLUMNS`` says otherwise.

    Terminals that nobody has given a size (in containers, or behind ``script``) say 0.
    """
    try:
        asked = int(os.environ.get("COLUMNS", "0"))
        told = asked if asked > 0 else os.get_terminal_size(stream.fileno()).columns
        return told or DEFAULT_COLUMNS
    except (OSError, ValueError):  # it is no terminal
        return DEFAULT_COLUMNS


_COMMAND = re.compile(r"charrnn [a-z-][^;,]*")
_UNBROKEN = "\0"  # a space at which no line breaks; a line has no other


def folded(line: str, columns: int, whole: Iterable[str] = ()) -> str:
    """``line`` broken between words into lines of at most ``columns``.

    Not within the parts ``whole``, nor within a command: whoever copied it would run half of it.
    """
    kept = _COMMAND.sub(lambda found: found[0].replace(" ", _UNBROKEN), line)
    for part in whole:
        kept = kept.replace(part, part.replace(" ", _UNBROKEN))
    parts = textwrap.wrap(
        kept, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(parts).replace(_UNBROKEN, " ") if len(line) > columns > 2 else line


def on_stderr(line: str, whole: Iterable[str] = ()) -> str:
    """``line`` as it is shown on stderr: ``folded`` on a terminal, as it is in a log."""
    return folded(line, columns_of(sys.stderr), whole) if sys.stderr.isatty() else line


def note(text: str) -> None:
    """Print a line on stderr, if there still is a stderr."""
    line = one_line(text)
    if len(line) > LONGEST_NOTE:
        line = f"{line[: LONGEST_NOTE // 2]} … {line[-LONGEST_NOTE // 2 :]}"
    say(on_stderr(f"charrnn: {line}"))


def say(text: str) -> None:
    """Print ``text`` on stderr as it is, if there still is a stderr."""
    with suppress(OSError):  # a terminal that was closed must not end the run
        outlet.write(sys.stderr, f"{text}\n".encode("utf-8", "backslashreplace"))


# nats at which the next shade starts: expected characters are dim, surprising ones red or,
# without colors, underlined, bold or reversed
_SHADES = ((0.0, "2"), (0.5, "0"), (1.5, "33"), (3.0, "31"), (5.0, "1;31"))
_GREYS = ((0.0, "2"), (0.5, "0"), (1.5, "4"), (3.0, "1"), (5.0, "7"))


def colored(pieces: Sequence[str], nats: Sequence[float]) -> str:
    """Characters colored by the nats that each cost, as one line for stdout."""
    shades = _GREYS if os.environ.get("NO_COLOR") else _SHADES
    dumb = _is_dumb(sys.stdout)
    parts = []
    for code, run in groupby(zip(pieces, nats, strict=True), lambda pair: _shade(pair[1], shades)):
        shown = "".join("⏎" if piece == "\n" else one_line(piece) for piece, _ in run)
        parts.append(shown if dumb else f"\x1b[{code}m{shown}\x1b[0m")
    return "".join(parts)


def _shade(cost: float, shades: Sequence[tuple[float, str]]) -> str:
    reached = [code for least, code in shades if cost >= least]  # none for NaN
    return reached[-1] if reached else "0"


def weight_count(number: int) -> str:
    """A number of weights: ``1.23 M`` or ``1.23 G``, or all digits of a small one."""
    if number >= 999_995_000:  # which would be 1000.00 M
        return f"{number / 1e9:.2f} G"
    return f"{number / 1e6:.2f} M" if number >= 1e5 else f"{number:,}"


def byte_count(number: int) -> str:
    """A number of bytes in a unit that suits it: ``8.0 MB``, ``74.1 kB``."""
    return f"{number / 1e6:,.1f} MB" if number >= 1e5 else f"{number / 1e3:,.1f} kB"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table on stdout: with lines on a wide terminal, tab-separated in a pipe."""
    shown = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        lines = [columns, *shown] if any(columns) else shown
        sys.stdout.write("".join("\t".join(line) + "\n" for line in lines))
        return
    width = shutil.get_terminal_size().columns
    widest = [max(map(len, cells)) for cells in zip(columns, *shown, strict=True)]
    if width < 1 + sum(3 + min(cells, NARROW_CELL) for cells in widest):
        sys.stdout.write(_listed(columns, shown))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    ruled = Table(title=title and Text(one_line(title)), show_header=any(columns))
    for column in columns:
        ruled.add_column(column, overflow="fold")
    for row in shown:
        ruled.add_row(*map(Text, row))
    # with a height too, or rich assumes that a dumb terminal is 80 wide
    Console(no_color=is_plain(sys.stdout) or None, width=width, height=25).print(ruled)


def _listed(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a narrow terminal: ``name: value`` lines; with headings, a row is a paragraph."""
    if not any(columns):
        return "".join(f"{': '.join(row)}\n" for row in rows)
    paragraphs = (
        "".join(f"{column}: {cell}\n" for column, cell in zip(columns, row, strict=True) if cell)
        for row in rows
    )
    return "\n".join(paragraphs)


def painted(lines: Sequence[Sequence[tuple[str, str]]], columns: int) -> str:
    """Lines of pieces with their colors, ``#rrggbb`` or none, as stdout shows them.

    Each line is cut at the width ``columns``; a terminal without colors gets none.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(no_color=is_plain(sys.stdout) or None, width=columns, height=25)
    with console.capture() as capture:
        for pieces in lines:
            line = Text.assemble(*((one_line(text), color) for text, color in pieces))
            line.rstrip()
            line.truncate(columns, overflow="ellipsis")
            console.print(line, no_wrap=True, crop=False, highlight=False)
    return capture.get()
