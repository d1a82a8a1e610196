"""Networks as ONNX models: the logits and states of our engine, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn import cells
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.errors import CheckpointError
from charrnn.generation.numpy_engine import Engine, NumpyNamespace
from tests.support.checkpoints import ROOT, charrnn, tiny
from tests.support.networks import CELLS, letters, model, random_weights

pytest.importorskip("onnx", reason="onnx is not installed")

import onnx

from charrnn.export import onnx_model as exporter
from charrnn.export.onnx_graph import FUNCTIONS, OnnxNamespace, Recorder, Value
from tests.support.onnx_session import InferenceSession

Array = NDArray[Any]
V, B = len(letters()), 3


def exported(checkpoint: Checkpoint) -> bytes:
    return b"".join(exporter.onnx_model(checkpoint))


def small(which: str = "lstm", **sizes: Any) -> Checkpoint:
    config = model(which, V, **({"embedding": 7, "hidden": 12, "layers": 2} | sizes))
    return Checkpoint(config, letters(), random_weights(config))


def assert_same(checkpoint: Checkpoint) -> None:
    """The model in three windows against the engine in single steps, B texts side by side."""
    session = InferenceSession(exported(checkpoint))
    engine = Engine(checkpoint.config, checkpoint.weights, B)
    ids = np.random.default_rng(1).integers(0, V, (B, 12))
    state = session.zero_state(B)
    for window in (ids[:, :5], ids[:, 5:6], ids[:, 6:]):
        logits, state = session.read(window, state)
        steps = np.stack([engine.step(column).copy() for column in window.T], axis=1)
        np.testing.assert_allclose(logits, steps, rtol=0, atol=1e-4)
    ours = [part for layer in engine.state for part in layer]
    for part, wanted in zip(state.values(), ours, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_logits_and_states_are_those_of_our_engine(cell: str, layers: int) -> None:
    assert_same(small(cell, layers=layers, sum_layers=layers == 3))


def test_inputs_and_outputs_have_names_and_shapes() -> None:
    session = InferenceSession(exported(small("lstm", hidden=12, layers=2)))
    states = [f"{layer}.{part}" for layer in (0, 1) for part in "hc"]
    found = {value.name: (value.shape, value.type) for value in session.get_inputs()}
    assert found == {"ids": (["B", "T"], np.int64)} | {
        f"past.{name}": (["B", 12], np.float32) for name in states
    }
    found = {value.name: (value.shape, value.type) for value in session.get_outputs()}
    assert found == {"logits": (["B", "T", V], np.float32)} | {
        f"present.{name}": (["B", 12], np.float32) for name in states
    }


@pytest.mark.parametrize("cell", ["gru", "scrn, learned"])
def test_equal_checkpoints_give_equal_files(cell: str) -> None:
    checkpoint = small(cell)
    checkpoint.save("one.safetensors")
    again = load(Path("one.safetensors"))
    assert exported(checkpoint) == exported(checkpoint) == exported(again)


def test_weights_in_int8_become_the_numbers_that_they_stand_for() -> None:
    small().save("int8.safetensors", weight_dtype="int8")
    assert_same(load(Path("int8.safetensors")))


def test_a_network_that_reads_from_right_to_left_says_so() -> None:
    checkpoint = small("gru", reverse=True)
    assert_same(checkpoint)  # ids in the order in which the network reads them
    properties = InferenceSession(exported(checkpoint)).get_modelmeta().custom_metadata_map
    assert json.loads(properties["charrnn_export"])["reads"] == "from right to left"


@pytest.fixture
def registered() -> Iterator[Callable[[cells.base.Step], Checkpoint]]:
    """``network(step)``: one with a new cell, which is forgotten after the test."""

    def network(step: cells.base.Step) -> Checkpoint:
        cells.register(cells.Cell("new", step))
        config = model("elman", V, embedding=7, hidden=12, layers=2)
        config = replace(config, cell="new")
        return Checkpoint(config, letters(), random_weights(config))

    yield network
    cells.unregister("new")


def test_a_cell_that_a_program_registers_is_exported(
    registered: Callable[[cells.base.Step], Checkpoint],
) -> None:
    def step(xp: Any, z: Any, state: Any, w: Any) -> Any:
        (h,) = state
        a = z + xp.linear(h, w.weight_hh) + w.bias_hh
        left, right = xp.split(a / (1 + abs(a)), 2)
        mixed = xp.concatenate((right, xp.where(left > 0.1, left**2, 0.5 - left)), -1)
        h = xp.maximum(mixed[..., 1:-1], 0.125)  # of ten units
        h = xp.concatenate((xp.zeros_like(a[..., :1]), h, xp.ones_like(a[..., -1:])), -1)
        return h, (h,)

    assert_same(registered(step))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda xp, h: xp.cumsum(h, -1), "it needs cumsum, which this export does not know"),
        (lambda xp, h: np.cumsum(h, -1), "it needs .cumsum of an array"),
        (lambda xp, h: h if h.sum() > 0 else -h, "it needs .sum of an array"),
        (lambda xp, h: h if h == h else -h, "it needs to know a value before it decides"),
        (lambda xp, h: h[0], "it needs another index than [..., a:b]"),
        (lambda xp, h: h[..., ::2], "it needs another index than [..., a:b]"),
        (lambda xp, h: sum(h), "it needs another index than [..., a:b]"),
        (lambda xp, h: h / len(h), "object of type 'Value' has no len()"),
        (lambda xp, h: math.tanh(h), "must be real number, not Value"),
    ],
)
def test_a_step_that_cannot_be_recorded_is_refused(
    what: Callable[[Any, Any], Any],
    said: str,
    registered: Callable[[cells.base.Step], Checkpoint],
) -> None:
    checkpoint = registered(lambda xp, z, state, w: (z, (what(xp, state[0]),)))
    with pytest.raises(CheckpointError) as refused:
        exported(checkpoint)
    assert str(refused.value) == f"the step of the cell new cannot be written as ONNX: {said}"


def evaluated(record: Callable[[Any, Any, Any], Any], x: Array, y: Array) -> Array:
    """What ``record(xp, x, y)`` adds to a graph, computed for ``x`` and ``y``."""
    recorder = Recorder("none")
    record(OnnxNamespace(recorder), Value(recorder, "x"), Value(recorder, "y"))
    recorder.nodes[-1].output[0] = "result"
    kind = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
    *given, result = (
        onnx.helper.make_tensor_value_info(name, kind, None) for name in ("x", "y", "result")
    )
    graph = onnx.helper.make_graph(
        recorder.nodes, "graph", given, [result], list(recorder.constants.values())
    )
    opset = [onnx.helper.make_opsetid("", exporter.OPSET)]
    made = onnx.helper.make_model(graph, opset_imports=opset, ir_version=exporter.IR_VERSION)
    [found] = onnx.reference.ReferenceEvaluator(made).run(None, {"x": x, "y": y})
    return np.asarray(found)


ARITY = {"logical_and": 2, "logical_or": 2, "maximum": 2, "minimum": 2, "where": 3}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_means_what_numpy_means(name: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0.1, 3, (2, B, 4)).astype(np.float32)
    if name.startswith("logical"):
        x, y = x > 1, y > 1

    def call(xp: Any, x: Any, y: Any) -> Any:
        given = {1: (x,), 2: (x, y), 3: (x > y, x, y)}[ARITY.get(name, 1)]
        return getattr(xp, name)(*given)

    wanted = call(NumpyNamespace(batched=True), x, y)
    np.testing.assert_allclose(evaluated(call, x, y), wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x, y: x + y, lambda x, y: 1 + x, lambda x, y: x - 2.5, lambda x, y: 2 - x,
        lambda x, y: x * y, lambda x, y: np.float32(3) * x, lambda x, y: x / y,
        lambda x, y: np.arange(4, dtype=np.float32) / x, lambda x, y: np.arange(4.0) - x,
        lambda x, y: x**2, lambda x, y: 2**x, lambda x, y: -x, lambda x, y: abs(x - y),
        lambda x, y: 1 * (x - x[..., :1]), lambda x, y: x[..., 1:3] + y[..., -2:],
    ],
)  # fmt: skip
def test_an_operator_means_what_numpy_means(operation: Callable[[Any, Any], Any]) -> None:
    x, y = np.random.default_rng(1).uniform(0.1, 3, (2, B, 4)).astype(np.float32)
    found = evaluated(lambda xp, x, y: operation(x, y), x, y)
    np.testing.assert_allclose(found, operation(x, y), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "compare",
    [
        lambda x, y: x < y, lambda x, y: x <= y, lambda x, y: x > 1, lambda x, y: x >= 1,
        lambda x, y: x == y, lambda x, y: x != y, lambda x, y: ~(x < y),
    ],
)  # fmt: skip
def test_a_comparison_means_what_numpy_means(compare: Callable[[Any, Any], Any]) -> None:
    x, y = np.random.default_rng(1).integers(0, 3, (2, B, 4)).astype(np.float32)

    def chosen(xp: Any, x: Any, y: Any) -> Any:
        return xp.where(compare(x, y), x + 10, y)

    assert (evaluated(chosen, x, y) == chosen(np, x, y)).all()


def test_what_an_onnx_file_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="reads both sides of a character"):
        exported(small("gru", bidirectional=True))
    monkeypatch.setattr(exporter, "MAX_BYTES", 1000)
    with pytest.raises(CheckpointError, match="bytes, and an ONNX file holds at most 1,000"):
        exported(small())


def test_without_onnx_it_says_what_to_install() -> None:
    tiny().save("novel.safetensors")
    Path("fake").mkdir()
    Path("fake/onnx.py").write_text("raise ModuleNotFoundError('no', name='onnx')")
    path = f"{Path('fake').absolute()}:{ROOT}"
    done = charrnn("export", "novel.safetensors", "novel.onnx", PYTHONPATH=path)
    said = "charrnn: this needs onnx, which is not installed: pip install 'charrnn-cli[onnx]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", said.encode())
    assert not Path("novel.onnx").exists()
