"""Untrusted text and tables as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence


def escaped(text: str) -> str:
    """Untrusted ``text`` as HTML that shows it and does nothing else."""
    return html.escape(visible(text))


def visible(text: str) -> str:
    """``text`` as a page can show it: line ends stay, other invisible ones are written out."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character == "\n" or character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def table(rows: Sequence[Sequence[str]]) -> str:
    """``rows`` of cells as a table."""
    lines = ("".join(f"<td>{escaped(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
