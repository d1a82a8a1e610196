"""ONNX models by the reference implementation, which looks like onnxruntime from outside."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_rnn import RNN_14

Array = NDArray[Any]


class RNN(RNN_14):
    """The operator with the activation that the reference implementation lacks."""

    def choose_act(self, name: str, alpha: float | None, beta: float | None) -> Any:
        if name == "Relu":
            return lambda x: np.maximum(x, 0)
        return super().choose_act(name, alpha, beta)  # type: ignore[no-untyped-call]


class InferenceSession:
    """A model in a file, or its bytes; what it has of onnxruntime's class means the same."""

    def __init__(self, model: str | bytes) -> None:
        self.model = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
        onnx.checker.check_model(self.model, full_check=True)
        self._evaluator = ReferenceEvaluator(self.model, new_ops=[RNN])

    def get_inputs(self) -> list[SimpleNamespace]:
        return [_described(value) for value in self.model.graph.input]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [_described(value) for value in self.model.graph.output]

    def get_modelmeta(self) -> SimpleNamespace:
        properties = {each.key: each.value for each in self.model.metadata_props}
        return SimpleNamespace(custom_metadata_map=properties)

    def run(self, names: Sequence[str] | None, feeds: dict[str, Array]) -> list[Array]:
        for value in self.get_inputs():
            assert feeds[value.name].dtype == value.type
        found: list[Array] = self._evaluator.run(names, feeds)  # type: ignore[assignment]
        return found

    def zero_state(self, B: int) -> dict[str, Array]:
        """The state before a text: zeros for each input but ids."""
        return {i.name: np.zeros((B, i.shape[1]), i.type) for i in self.get_inputs()[1:]}

    def read(self, ids: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Logits ``(B, T, V)`` of ``ids (B, T)``, and the state after them by the inputs' names."""
        logits, *after = self.run(None, {"ids": ids, **state})
        return logits, dict(zip(state, after, strict=True))


def _described(value: onnx.ValueInfoProto) -> SimpleNamespace:
    of = value.type.tensor_type
    shape = [dim.dim_param or dim.dim_value for dim in of.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(of.elem_type)
    return SimpleNamespace(name=value.name, shape=shape, type=dtype)
