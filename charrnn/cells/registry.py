"""The known cells: those in this folder, and those that a program registers."""

from __future__ import annotations

import importlib
from pathlib import Path

from charrnn.cells.base import Cell

_cells: dict[str, Cell] = {}
_NOT_CELLS = {"base", "registry"}  # modules of this folder that define no cell


def register(cell: Cell) -> Cell:
    """Register ``cell`` under its name.

    Raises:
        ValueError: another cell has that name.

    """
    if _cells.setdefault(cell.name, cell) != cell:
        raise ValueError(f"a cell called {cell.name!r} is registered already")
    return cell


def unregister(name: str) -> None:
    """Remove the cell ``name``."""
    del _cells[name]


def get(name: str) -> Cell:
    """The cell ``name``.

    Raises:
        KeyError: no cell has this name.

    """
    return _cells[name]


def names() -> tuple[str, ...]:
    """The names of all cells, sorted."""
    return tuple(sorted(_cells))


def import_all() -> None:
    """Import every file of this folder that defines a cell, which registers it."""
    for path in Path(__file__).parent.glob("[a-z]*.py"):
        if path.stem not in _NOT_CELLS:
            importlib.import_module(f"charrnn.cells.{path.stem}")
