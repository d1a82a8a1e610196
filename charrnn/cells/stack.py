"""One time step of a whole stack of layers, for any array library."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from charrnn.cells.base import Array, Cell, Namespace, State, States, Weights


def unchanged(layer: int, y: Array) -> Array:
    """A layer's output ``y`` as it is."""
    return y


def step_layers(
    xp: Namespace,
    cell: Cell,
    z: Array,
    states: States,
    layers: Sequence[Weights],
    *,
    sum_layers: bool,
    between: Callable[[int, Array], Array] = unchanged,
) -> tuple[Array, States]:
    """One step of all layers, from the first one's projected input to what the head reads.

    Args:
        xp: NumPy's or torch's functions.
        cell: the cell of every layer.
        z: the first layer's projected input ``(B, ...)``.
        states: the parts ``(B, width)`` of each layer's state.
        layers: each layer's prepared weights.
        sum_layers: whether the head reads the sum of all outputs, or only the last.
        between: ``(layer, y) -> y``, what becomes of a layer's output before others read it.

    Returns:
        The head's input ``(B, features)``, and the state after the step.

    """
    y, features, after = z, None, list[State]()
    for index, (w, before) in enumerate(zip(layers, states, strict=True)):
        y, parts = cell.step(xp, z if index == 0 else cell.project(xp, y, w), before, w)
        y = between(index, y)
        features = y if features is None or not sum_layers else features + y
        after.append(parts)
    return features, tuple(after)
