"""Places in a text for people: line and column, counted from 1, as editors show them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


def line_and_column(line: int, column: int) -> str:
    """``line 3, column 7``."""
    return f"line {line:,}, column {column:,}"


def place_in(text: str | bytes, position: int) -> str:
    """The line and column of ``text[position]`` in words; empty if the text has only one line."""
    if isinstance(text, bytes):
        return place_in(text.decode("latin-1"), position)
    if "\n" not in text:
        return ""
    begin = text.rfind("\n", 0, position) + 1
    return line_and_column(text.count("\n", 0, position) + 1, position - begin + 1)


def place_after(blocks: Iterable[bytes], encoding: str) -> str:
    """The line and column, in words, of what follows ``blocks``, a text in ``encoding``."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    lines, column = 1, 1
    for block in blocks:
        text = decoder.decode(block)
        lines += text.count("\n")
        column = len(text) - text.rfind("\n") if "\n" in text else column + len(text)
    return line_and_column(lines, column)
