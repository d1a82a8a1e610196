"""A model as a value: it can be copied and sent to other processes, also after it was used."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

import charrnn
from charrnn.config import WeightDtype
from charrnn.generation import writer
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.text.vocab import Vocab
from tests.support.checkpoints import tiny
from tests.support.networks import letters

TEXT = "the old prince"


def written(model: charrnn.TextModel) -> tuple[Any, ...]:
    """What a model writes and how it scores, after it has been used for both."""
    return (
        model.sample(TEXT, seed=3, length=80),
        list(model.samples("", charrnn.SampleConfig(count=3, seed=1, length=40))),
        model.score(TEXT).nats,
        [line.nats[1:] for line in model.score_lines(TEXT)],
    )


@pytest.mark.parametrize("weight_dtype", ["int8", "float32"])
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "travel",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_writes_and_scores_like_the_model(
    travel: Callable[[charrnn.TextModel], charrnn.TextModel],
    used: bool,
    weight_dtype: WeightDtype,
) -> None:
    model = charrnn.TextModel(tiny(), weight_dtype=weight_dtype)
    if used:
        written(model)
    arrived = travel(model)
    assert written(arrived) == written(model)
    assert type(arrived._engine) is type(model._engine)  # as fast as the model
    assert arrived.weight_dtype == weight_dtype


def test_a_pool_of_processes_samples_from_a_model_that_was_used() -> None:
    model = charrnn.TextModel(tiny())
    here = written(model)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(written, model).result(120) == here


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize(
    ("asked", "opened"),
    [
        ({}, ["int16", "int8"]),
        ({"state_dtype": "int16"}, ["int16"]),
        ({"state_dtype": "int8"}, ["int8"]),
        ({"weight_dtype": "float32"}, ["int16"]),  # which means nothing there
    ],
)
def test_how_finely_states_are_rounded_depends_on_no_count(
    asked: dict[str, Any], opened: list[str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are drawn from states of eight bits, by default: how many there are is no matter."""
    found = []

    def opening(*args: Any, **settings: Any) -> AnyEngine:
        found.append(settings["state_dtype"])
        return open_engine(*args, **settings)

    monkeypatch.setattr(writer, "open_engine", opening)
    model = charrnn.TextModel(tiny(), **asked)
    config = charrnn.SampleConfig(count=count, seed=1, length=4)
    list(model.samples("", config))
    list(model.samples("", config, lines=True))
    assert found == opened


@pytest.mark.parametrize(
    "value",
    [
        charrnn.ModelConfig(9, hidden=16),
        charrnn.TextConfig(max_bytes=9),
        charrnn.TrainConfig(steps=3),
        charrnn.SampleConfig(temperature=0.5, top_k=3, stop=("a",)),
        letters(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_settings_and_vocabularies_travel(value: object) -> None:
    if isinstance(value, Vocab):
        value.encode("the")  # it keeps tables that it makes on the way
    for arrived in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value), copy.copy(value)):
        assert arrived == value
        assert type(arrived) is type(value)


def test_a_checkpoint_travels() -> None:
    checkpoint = tiny()
    open_engine(checkpoint.config, checkpoint.weights)
    arrived = pickle.loads(pickle.dumps(checkpoint))
    assert (arrived.config, arrived.vocab, arrived.meta) == (
        checkpoint.config, checkpoint.vocab, checkpoint.meta,
    )  # fmt: skip
    assert {n: w.tobytes() for n, w in arrived.weights.items()} == {
        n: w.tobytes() for n, w in checkpoint.weights.items()
    }


def test_a_model_says_what_it_is() -> None:
    own = tiny()
    network = f"{own.config.cell} {own.config.layers} x {own.config.hidden}"
    vocabulary = f"a vocabulary of {len(own.vocab)}"
    assert repr(charrnn.TextModel(own)) == f"<TextModel 'model': {network}, {vocabulary}>"
