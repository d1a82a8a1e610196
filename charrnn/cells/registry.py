"""The known cells: those in this folder, and those that a program registers."""

from __future__ import annotations

import importlib
from pathlib import Path

from charrnn.cells.base import Cell

_cells: dict[str, Cell] = {}  # by each of their names
_NOT_CELLS = {"base", "registry"}  # modules of this folder that define no cell


def register(cell: Cell) -> Cell:
    """Register ``cell`` under its name and its aliases.

    Raises:
        ValueError: another cell has one of these names.

    """
    own = (cell.name, *cell.aliases)
    for name in own:
        if _cells.get(name, cell) != cell:
            raise ValueError(f"a cell called {name!r} is registered already")
    _cells.update(dict.fromkeys(own, cell))
    return cell


def unregister(name: str) -> None:
    """Remove the cell ``name`` with all its names."""
    cell = get(name)
    for own in (cell.name, *cell.aliases):
        del _cells[own]


def get(name: str) -> Cell:
    """The cell that has ``name`` as its name or as an alias.

    Raises:
        KeyError: no cell has this name.

    """
    return _cells[name]


def names() -> tuple[str, ...]:
    """The names of all cells, aliases among them, sorted."""
    return tuple(sorted(_cells))


def import_all() -> None:
    """Import every file of this folder that defines a cell, which registers it."""
    for path in Path(__file__).parent.glob("[a-z]*.py"):
        if path.stem not in _NOT_CELLS:
            importlib.import_module(f"charrnn.cells.{path.stem}")
