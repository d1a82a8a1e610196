"""Recurrent cells, one file each: everything that charrnn knows about a cell stands in its file.

To add a cell, put a file here that ends in ``register(Cell(...))``: ``--cell`` then offers it, and
training, resuming, sampling and scoring work with its readable ``step``. Fast paths (oneDNN and
cuDNN, our training kernels, the compiled sampling engine) are attached where they are written, by
the cell's name; what does not name a cell refuses it and leaves it to the readable step.

Imports the standard library alone: configuration files and shell completion ask for names and
shapes, and must not wait for NumPy or torch.
"""

from __future__ import annotations

from charrnn.cells.base import Cell, Namespace, Shapes, Weights, gated
from charrnn.cells.registry import get, names, register, unregister

__all__ = ["Cell", "Namespace", "Shapes", "Weights", "gated", "get", "names", "register",
           "unregister"]  # fmt: skip
