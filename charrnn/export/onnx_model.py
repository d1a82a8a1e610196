"""A network as an ONNX model, which reads a window of ids and returns logits and the state.

Cells that ONNX has an operator for become that operator, layer by layer; of every other cell, the
readable step becomes the body of a ``Scan`` over time (``onnx_graph``). Operators are those of
https://onnx.ai/onnx/operators/ in opset 17, which runtimes of the last years know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

import charrnn
from charrnn.cells import step_layers
from charrnn.checkpoint.file import Checkpoint
from charrnn.checkpoint.header import EXPORTED
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, counted
from charrnn.export.description import description
from charrnn.export.onnx_graph import OnnxNamespace, Recorder, Value
from charrnn.generation.numpy_engine import Array, NumpyNamespace, float32, layer_weights

OPSET, IR_VERSION = 17, 8
PAST, PRESENT = "past", "present"  # what the names of the state's parts begin with
MAX_BYTES = 2**31 - (8 << 20)  # protobuf's limit, less what else is in the file
# cells that ONNX has an operator for: which, its order of our gates, and its attributes
OPERATORS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),  # i, o, f, c; ours are i, f, g, o
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # z, r, h; ours are r, u, n
    "elman": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn-relu": ("RNN", (0,), {"activations": ["Relu"]}),
    "irnn": ("RNN", (0,), {"activations": ["Relu"]}),
}
ABOUT = (
    "ids (B, T) are read in order, from the state in past.LAYER.PART (B, width); zeros before a "
    "text. logits (B, T, V) are those of the symbol after each; present.LAYER.PART is the state "
    f"to go on with. The metadata property {EXPORTED} has the symbols in JSON."
)


def onnx_model(checkpoint: Checkpoint) -> Iterator[bytes]:
    """The ONNX file of a network; equal checkpoints give equal files.

    Its inputs are ``ids (B, T)`` in int64 and ``past.LAYER.PART (B, width)`` for each part of each
    layer's state, which is 0 before a text; its outputs are ``logits (B, T, V)`` and the state
    after the window, ``present.LAYER.PART``. B and T are those of the input. The metadata property
    ``charrnn_export`` is what ``description`` returns.

    Raises:
        CheckpointError: the network is bidirectional or too large for such a file, or its cell has
            no operator and its step uses a function that has no counterpart in ONNX.
        ModuleNotFoundError: the package onnx is not installed.

    """
    config = checkpoint.config
    config.check_causal("be run as an ONNX model")
    size = 4 * sum(math.prod(shape) for shape in config.shapes().values())
    if size > MAX_BYTES:
        most = f"an ONNX file holds at most {MAX_BYTES:,}"
        raise CheckpointError(f"the weights have {counted(size, 'byte')}, and {most}")
    yield _model(checkpoint).SerializeToString(deterministic=True)


def _model(checkpoint: Checkpoint) -> ModelProto:
    network = _Network.of(checkpoint)
    config, recorder = network.config, network.recorder
    network.record()
    graph = helper.make_graph(
        recorder.nodes,
        "charrnn",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "T"]), *network.infos(PAST)],
        [_float("logits", "B", "T", config.vocab_size), *network.infos(PRESENT)],
        list(recorder.constants.values()),
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charrnn",
        producer_version=charrnn.__version__,
        doc_string=ABOUT,
    )
    helper.set_model_props(model, {EXPORTED: description(checkpoint)})
    return model


@dataclass(frozen=True)
class _Network:
    """A network that is being recorded: its weights in float32, and what records them."""

    config: ModelConfig
    layers: list[SimpleNamespace]
    embedding: Array
    head: Array
    bias: Array
    recorder: Recorder

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> _Network:
        """The network of ``checkpoint``, of which nothing is recorded yet."""
        config, weights = checkpoint.config, checkpoint.weights
        cell, xp = config.definition, NumpyNamespace()
        layers = [
            cell.prepare(xp, SimpleNamespace(**layer_weights(config, weights, layer)))
            for layer in range(config.layers)
        ]
        names = ("embedding.weight", "head.weight", "head.bias")
        embedding, head, bias = (float32(weights[name]) for name in names)
        named = list(zip((embedding, head, bias), names, strict=True))
        for index, layer in enumerate(layers):
            arrays = (
                (n, value) for n, value in vars(layer).items() if isinstance(value, np.ndarray)
            )
            named += [(value, f"layers.{index}.{name}") for name, value in arrays]
        return cls(config, layers, embedding, head, bias, Recorder(cell.name, named))

    def record(self) -> None:
        """Record all nodes, from ``ids (B, T)`` to ``logits (B, T, V)`` and the state."""
        add = self.recorder.add
        cell = self.config.definition
        ids = add("Transpose", Value(self.recorder, "ids"), perm=[1, 0])  # (T, B)
        x = add("Gather", self.embedding, ids)  # (T, B, E)
        y = self._by_operators(x) if cell.name in OPERATORS else self._by_steps(x)
        if cell.after_head is None:
            y = self._logits(y)
        add("Transpose", y, perm=[1, 0, 2], into="logits")

    def infos(self, prefix: str) -> list[ValueInfoProto]:
        """Name and shape ``(B, width)`` of the parts of every layer's state."""
        widths = self.config.state_widths.values()
        names = [name for layer in self._names(prefix) for name in layer]
        return [_float(name, "B", width) for name, width in zip(names, cycle(widths), strict=False)]

    def _names(self, prefix: str) -> list[list[str]]:
        """``prefix.LAYER.PART`` for each layer and each part of its state."""
        parts, layers = self.config.state_widths, range(self.config.layers)
        return [[f"{prefix}.{layer}.{part}" for part in parts] for layer in layers]

    def _logits(self, features: Any) -> Value:
        """The head: logits ``(..., V)`` from ``features (..., F)``."""
        product: Any = OnnxNamespace(self.recorder).linear(features, self.head)
        logits: Value = product + self.bias
        return logits

    def _by_operators(self, x: Value) -> Value:
        """The head's input ``(T, B, H)`` from ``x (T, B, E)``, by ONNX's operator for the cell."""
        add, integers, total = self.recorder.add, self.recorder.integers, None
        operator, _, attributes = OPERATORS[self.config.definition.name]
        names = zip(self._names(PAST), self._names(PRESENT), strict=True)
        for layer, (past, present) in enumerate(names):
            # ONNX has an axis for directions, which is 1 long
            before = [add("Unsqueeze", Value(self.recorder, n), integers(0)) for n in past]
            y, *after = self.recorder.add_many(
                operator,
                [x, *self._stacked(layer), None, *before],
                [f"outputs.{layer}", *(f"last.{name}" for name in past)],
                hidden_size=self.config.hidden,
                **attributes,
            )
            for part, name in zip(after, present, strict=True):
                add("Squeeze", part, integers(0), into=name)
            x = add("Squeeze", y, integers(1))
            total = x if total is None or not self.config.sum_layers else add("Add", total, x)
        assert total is not None
        return total

    def _stacked(self, layer: int) -> Iterator[Value]:
        """The weights of a layer as operators take them: W, R, and both biases side by side."""
        _, order, _ = OPERATORS[self.config.definition.name]
        w, H = self.layers[layer], self.config.hidden

        def rows(stacked: Array) -> Array:  # (G·H, ...), with its gates in ONNX's order
            gates: Array = stacked.reshape(len(order), H, *stacked.shape[1:])[list(order)]
            return gates.reshape(1, *stacked.shape)

        for name in ("weight_ih", "weight_hh"):
            yield self.recorder.constant(f"layers.{layer}.{name}", rows(getattr(w, name)))
        biases = np.concatenate((rows(w.bias_ih), rows(w.bias_hh)), axis=1)
        yield self.recorder.constant(f"layers.{layer}.biases", biases)

    def _by_steps(self, x: Value) -> Value:
        """The head's input ``(T, B, F)`` from ``x (T, B, E)``, by the cell's own step in a Scan.

        If the state comes from the head, the head is part of a step: the result is the logits.
        """
        recorder, config, cell = self.recorder, self.config, self.config.definition
        xp: Any = OnnxNamespace(recorder)
        with recorder.refusing():
            z = cell.project(xp, x, self.layers[0])
        with recorder.inside() as nodes, recorder.refusing():
            before = tuple(tuple(Value(recorder, n) for n in ns) for ns in self._names("before"))
            y, after = step_layers(
                xp, cell, Value(recorder, "z"), before, self.layers, sum_layers=config.sum_layers
            )
            if cell.after_head is not None:
                y = self._logits(y)
                after = cell.after_head(xp, y, after)
            recorder.add("Identity", y, into="y")  # every output of a graph has its own name
            for parts, names in zip(after, self._names("after"), strict=True):
                for part, name in zip(parts, names, strict=True):
                    recorder.add("Identity", part, into=name)
        body = helper.make_graph(
            nodes,
            "step",
            [*self.infos("before"), _float("z", "B", None)],
            [*self.infos("after"), _float("y", "B", None)],
        )
        past, present = (
            [name for layer in self._names(prefix) for name in layer] for prefix in (PAST, PRESENT)
        )
        inputs = [*(Value(recorder, name) for name in past), z]
        *_, outputs = recorder.add_many(
            "Scan", inputs, [*present, "outputs"], body=body, num_scan_inputs=1
        )
        return outputs


def _float(name: str, *shape: int | str | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
