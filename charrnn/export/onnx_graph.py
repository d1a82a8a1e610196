"""ONNX nodes from a cell's own step: an array namespace that records what is done with arrays.

A step is written once, for the namespace that is passed in (``charrnn.cells.Namespace``). Given
``OnnxNamespace`` and a ``Value`` for each array, it computes nothing: each operation becomes a node
of the graph in the ``Recorder``. What has no counterpart here is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from charrnn.errors import CheckpointError

# a value of the graph, an array of weights or a number
Operand = Any

_OPERATORS = {"add": "Add", "sub": "Sub", "mul": "Mul", "truediv": "Div", "pow": "Pow"}
_COMPARISONS = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater",
                "ge": "GreaterOrEqual"}  # fmt: skip
_OF_ONE = {"neg": "Neg", "abs": "Abs", "invert": "Not"}
# functions of the same name and meaning in NumPy and torch that ONNX has, too
FUNCTIONS = {
    "abs": "Abs", "cos": "Cos", "exp": "Exp", "floor": "Floor", "ceil": "Ceil", "log": "Log",
    "logical_and": "And", "logical_not": "Not", "logical_or": "Or", "maximum": "Max",
    "minimum": "Min", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt",
    "tanh": "Tanh", "where": "Where",
}  # fmt: skip


class Recorder:
    """Collects the nodes and constants of a graph for a cell.

    Args:
        cell: the cell's name, for messages.
        names: pairs of an array and the name of the constant that it becomes. Other arrays, and
            numbers, get names of their own.

    Attributes:
        nodes: the nodes so far, in the order in which they are computed.
        constants: the constants so far, by name.

    """

    def __init__(self, cell: str, names: Sequence[tuple[NDArray[Any], str]] = ()) -> None:
        self.cell = cell
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._named = names  # which keeps the arrays alive, and so their ids
        self._names = {id(array): name for array, name in names}
        self._count = 0

    def add(self, operator: str, *inputs: Operand, into: str = "", **attributes: Any) -> Value:
        """The result of ``operator``, called ``into`` or by a new name."""
        [result] = self.add_many(operator, inputs, [into or self._new(operator)], **attributes)
        return result

    def add_many(
        self, operator: str, inputs: Sequence[Operand], into: Sequence[str], **attributes: Any
    ) -> list[Value]:
        """The results of ``operator``, called ``into``. An input that is None is omitted."""
        names = ["" if value is None else self._name(value) for value in inputs]
        node = helper.make_node(operator, names, list(into), self._new(operator), **attributes)
        self.nodes.append(node)
        return [Value(self, name) for name in into]

    def split(self, x: Operand, parts: int) -> list[Value]:
        """``x`` in ``parts`` equal pieces along its last axis."""
        return self.add_many("Split", [x], [self._new("Split") for _ in range(parts)], axis=-1)

    @contextmanager
    def inside(self) -> Iterator[list[NodeProto]]:
        """The nodes that are added in this block: those of an inner graph, not of this one."""
        outer, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outer

    def transposed(self, matrix: Operand) -> Value:
        """``matrix (rows, columns)`` as ``(columns, rows)``."""
        if isinstance(matrix, Value):
            return self.add("Transpose", matrix, perm=[1, 0])
        known = self._names.get(id(matrix), self._new("constant"))
        return self.constant(f"{known}.transposed", np.asarray(matrix, np.float32).T)

    def integers(self, *values: int) -> Value:
        """A constant of whole numbers: axes, sizes and the like."""
        name = "integers." + ".".join(map(str, values))
        return self.constant(name, np.array(values, np.int64))

    def constant(self, name: str, array: NDArray[Any]) -> Value:
        """``array`` under a name that belongs to it alone."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return Value(self, name)

    def refuse(self, needed: str) -> NoReturn:
        """Refuse the cell, whose step needs what this export lacks.

        Raises:
            CheckpointError: always.

        """
        raise CheckpointError(self._refusal(f"it needs {needed}"))

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse a cell that takes a ``Value`` in this block for something that it is not.

        Raises:
            CheckpointError: it does.

        """
        try:
            yield
        except TypeError as error:
            raise CheckpointError(self._refusal(str(error))) from error

    def _refusal(self, reason: str) -> str:
        return f"the step of the cell {self.cell} cannot be written as ONNX: {reason}"

    def _name(self, value: Operand) -> str:
        """The name of a value, or of the constant that a number or an array becomes."""
        if isinstance(value, Value):
            return value.name
        array = np.asarray(value)
        if array.dtype != np.bool_:
            array = array.astype(np.float32)
        if isinstance(value, np.ndarray):
            name = self._names.get(id(value)) or self._new("constant")
        else:  # equal numbers are one constant
            name = f"number.{array.item()}"
        return self.constant(name, array).name

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}.{self._count}"


class Value:
    """An array that will be there when the graph is run. Operators add nodes to the graph."""

    __array_ufunc__ = None  # NumPy's arrays leave operators to this class

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.recorder, self.name = recorder, name

    def __getitem__(self, key: Any) -> Value:
        """``x[..., a:b]``: columns of the last axis, whatever axes there are before it."""
        match key:
            case (e, slice(start=start, stop=stop, step=None | 1)) if e is Ellipsis:
                integers = self.recorder.integers
                end = np.iinfo(np.int64).max if stop is None else stop
                begin, last = integers(start or 0), integers(-1)
                return self.recorder.add("Slice", self, begin, integers(int(end)), last)
        self.recorder.refuse("another index than [..., a:b]")

    def __ne__(self, other: Operand) -> Value:  # type: ignore[override]
        return self.recorder.add("Not", self.recorder.add("Equal", self, other))

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        self.recorder.refuse("to know a value before it decides")

    def __getattr__(self, name: str) -> NoReturn:
        self.recorder.refuse(f".{name} of an array")


def _binary(operator: str) -> Callable[[Value, Operand], Value]:
    return lambda self, other: self.recorder.add(operator, self, other)


def _swapped(operator: str) -> Callable[[Value, Operand], Value]:
    return lambda self, other: self.recorder.add(operator, other, self)


def _unary(operator: str) -> Callable[[Value], Value]:
    return lambda self: self.recorder.add(operator, self)


for _name, _operator in (_OPERATORS | _COMPARISONS).items():
    setattr(Value, f"__{_name}__", _binary(_operator))
for _name, _operator in _OPERATORS.items():
    setattr(Value, f"__r{_name}__", _swapped(_operator))
for _name, _operator in _OF_ONE.items():
    setattr(Value, f"__{_name}__", _unary(_operator))


class OnnxNamespace:
    """The array functions of a cell's step (``charrnn.cells.Namespace``) as nodes of a graph."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def linear(self, x: Operand, weight: Operand) -> Value:
        """``x (..., in)`` times ``weight (out, in)`` transposed: ``(..., out)``."""
        return self.recorder.add("MatMul", x, self.recorder.transposed(weight))

    def split(self, x: Operand, parts: int) -> list[Value]:
        """``x`` in ``parts`` equal pieces along its last axis."""
        return self.recorder.split(x, parts)

    def relu(self, x: Operand) -> Value:
        """max(x, 0)."""
        return self.recorder.add("Relu", x)

    def softmax(self, x: Operand) -> Value:
        """exp(x) along the last axis, divided by its sum."""
        return self.recorder.add("Softmax", x, axis=-1)

    def concatenate(self, arrays: Sequence[Operand], axis: int) -> Value:
        """``arrays`` one after the other along ``axis``."""
        return self.recorder.add("Concat", *arrays, axis=axis)

    def zeros_like(self, x: Operand) -> Value:
        """As many zeros as ``x`` has elements."""
        return self.recorder.add("ConstantOfShape", self.recorder.add("Shape", x))

    def ones_like(self, x: Operand) -> Value:
        """As many ones as ``x`` has elements."""
        one = numpy_helper.from_array(np.ones(1, np.float32))
        return self.recorder.add("ConstantOfShape", self.recorder.add("Shape", x), value=one)

    def __getattr__(self, name: str) -> Callable[..., Value]:
        if name not in FUNCTIONS:
            self.recorder.refuse(f"{name}, which this export does not know")

        def function(*arrays: Operand) -> Value:
            return self.recorder.add(FUNCTIONS[name], *arrays)

        return function
