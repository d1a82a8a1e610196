"""Recurrent cells: one file per cell, with everything that charrnn knows about it.

To add a cell, put a file here that ends in ``register(Cell(...))``: ``--cell`` then offers it, and
training, resuming, sampling and scoring work with its readable ``step``. Each fast path (oneDNN and
cuDNN, our training kernels, the compiled sampling engine) lists the cells that it supports by name;
every other cell runs its readable step.

Imports only the standard library: configuration and shell completion need names and shapes, and
must not wait for NumPy or torch.
"""

from __future__ import annotations

from charrnn.cells.base import Cell, Namespace, Shapes, Weights, gated
from charrnn.cells.registry import get, import_all, names, register, unregister

__all__ = ["Cell", "Namespace", "Shapes", "Weights", "gated", "get", "names", "register",
           "unregister"]  # fmt: skip

import_all()  # now, so that a program cannot take the name of one of these
