"""The known cells: those in this folder, and those that a program registers."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charrnn.cells.base import Cell
from charrnn.settings import Option

_cells: dict[str, Cell] = {}  # by each of their names
_reserved: set[str] = set()  # names that no option of a cell can have
_NOT_CELLS = {"base", "registry", "stack"}  # modules of this folder that define no cell


def register(cell: Cell) -> Cell:
    """Register ``cell`` under its name and its aliases.

    Raises:
        ValueError: another cell has one of these names, or an option of it cannot be called so.

    """
    own = (cell.name, *cell.aliases)
    for name in own:
        if _cells.get(name, cell) != cell:
            raise ValueError(f"a cell called {name!r} is registered already")
    _check_options(cell)
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


def configured(name: str, V: int, options: dict[str, Any]) -> Cell:
    """The cell ``name`` for V symbols and the values of all its ``options``.

    Raises:
        KeyError: no cell has this name.

    """
    cell = get(name)
    return cell if cell.configure is None else cell.configure(V, **options)


def options() -> tuple[Option, ...]:
    """The options of all cells, each once."""
    found = {option.name: option for cell in _cells.values() for option in cell.options}
    return tuple(found.values())


def owners(option: str) -> tuple[str, ...]:
    """The names of the cells that have ``option``, without aliases."""
    cells = {cell.name: cell for cell in _cells.values()}
    return tuple(name for name, c in cells.items() if option in {o.name for o in c.options})


def reserve(names: Iterable[str]) -> None:
    """Allow no option of a cell to have one of ``names``.

    Raises:
        ValueError: one has it already.

    """
    _reserved.update(names)
    for cell in _cells.values():
        _check_options(cell)


def _check_options(cell: Cell) -> None:
    known = {option.name: option for option in options()}
    for option in cell.options:
        if option.name in _reserved or known.get(option.name, option) is not option:
            raise ValueError(f"an option of the cell {cell.name} cannot be called {option.name!r}")


def import_all() -> None:
    """Import every file of this folder that defines a cell, which registers it."""
    for path in Path(__file__).parent.glob("[a-z]*.py"):
        if path.stem not in _NOT_CELLS:
            importlib.import_module(f"charrnn.cells.{path.stem}")
