"""The most probable records, against all records of a small alphabet."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest

from charrnn import cells
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import (
    CharRNNError,
    CheckpointError,
    ConfigError,
    UnknownCharacterError,
    UserError,
)
from charrnn.generation import likely
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.vocab import Vocab
from charrnn.textmodel import TextModel
from tests.generation.test_records import ABC, direct, model
from tests.support.checkpoints import META, tiny
from tests.support.networks import letters, random_weights

LENGTH = 6


def own_model(cell: str = "lstm", seed: int = 0, scale: float = 1.0) -> TextModel:
    """A model of records over a, b and c; its opinions are the stronger the larger ``scale``."""
    config = ModelConfig(len(ABC), cell=cell, embedding=4, hidden=8, layers=2)
    weights = random_weights(config, seed)
    weights["head.weight"] *= np.float32(scale)
    meta = META | {"corpus": META["corpus"] | {"lines": True, "records": True}}
    return TextModel(Checkpoint(config, ABC, weights, meta), weight_dtype="float32")


def every(own: TextModel, length: int = LENGTH, prefix: str = "") -> list[tuple[float, str]]:
    """All records of up to ``length`` characters, the most probable first."""
    texts = [
        prefix + "".join(rest)
        for size in range(length + 1 - len(prefix))
        for rest in itertools.product("abc", repeat=size)
    ]
    scored = own.score_lines("".join(f"{text}\n" for text in texts))
    return sorted((line.score.nats, line.text) for line in scored)


def check(own: TextModel, top: int, **how: Any) -> likely.LikelyRecords:
    records = own.likely(top=top, **({"length": LENGTH} | how))
    found = list(records)
    wanted = every(own, prefix=how.get("prefix", ""))[:top]
    assert [record.text for record in found] == [text for _, text in wanted]
    for record, (nats, text) in zip(found, wanted, strict=True):
        assert record.score is not None
        assert record.score.nats == pytest.approx(nats, abs=1e-4)
        assert record.score.chars == len(text) + 1
    return records


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("top", [1, 7, 200])
def test_they_are_the_best_of_all(top: int, seed: int, scale: float) -> None:
    check(own_model(seed=seed, scale=scale), top)


@pytest.mark.parametrize("cell", cells.names())
def test_they_are_the_best_of_all_with_every_cell(cell: str) -> None:
    check(own_model(cell), 50)


def test_the_numpy_engine_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "charrnn.generation.compiled.engine", None)
    check(own_model(), 50)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("memory", [0, 2000, 1 << 20])
def test_they_do_not_depend_on_how_many_are_followed_at_once(
    batch: int, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likely, "BATCH", batch)
    monkeypatch.setattr(likely, "SLOW_BATCH", 2)
    monkeypatch.setattr(likely, "MEMORY", memory)
    monkeypatch.setattr(likely, "LEAST", 5)
    check(own_model(seed=5), 60)


@pytest.mark.parametrize("prefix", ["a", "cb", "abcabc"])
def test_those_that_begin_with_a_prefix(prefix: str) -> None:
    check(own_model(), 30 if len(prefix) < 3 else 1, prefix=prefix)


def test_all_there_are() -> None:
    own = own_model()
    records = own.likely(top=10_000, length=3)
    found = [record.text for record in records]
    assert found == [text for _, text in every(own, 3)]
    assert len(found) == records.listed == 1 + 3 + 9 + 27


def test_the_bound_holds_at_every_moment() -> None:
    """Whatever has been listed: every other record costs more."""
    own = own_model(seed=2)
    everything = every(own)
    records = own.likely(top=100, length=LENGTH)
    for count, record in enumerate(records, 1):
        assert record.score is not None
        assert record.score.nats <= records.bound + 1e-9
        assert record.text == everything[count - 1][1]
        assert all(nats > record.score.nats - 1e-4 for nats, _ in everything[count:])


def test_long_records_without_a_bound_of_their_own() -> None:
    """Where the end is improbable, the best records are found among very many beginnings."""
    own = own_model(seed=1, scale=2.0)
    found = list(own.likely(top=20, length=300))
    for record in found:
        assert record.score is not None
        assert record.score.nats == pytest.approx(direct(own, record.text), abs=1e-3)
    assert len({record.text for record in found}) == 20
    drawn = own.samples("", SampleConfig(temperature=0.5, count=2000, seed=1, length=300))
    worst = found[-1].score
    assert worst is not None
    scored = own.score_lines("".join(f"{text}\n" for text in set(drawn)))
    better = {line.text for line in scored if line.score.nats < worst.nats - 1e-3}
    assert better <= {record.text for record in found}


def test_their_probabilities_are_those_of_drawing_them() -> None:
    own = own_model(scale=2.0)
    [first, *_] = own.likely(top=3, length=300)
    config = SampleConfig(temperature=1.0, count=4000, seed=1, length=300)
    drawn = list(own.samples("", config))
    assert first.score is not None
    probability = math.exp(-first.score.nats)
    spread = 5 * math.sqrt(4000 * probability) + 1
    assert abs(drawn.count(first.text) - 4000 * probability) < spread


def test_records_that_end_with_returns() -> None:
    own = model(letters("\r\n\r\nab"), read=False)
    for record in own.likely(top=20, length=8):
        assert record.score is not None
        found = own.score(record.text + "\r\n")
        assert record.score.nats == pytest.approx(found.nats, abs=1e-4)
        assert record.score.chars == found.chars


def test_bytes_are_records_too() -> None:
    raw = model(Vocab(ABC.codes, ABC.counts, is_bytes=True))
    assert [r.raw for r in raw.likely(top=9)] == [r.raw for r in model().likely(top=9)]


def test_spent_tries_are_an_error_after_what_is_certain() -> None:
    own = own_model(seed=2)
    found = list[str]()
    records = own.likely(top=500, length=LENGTH, max_tries=600)
    with pytest.raises(CharRNNError, match=r"found \d+ of 500 records in \d+ beginnings") as raised:
        found.extend(record.text for record in records)
    assert not isinstance(raised.value, UserError)
    assert 0 < len(found) < 500
    assert found == [text for _, text in every(own)[: len(found)]]


def test_what_cannot_be_listed_is_refused() -> None:
    with pytest.raises(ConfigError, match="top is 0"):
        own_model().likely(top=0)
    with pytest.raises(ConfigError, match="length is 0"):
        own_model().likely(length=0)
    with pytest.raises(ConfigError, match="prefix has a line end"):
        own_model().likely(prefix="a\nb")
    with pytest.raises(ConfigError, match="did not learn lines as records; set lines"):
        TextModel(tiny()).likely()
    with pytest.raises(UnknownCharacterError, match=r"position 1 is not in the .* characters$"):
        own_model().likely(prefix="aé")  # there is no unknown that could be set
    with pytest.raises(ConfigError, match="needs a line end in the vocabulary"):
        TextModel(tiny(letters("abc"))).likely(lines=True)
    own = own_model()
    weights = {**own.checkpoint.weights, "head.bias": np.full(4, np.nan, np.float32)}
    broken = TextModel(Checkpoint(own.checkpoint.config, ABC, weights, own.checkpoint.meta))
    with pytest.raises(CheckpointError, match="overflow"):
        list(broken.likely())
