"""Threads that help with a step, or fail to: the numbers stay the same to the last bit."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="numba is not installed")

from charrnn.config import ModelConfig
from charrnn.generation.compiled import engine as compiled
from charrnn.generation.compiled import layout, machine_code, teamwork
from charrnn.generation.compiled.engine import CompiledEngine
from charrnn.generation.compiled.layout import HELPER_FIELDS, LEFT, STAGE_FIELDS
from charrnn.generation.factory import cpus
from charrnn.generation.sample_config import SampleConfig
from tests.support.networks import random_weights


def config_of(cell: str) -> ModelConfig:
    return ModelConfig(31, cell=cell, embedding=24, hidden=256, layers=3, sum_layers=True)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Compiled code whose caller never waits, and counts on those who were late at once again."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled, "THREAD_BYTES", 0)
    for name in ("GRACE_US", "SHORTEST_REST_US", "LONGEST_REST_US"):
        monkeypatch.setattr(teamwork, name, -1_000_000)
    machine_code.load.cache_clear()
    yield
    machine_code.load.cache_clear()


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("form", ["float32", "int8"])
@pytest.mark.parametrize(("cell", "at_once"), [("lstm", 256), ("lstm", 15), ("gru", 15)])
def test_late_helpers_change_nothing(
    cell: str, at_once: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More threads than processors: most are late, and write when the caller has gone on."""
    for name in ("MOST_STREAMS", "INTEGER_STREAMS"):
        monkeypatch.setattr(layout, name, at_once)
    config, how, rng = config_of(cell), SampleConfig(), np.random.default_rng(5)
    crowd = CompiledEngine(
        config, random_weights(config), 40, weight_dtype=form, threads=cpus() + 3
    )
    alone = CompiledEngine(config, crowd.packed, 40)
    slots = [crowd._plan[compiled._slot_index(layer, 0)] for layer in range(3)]
    ids, began, rounds, moved = np.zeros(40, np.intp), time.monotonic(), 0, False
    while rounds < 40 or not moved:
        uniforms = rng.random((16, 40))
        drawn = crowd.generate(ids, uniforms, how)
        assert np.array_equal(drawn, alone.generate(ids, uniforms, how))
        ids, rounds = drawn[-1].astype(np.intp), rounds + 1
        moved |= slots != [crowd._plan[compiled._slot_index(layer, 0)] for layer in range(3)]
        if rounds % 10 == 0:
            crowd.reset(slice(0, 20))
            alone.reset(slice(0, 20))
        assert time.monotonic() - began < 60, "no helper was ever late"
    for mine, other in zip(crowd.state, alone.state, strict=True):
        for part, expected in zip(mine, other, strict=True):
            assert np.array_equal(part, expected)


def test_helpers_leave_when_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "THREAD_BYTES", 0)
    config = config_of("lstm")
    engine = CompiledEngine(config, random_weights(config), threads=2)
    for _ in range(2):  # and come back when they are needed again
        came = left = False
        until = time.monotonic() + 20
        while not came and time.monotonic() < until:
            engine.feed(np.arange(20))
            came = engine._meeting[1, 0] != LEFT
        while not left and time.monotonic() < until:
            time.sleep(0.01)
            left = engine._meeting[1, 0] == LEFT
        assert (came, left) == (True, True)


def test_memory_is_kept_while_a_helper_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "THREAD_BYTES", 0)
    config, arrived, go = config_of("lstm"), threading.Event(), threading.Event()

    def assist(*_: int) -> None:
        arrived.set()
        go.wait(20)

    engine = CompiledEngine(config, random_weights(config), threads=2)
    engine._helpers._assist = assist
    engine.feed(np.arange(5))
    assert arrived.wait(20)
    slots = weakref.ref(engine._slots.base)
    del engine
    gc.collect()
    assert slots() is not None
    go.set()
    until = time.monotonic() + 20
    while slots() is not None and time.monotonic() < until:
        time.sleep(0.01)
        gc.collect()
    assert slots() is None


def test_a_helper_that_is_called_while_it_leaves_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not free to be called until it gets Python's lock, which the caller may hold."""
    monkeypatch.setattr(compiled, "THREAD_BYTES", 0)
    engine = CompiledEngine(config_of("lstm"), random_weights(config_of("lstm")), threads=2)
    times, left, go, back = [], threading.Event(), threading.Event(), threading.Event()

    def assist(*_: int) -> None:
        times.append(time.monotonic())
        engine._meeting[1, 0] = LEFT
        left.set()
        go.wait(20)
        if len(times) == 2:
            back.set()

    engine._helpers._assist = assist
    engine._helpers.call()
    assert left.wait(20)
    engine._helpers.call()
    go.set()
    assert back.wait(20)
    until = time.monotonic() + 20
    while engine._helpers._locks[1].locked() and time.monotonic() < until:
        time.sleep(0.01)
    assert len(times) == 2  # nobody called it a third time


def test_a_helper_that_comes_back_does_not_repeat_what_it_did_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state may have been set since: it would be overwritten."""
    monkeypatch.setattr(compiled, "THREAD_BYTES", 0)
    engine = CompiledEngine(config_of("lstm"), random_weights(config_of("lstm")), threads=2)
    monkeypatch.setattr(engine._helpers, "call", lambda: None)
    engine.feed(np.arange(20))  # its last stage is a layer
    engine._meeting[0, STAGE_FIELDS.index("ready")] = 2  # in which the helper took part
    engine.reset()
    engine._helpers._assist(engine._plan.ctypes.data, 1)  # until it leaves
    assert not any(part.any() for layer in engine.state for part in layer)


def test_a_helper_does_not_sleep_through_long_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """In calls of a step each, whose stages take far longer than it first assumes."""
    config = ModelConfig(31, embedding=24, hidden=512, layers=1)
    engine = CompiledEngine(config, random_weights(config), 256, threads=2)
    ids, until, helped = np.zeros(256, np.intp), time.monotonic() + 20, False
    while not helped and time.monotonic() < until:
        engine.step(ids)
        helped = bool(engine._helper_lines[1, HELPER_FIELDS.index("together")])
    assert helped
