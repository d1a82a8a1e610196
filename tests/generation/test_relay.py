"""Samples side by side: the same texts whoever draws them when, and little drawn in vain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.generation import generator, relay
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.generator import Generator
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.sample_config import SampleConfig
from tests.support.networks import letters, random_weights

VOCAB = letters("\nabcdefg")


def opened(accelerate: bool, cell: str = "lstm", **formats: Any) -> AnyEngine:
    config = ModelConfig(len(VOCAB), cell=cell, embedding=8, hidden=16, layers=2)
    return open_engine(config, random_weights(config), accelerate=accelerate, **formats)


ENGINES: dict[str, Callable[[], AnyEngine]] = {
    "NumPy": lambda: opened(False),
    "compiled": lambda: opened(True),
    "int8 states": lambda: opened(True, weight_dtype="int8", state_dtype="int8"),
    "gru": lambda: opened(True, "gru", weight_dtype="int8"),
}


@pytest.fixture(scope="module", params=[*ENGINES])
def engine(request: pytest.FixtureRequest) -> AnyEngine:
    return ENGINES[request.param]()


def drawn(engine: AnyEngine, limits: list[int] | None = None, **how: Any) -> tuple[list[str], int]:
    """The lines of a seed, and how many were cut; the consumer asks for ``limits`` at once."""
    made = Generator(VOCAB, engine, SampleConfig(**how), prime="ab", lines=True)
    found, samples = list[str](), made.samples()
    while True:
        if limits:
            made.limit = len(found) + limits[len(found) % len(limits)]
        if (ids := next(samples, None)) is None:
            return found, made.cut
        found.append(VOCAB.decode(ids))


@pytest.mark.parametrize("how", [{}, {"stop": ("ab", "cdc")}, {"stop": ("ba",), "keep_stop": True}])
@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 30), st.lists(st.integers(1, 20), max_size=4),
    st.integers(1, 40),
)  # fmt: skip
def test_lines_are_the_same_however_they_are_drawn(
    engine: AnyEngine,
    how: dict[str, Any],
    group: int,
    ahead: int,
    limits: list[int],
    count: int,
) -> None:
    wanted, _ = drawn(engine, count=40, length=30, seed=7, **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay, "GROUP", group)
        patch.setattr(generator, "AHEAD", ahead)
        found, cut = drawn(engine, limits, count=count, length=30, seed=7, **how)
    assert found == wanted[:count]
    if not how:
        assert cut == sum(len(text) == 30 for text in found)


def test_a_stream_takes_up_the_next_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is drawn, little comes after the end of a line."""
    engine, steps, generate = opened(False), list[int](), Engine.generate

    def counting(self: Engine, ids: Any, uniforms: Any, *rest: Any) -> Any:
        steps.append(uniforms.size)
        return generate(self, ids, uniforms, *rest)

    monkeypatch.setattr(Engine, "generate", counting)
    monkeypatch.setattr(relay, "GROUP", 16)
    lines, _ = drawn(engine, count=400, length=1000, seed=1)
    used = sum(len(line) + 1 for line in lines)
    assert len({len(line) for line in lines}) > 20  # they end at different times
    assert sum(steps) < 1.5 * used


def test_samples_begin_together_where_filters_look_at_the_texts(engine: AnyEngine) -> None:
    """Their context has a row for each stream, from the first character on."""
    how: dict[str, Any] = {"length": 30, "seed": 3, "no_repeat": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay, "GROUP", 4)
        found, _ = drawn(engine, count=11, **how)
    assert found == drawn(engine, count=11, **how)[0]
    cooling: dict[str, Any] = {"length": 30, "seed": 3, "final_temperature": 0.2}
    assert drawn(engine, count=9, **cooling)[0][:2] == drawn(engine, count=2, **cooling)[0]


@pytest.mark.parametrize("kind", [*ENGINES])
def test_streams_begin_where_another_is(kind: str) -> None:
    one = ENGINES[kind]()
    one.feed(np.array([1, 2, 3]))
    many = one.sibling(5)
    many.feed(np.array([4, 4]))
    before = many.state
    many.begin(np.array([1, 3]), one.state)
    for old, new, single in zip(before, many.state, one.state, strict=True):
        for was, part, value in zip(old, new, single, strict=True):
            assert np.array_equal(part[[1, 3]], np.repeat(value, 2, axis=0))
            assert np.array_equal(part[[0, 2, 4]], was[[0, 2, 4]])
    wanted = np.array(one.step(np.array([5]))[0])
    found = np.array(many.step(np.full(5, 5)))
    assert np.array_equal(found[1], wanted)
    assert np.array_equal(found[3], wanted)
    assert not np.array_equal(found[0], wanted)
