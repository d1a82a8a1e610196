"""The cells that there are: every module of this folder, and those that a program registers."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from charrnn.cells.base import Cell

_cells: dict[str, Cell] = {}
_PARTS = {"base", "registry"}  # modules of the room that hold no cell


def register(cell: Cell) -> Cell:
    """Make ``cell`` known by its name.

    Raises:
        ValueError: another cell has that name.

    """
    if _cells.setdefault(cell.name, cell) != cell:
        raise ValueError(f"a cell called {cell.name!r} is registered already")
    return cell


def unregister(name: str) -> None:
    """Forget the cell ``name`` again."""
    del _cells[name]


def get(name: str) -> Cell:
    """The cell ``name``.

    Raises:
        KeyError: there is none.

    """
    _import_all()
    return _cells[name]


def names() -> tuple[str, ...]:
    """The names of all cells, sorted."""
    _import_all()
    return tuple(sorted(_cells))


@cache
def _import_all() -> None:
    for path in Path(__file__).parent.glob("[a-z]*.py"):
        if path.stem not in _PARTS:
            importlib.import_module(f"charrnn.cells.{path.stem}")
