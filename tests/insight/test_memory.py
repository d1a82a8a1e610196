"""How a network keeps what it has read: gates, slow context, modules."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import CheckpointError
from charrnn.generation.numpy_engine import Engine
from charrnn.insight import traces, watching
from charrnn.insight.api import insight_page
from charrnn.insight.bptt import Network
from charrnn.insight.memory import memory
from charrnn.insight.traces import Trace, trace
from charrnn.insight.watching import saturation, watch
from charrnn.model_config import ModelConfig
from charrnn.textmodel import TextModel
from tests.insight.test_traces import network
from tests.support.networks import letters, random_weights
from tests.support.texts import in_words

TEXT = "abc def, ghi. " * 60


def ids(checkpoint: Checkpoint, text: str = TEXT) -> Any:
    return checkpoint.vocab.encode(text)


@pytest.mark.parametrize(("cell", "names"), [
    ("lstm", {"input": "i", "forget": "f", "output": "o"}), ("gru", {"reset": "r", "update": "u"}),
])  # fmt: skip
def test_gates_are_those_of_the_equations(cell: str, names: dict[str, str]) -> None:
    """As the derivatives by hand compute them, in float64."""
    checkpoint = network(cell, layers=1)
    read = ids(checkpoint)[:200]
    found = watch(checkpoint, trace(checkpoint, read))
    steps = Network(checkpoint.config, checkpoint.weights).forward([*read.tolist(), 0])
    assert found.gates.keys() == names.keys()
    for name, letter in names.items():
        wanted = np.array([getattr(step.values, letter) for step in steps])
        np.testing.assert_allclose(found.gates[name][:, 0], wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("cell", ["lstm", "gru", "scrn", "clockwork"])
@pytest.mark.parametrize("sums", [True, False])
def test_the_states_are_those_of_the_engine(cell: str, sums: bool) -> None:
    made = network(cell)
    checkpoint = dataclasses.replace(made, config=dataclasses.replace(made.config, sum_layers=sums))
    read = ids(checkpoint)[:50]
    found = watch(checkpoint, trace(checkpoint, read))
    engine = Engine(checkpoint.config, checkpoint.weights)
    engine.feed(read)
    for n, name in enumerate(checkpoint.config.state_widths):
        last = np.array([parts[n][0] for parts in engine.state])
        np.testing.assert_allclose(found.states[name][-1], last, rtol=1e-3, atol=1e-3)
    assert all(len(values) == 50 for values in (*found.states.values(), *found.gates.values()))


def test_a_gate_is_closed_or_open_for_a_part_of_the_time() -> None:
    gate = np.array([[[0.05, 0.5, 0.95]], [[0.05, 0.95, 0.95]], [[0.5, 0.05, 0.95]],
                     [[0.05, 0.5, 0.2]]], np.float16)  # fmt: skip
    closed, opened = saturation(gate)
    assert closed.tolist() == [[0.75, 0.25, 0.0]]
    assert opened.tolist() == [[0.0, 0.25, 0.75]]


def test_fewer_characters_of_a_large_network_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = network("lstm")
    read = ids(checkpoint)
    monkeypatch.setattr(traces, "STATE_VALUES", 10 * 2 * 2 * 16)
    assert len(watch(checkpoint, trace(checkpoint, read)).gates["input"]) == 10
    monkeypatch.setattr(traces, "STATE_VALUES", 1)
    assert len(watch(checkpoint, trace(checkpoint, read)).gates["input"]) == 2


def test_numbers_that_overflow_are_said() -> None:
    checkpoint = network("lstm")
    traced = trace(checkpoint, ids(checkpoint))
    checkpoint.weights["layers.0.weight_hh"][:] = np.nan
    with pytest.raises(CheckpointError, match="overflow"):
        watch(checkpoint, traced)


def test_each_record_begins_with_the_zero_state() -> None:
    checkpoint = network("lstm")
    read = ids(checkpoint)[:60]
    whole = trace(checkpoint, read, ((1, 21), (21, 60)))
    second = trace(checkpoint, read[20:], ((1, 40),))
    assert not whole.before["h"][20].any()
    for name, values in watch(checkpoint, whole).gates.items():
        wanted = watch(checkpoint, second).gates[name]
        np.testing.assert_allclose(values[20:], wanted, rtol=0, atol=1e-3)


def test_many_characters_at_once_are_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = network("gru")
    traced = trace(checkpoint, ids(checkpoint)[:50])
    whole = watch(checkpoint, traced)
    monkeypatch.setattr(watching, "CHUNK", 7)
    for name, values in watch(checkpoint, traced).gates.items():
        np.testing.assert_allclose(values, whole.gates[name], rtol=0, atol=1e-3)


def sections(checkpoint: Checkpoint, text: str = TEXT) -> str:
    read = ids(checkpoint, text)
    return "".join(memory(checkpoint, text, trace(checkpoint, read)))


def test_the_gates_of_each_layer_are_drawn() -> None:
    checkpoint = network("lstm")
    checkpoint.weights["layers.0.bias_ih"][16:32] = 40  # forget gates
    checkpoint.weights["layers.0.bias_ih"][:16] = -40  # input gates
    made = sections(checkpoint)
    assert made.count("<svg") == 3
    assert made.count("<circle") == 3 * 2 * 16
    assert "<td>1</td><td>forget</td><td>0.0%</td><td>100.0%</td>" in made
    assert "<td>1</td><td>input</td><td>100.0%</td><td>0.0%</td>" in made
    assert "forget gate: part of the time open" in made


def test_the_slow_context_is_drawn_and_what_it_follows() -> None:
    vocab = letters()
    sizes = {"vocab_size": len(vocab), "cell": "scrn", "context": 3, "layers": 1}
    config = ModelConfig.from_dict(sizes | {"embedding": 8, "hidden": 16})
    checkpoint = Checkpoint(config, vocab, random_weights(config))
    embedding, mixing = checkpoint.weights["embedding.weight"], "layers.0.weight_cx"
    embedding[:] = 0
    embedding[vocab.encode("x")[0], 0] = 1
    checkpoint.weights[mixing][:] = 0
    checkpoint.weights[mixing][1, 0] = 1  # the second slow unit counts the letter x
    made = sections(checkpoint, ("x" * 60 + "\n" + "." * 60 + "\n") * 20)
    assert made.startswith("<h2>Its slow context</h2>")
    assert made.count("<polyline") == 3
    assert ">layer 1, unit 2</text>" in made
    assert re.search(r"<td>how far into the word</td><td>layer 1, unit 2</td><td>r = 0.[5-9]", made)


def test_the_course_of_a_slow_unit_is_drawn_over_characters() -> None:
    vocab = in_words(TEXT)
    sizes = {"vocab_size": len(vocab), "cell": "scrn", "context": 3, "layers": 1}
    config = ModelConfig.from_dict(sizes | {"embedding": 8, "hidden": 16})
    checkpoint = Checkpoint(config, vocab, random_weights(config))
    read = ids(checkpoint)
    text = [list(vocab.symbols())[index] for index in read.tolist()]
    assert text[:4] == ["abc", " ", "def", ","]
    [line, *_] = re.findall(r'points="([^"]*)"', "".join(
        memory(checkpoint, text, trace(checkpoint, read))
    ))  # fmt: skip
    across = np.array([float(point.split(",")[0]) for point in line.split()])
    steps = np.diff(across)[:6] / np.diff(across)[0]
    assert steps == pytest.approx([1, 3, 1, 1, 3, 1], abs=0.2)  # after " ", "def", ",", " " …


def test_a_module_changes_at_its_updates_alone() -> None:
    checkpoint = network("clockwork")
    text = list(TEXT)
    units = np.zeros((len(text), 32), np.float16)
    units[:, 4:8] = (np.arange(len(text)) // 2 % 2)[:, None]  # the module of period 2
    made = memory(
        checkpoint, text, Trace(ids(checkpoint), np.zeros(len(text), np.float32), units, 16)
    )[-1]
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", made)]
    assert rows[0] == ["layer", "period", "units", "change per update", "follows"]
    assert [row[:4] for row in rows[1:5]] == [
        ["1", "1", "4", "0.00"], ["1", "2", "4", "1.00"], ["1", "4", "4", "0.00"],
        ["1", "8", "4", "0.00"],
    ]  # fmt: skip
    assert len(rows) == 9
    assert rows[1][4] == "none of the traits"


@pytest.mark.parametrize(("cell", "title"), [
    ("lstm", "How its gates stand"), ("gru", "How its gates stand"),
    ("scrn", "Its slow context"), ("clockwork", "Its modules"), ("elman", ""), ("jordan", ""),
])  # fmt: skip
def test_a_page_has_the_section_that_suits_its_cell(cell: str, title: str) -> None:
    made = insight_page(TextModel(network(cell)), TEXT)
    found = re.findall("<h2>(How its gates|Its slow|Its modules).*?</h2>", made)
    assert len(found) == bool(title)
    assert f"<h2>{title}" in made
