"""The definition of a cell: shapes, named state, and one time step for any array library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol, TypeAlias

from charrnn.settings import Option

MAX_WIDTH = 16_384  # of a layer, and of whatever else is as wide as one

# an array of the library whose namespace is passed in: NumPy's or torch's
Array: TypeAlias = Any
Shapes: TypeAlias = dict[str, tuple[int, ...]]
# a layer's parameters by name, as attributes: ``w.weight_hh``
Weights: TypeAlias = SimpleNamespace


class Namespace(Protocol):
    """Array functions that a step may call as ``xp.name``: the same in NumPy and in torch.

    Besides those below, ``xp`` offers every function that has the same name and meaning in NumPy
    and torch, such as ``exp``, ``where``, ``abs`` or ``concatenate``. Operators work as usual.
    """

    def linear(self, x: Array, weight: Array) -> Array:
        """``x (..., in)`` times ``weight (out, in)`` transposed: ``(..., out)``."""

    def split(self, x: Array, parts: int) -> list[Array]:
        """``x`` split into ``parts`` equal pieces along its last axis."""

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(-x))."""

    def tanh(self, x: Array) -> Array:
        """Hyperbolic tangent."""

    def relu(self, x: Array) -> Array:
        """max(x, 0)."""

    def softmax(self, x: Array) -> Array:
        """exp(x) along the last axis, divided by its sum."""

    def __getattr__(self, name: str) -> Any: ...


State: TypeAlias = tuple[Array, ...]  # the parts of a layer's state
States: TypeAlias = tuple[State, ...]  # those of all layers
Parameters: TypeAlias = Callable[[int, int], Shapes]
Step: TypeAlias = Callable[[Namespace, Array, State, Weights], tuple[Array, State]]


def gated(gates: int) -> Parameters:
    """Parameter shapes, with torch's names, of a cell with G ``gates`` that read input and state.

    ``weight_ih (G·H, in)``, ``weight_hh (G·H, H)``, ``bias_ih (G·H,)``, ``bias_hh (G·H,)``.
    """

    def parameters(inputs: int, hidden: int) -> Shapes:
        rows = gates * hidden
        return {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, hidden),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }

    return parameters


one_gate = gated(1)


def project_input(xp: Namespace, x: Array, w: Weights) -> Array:
    """The gates' input ``(..., G·H)`` from ``x (..., in)``: W_ih x + b_ih."""
    return xp.linear(x, w.weight_ih) + w.bias_ih


def hidden_state(hidden: int) -> dict[str, int]:
    """A state with one part, ``h``."""
    return {"h": hidden}


def hidden_width(hidden: int) -> int:
    """An output as wide as the hidden state."""
    return hidden


def as_drawn(xp: Namespace, name: str, drawn: Array) -> Array:
    """An initial value that is the random one."""
    return drawn


def as_stored(xp: Namespace, w: Weights) -> Weights:
    """Weights that steps read as they are stored."""
    return w


@dataclass(frozen=True)
class Cell:
    """A recurrent cell. B is the number of streams, ``in`` the input width, H the hidden size.

    Attributes:
        name: its name in ``--cell`` and in checkpoints. Fast paths list cells by this name.
        step: one time step ``(xp, z, state, w) -> (y, state)``. It must not change its arguments.
            ``z (B, ...)`` is the projected input, ``state`` the parts ``(B, width)`` in the order
            of ``state_widths``, ``y (B, output width)`` the output.
        parameters: maps ``(in, H)`` to the name and shape of each parameter, in the order in which
            they are stored. Parameters with two dimensions are weights, those with one are biases.
        prepare: ``(xp, w) -> w``, what steps read in place of the stored parameters. Training
            computes it once for every window, sampling once. Matrices are what products read;
            everything else is a vector or a number.
        project: ``(xp, x (..., in), w) -> z (..., ...)``, the part of the step that depends only on
            the input. Training computes it for a whole window at once; sampling computes it once
            for every character of the vocabulary in the first layer.
        state_widths: maps H to the name and width of each part of the state.
        output_width: maps H to the width of ``y``, which the next layer or the head reads.
        after_head: ``(xp, logits (B, V), states) -> states``, for a network that reads its own
            output: what becomes of the state of every layer after the head. None: nothing.
        cycles: the length of the cycle of each part of the state that counts time steps. Such a
            part holds whole numbers from 0 to the length − 1, the same number for all units.
        recurrent: names of the parameters that weight dropout applies to.
        drops_weights: whether a run may choose weight dropout where none is asked for. It makes the
            weights that it keeps larger, which a cell that carries its state unchanged cannot bear.
        aliases: further names, which mean the same cell everywhere.
        options: settings of this cell alone.
        configure: ``(V, **options) -> Cell``, this cell for a vocabulary of V symbols and other
            values of its options. None: it depends on neither.
        least_hidden: the smallest hidden size.
        initial: ``(xp, name, drawn) -> value``, the initial value of the parameter ``name`` for the
            random one, which is uniform within ±1/√H.
        unused: maps H to the number of a layer's weights that are always 0.
        gates: ``(xp, z, state, w) -> {name: value (B, H)}``, the values within 0 and 1 of the gates
            in a step, for pictures of them. None: it has none.
        bounded: whether the outputs and state parts that products read lie within ±1, so that
            engines with int8 weights may round them to fixed steps.

    """

    name: str
    step: Step
    parameters: Parameters = one_gate
    prepare: Callable[[Namespace, Weights], Weights] = as_stored
    project: Callable[[Namespace, Array, Weights], Array] = project_input
    state_widths: Callable[[int], dict[str, int]] = hidden_state
    output_width: Callable[[int], int] = hidden_width
    after_head: Callable[[Namespace, Array, States], States] | None = None
    cycles: Mapping[str, int] = field(default_factory=dict)
    recurrent: tuple[str, ...] = ("weight_hh",)
    drops_weights: bool = True
    aliases: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    configure: Callable[..., Cell] | None = None
    least_hidden: int = 1
    initial: Callable[[Namespace, str, Array], Array] = as_drawn
    unused: Callable[[int], int] = lambda hidden: 0
    gates: Callable[[Namespace, Array, State, Weights], dict[str, Array]] | None = None
    bounded: bool = False
