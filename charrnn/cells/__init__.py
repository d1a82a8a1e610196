"""Recurrent cells: one file per cell, with everything that charrnn knows about it.

To add a cell, put a file here that ends in ``register(Cell(...))``: ``--cell`` then offers it, and
training, resuming, sampling and scoring work with its readable ``step``. Each fast path (oneDNN and
cuDNN, our training kernels, the compiled sampling engine) lists the cells that it supports by name;
every other cell runs its readable step.

A cell may have settings of its own (``options``), which ``ModelConfig``, the command line and
checkpoints then know.

Imports no other part of charrnn than ``settings``, which needs the standard library alone:
configuration and shell completion ask for names and shapes, and must not wait for NumPy or torch.
"""

from __future__ import annotations

from charrnn.cells.base import Cell, Namespace, Shapes, State, States, Weights, gated
from charrnn.cells.registry import (
    configured,
    get,
    import_all,
    names,
    options,
    owners,
    register,
    reserve,
    unregister,
)
from charrnn.cells.stack import step_layers

__all__ = ["Cell", "Namespace", "Shapes", "State", "States", "Weights", "configured", "gated",
           "get", "names", "options", "owners", "register", "reserve", "step_layers",
           "unregister"]  # fmt: skip

import_all()  # now, so that a program cannot take the name of one of these
