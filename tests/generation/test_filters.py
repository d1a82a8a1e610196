"""The chain of sampling filters: what registering a function is enough for, in every engine."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.generation import generator
from charrnn.generation.draw import choose
from charrnn.generation.filters import FILTERS, Context, sampling_filter
from charrnn.generation.sample_config import SampleConfig
from charrnn.textmodel import TextModel
from tests.support.checkpoints import python, tiny
from tests.support.networks import letters

Array = NDArray[np.float32]

ENGINES = ["compiled", "numpy"]
# values that make a difference, for every filter of the program
VALUES: dict[str, list[Any]] = {
    "allow": ["abcdefghijklmnopq ,.", "aeiourstlnmdchk .\n"], "ban": ["e", "aeiou\n"],
    "ban_words": ["words.txt"], "no_repeat": [4, 6], "max_copy": [2, 3],
    "top_k": [1, 5], "top_p": [0.3, 0.9], "min_p": [0.02, 0.5],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _words_and_a_corpus(bare_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("words.txt").write_text("a\nB\ni\nab\nxy\n")
    ids = np.random.default_rng(1).integers(1, 12, 600).astype(np.uint8)
    monkeypatch.setattr(TextModel, "_training", lambda *_: (ids, ((0, 500),)))


@pytest.fixture(autouse=True)
def _forget_new_filters() -> Iterator[None]:
    with patch.dict(FILTERS):
        yield


def texts(engine: str, count: int = 1, prime: str = "", **settings: Any) -> list[str]:
    """Samples of a small network in float32, by the engine called so."""
    if engine == "compiled":
        pytest.importorskip("llvmlite", reason="numba is not installed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        if engine == "numpy":
            monkeypatch.setitem(sys.modules, "charrnn.generation.compiled.engine", None)
        model = TextModel(tiny(), None, "float32")
        config = SampleConfig(count=count, **{"length": 60, "seed": 3, **settings})
        return list(model.samples(prime, config))


# --- a filter that a user adds


def register_no_vowels() -> None:
    """A filter that looks at the vocabulary."""

    @sampling_filter(off=False, help="Write no vowels.")
    def no_vowels(p: Array, value: bool, context: Context) -> Array:
        p[:, np.isin(context.vocab.codes, [ord(vowel) for vowel in "aeiou"])] = 0
        return p


def register_no_recent() -> None:
    """A filter that looks at the texts: none of the last ``n`` characters again."""

    @sampling_filter(off=0, help="Repeat none of the last N characters.", low=0)
    def no_recent(p: Array, n: int, context: Context) -> Array:
        prime = np.tile(context.prime[-n:], (len(p), 1))
        recent = np.concatenate([prime, context.texts[:, -n:]], axis=1)[:, -n:]
        np.put_along_axis(p, recent, 0, axis=1)
        return p


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("temperature", [0.0, 0.05, 0.8])
def test_registering_a_function_is_enough(engine: str, temperature: float) -> None:
    register_no_vowels()
    register_no_recent()
    how: dict[str, Any] = {"temperature": temperature, "prime": "the "}
    [alone] = texts(engine, no_vowels=True, no_recent=9, **how)
    many = texts(engine, 300, no_vowels=True, no_recent=9, **how)
    assert alone == many[0] != texts(engine, **how)[0]
    assert len(alone) == 60
    for text in many:
        assert not set("aeiou") & set(text)
        assert all(len({*part}) == 10 for part in zip(*[text[i:] for i in range(10)], strict=False))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_new_filter_writes_the_same_text_in_both_engines(temperature: float) -> None:
    register_no_vowels()
    register_no_recent()
    how: dict[str, Any] = {"temperature": temperature, "no_vowels": True, "no_recent": 4}
    compiled, exact = (texts(engine, 300, **how) for engine in ENGINES)
    assert compiled[0] == exact[0]
    # a draw on the very edge may fall on either side
    assert sum(a != b for a, b in zip(compiled, exact, strict=True)) <= 1


def test_the_python_interface_takes_a_new_filter() -> None:
    register_no_vowels()
    model = TextModel(tiny())
    assert not set("aeiou") & set(model.sample(no_vowels=True, length=200))
    with pytest.raises(ConfigError, match="no_vowels is 1: it must be true or false"):
        model.sample(no_vowels=1)


PROGRAM = """
from tests.generation.test_filters import register_no_vowels
register_no_vowels()
from charrnn.cli.app import main
main()
"""


def test_the_command_line_has_the_flag_of_a_new_filter() -> None:
    shown = " ".join(python(PROGRAM, "sample", "--help").split())
    assert "--no-vowels Write no vowels. [env var: CHARRNN_NO_VOWELS]" in shown
    tiny().save("model")

    def text(*more: str, **env: str) -> str:
        args = ["sample", "model", "--seed=3", "--length=60", "--weight-dtype=float32", *more]
        return python(PROGRAM, *args, **env)

    register_no_vowels()
    assert text("--no-vowels") == text(CHARRNN_NO_VOWELS="1") == texts("numpy", no_vowels=True)[0]
    assert text() == texts("numpy")[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_filters_see_the_prime_and_all_that_was_drawn(engine: str) -> None:
    seen: list[tuple[NDArray[Any], NDArray[Any]]] = []

    @sampling_filter(off=False, help="Look.")
    def spy(p: Array, value: bool, context: Context) -> Array:
        seen.append((context.texts.copy(), context.prime))
        return p

    vocab = letters()
    written = texts(engine, 3, prime="of the", spy=True, length=200)
    assert [drawn.shape for drawn, _ in seen] == [(3, t) for t in range(200)]
    assert {vocab.decode(prime) for _, prime in seen} == {"of the"}
    for drawn, _ in seen:
        for text, ids in zip(written, drawn, strict=True):
            assert text.startswith(vocab.decode(ids))
    seen.clear()
    texts(engine, spy=True, length=1)
    assert [prime.size for _, prime in seen] == [0]  # what is read instead is no part of the text


# --- which engine draws


@pytest.mark.parametrize("temperature", [0.0, 0.8, 1.5])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("claimed", [False, True])
def test_numpys_twin_of_a_compiled_filter_writes_its_text(
    engine: str, temperature: float, claimed: bool
) -> None:
    def twin(p: Array, k: int, context: object) -> Array:
        return FILTERS["top_k"].apply(p, k, context)

    # whatever it claims, the compiled draw does not know a twin
    sampling_filter(off=0, help="As top_k.", compiled=claimed)(twin)
    for count in (1, 20):
        how: dict[str, Any] = {"count": count, "temperature": temperature}
        assert texts(engine, twin=5, **how) == texts(engine, top_k=5, **how)
        if temperature:
            assert texts(engine, twin=5, **how) != texts(engine, **how)


def test_numpy_filters_only_what_the_compiled_draw_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("llvmlite", reason="numba is not installed")
    from charrnn.generation.compiled.engine import CompiledEngine

    steps: list[int] = []
    step = CompiledEngine.step

    def counted(engine: CompiledEngine, ids: Any) -> Any:
        steps.append(len(ids))
        return step(engine, ids)

    monkeypatch.setattr(CompiledEngine, "step", counted)
    texts("compiled", top_k=5, top_p=0.8, min_p=0.01)
    assert not steps
    register_no_vowels()
    texts("compiled", top_k=5, no_vowels=False)
    assert not steps
    texts("compiled", top_k=5, no_vowels=True)
    assert len(steps) == 60


def test_texts_are_kept_only_for_filters_that_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "Context", None)
    for engine in ENGINES:
        texts(engine, top_k=5, top_p=0.8, min_p=0.01)
    register_no_vowels()
    with pytest.raises(TypeError):
        texts("numpy", no_vowels=True)


def test_what_is_declared_compiled_is_what_the_compiled_draw_knows() -> None:
    from charrnn.generation.compiled.engine import DRAW_FILTERS

    # the order of compiled/draw.py
    assert [f.name for f in FILTERS.values() if f.compiled] == ["top_k", "top_p", "min_p"]
    assert {"top_k", "top_p", "min_p"} == DRAW_FILTERS


def test_a_filter_is_not_taken_for_a_field_of_the_plan_of_that_name() -> None:
    @sampling_filter(off=False, help="Write the second symbol.", compiled=True)
    def scale(p: Array, value: bool, context: Context) -> Array:
        p[:] = np.arange(p.shape[1]) == 1
        return p

    second = letters().decode([1])
    assert texts("compiled", scale=True) == texts("numpy", scale=True) == [second * 60]


def test_every_filter_is_compared_in_both_engines() -> None:
    assert set(VALUES) == set(FILTERS)


# every filter with each of its values, alone and with every other
SINGLE = [{name: value} for name, values in VALUES.items() for value in values]
PAIRS = [a | b for a, b in itertools.combinations(SINGLE, 2) if a.keys() != b.keys()]


@pytest.mark.parametrize("how", SINGLE + PAIRS, ids=str)
@pytest.mark.parametrize("temperature", [0.0, 0.8, 2.0])
def test_both_engines_write_the_same_text(how: dict[str, Any], temperature: float) -> None:
    compiled, exact = (texts(e, 20, temperature=temperature, **how) for e in ENGINES)
    assert compiled[0] == exact[0]
    # a draw or a share on the very edge may fall on either side
    assert sum(a != b for a, b in zip(compiled, exact, strict=True)) <= 1


# --- what is left


def test_filters_apply_in_the_order_in_which_they_are_registered() -> None:
    register_no_vowels()
    config = SampleConfig(no_vowels=True, min_p=0.1, top_k=3)
    assert [filter.name for filter, _ in config.chain] == ["top_k", "min_p", "no_vowels"]


def context(streams: int = 1) -> Context:
    return Context(letters("abcde"), np.zeros(0, int), streams)


@pytest.mark.parametrize(
    "how",
    [
        {"temperature": 0},
        {"temperature": 0.01},  # all but one are 0 in float32
        {"top_k": 1},
        {"top_k": 2, "temperature": 0.5},
        {"top_p": 0.1},
    ],
    ids=str,
)
def test_what_is_forbidden_makes_room_for_the_next(how: dict[str, Any]) -> None:
    register_no_vowels()
    logits = np.array([[9.0, 3, 2, 1, 8], [1, 7, 3, 2, 0]], np.float32)
    config = SampleConfig(no_vowels=True, **how)
    for u in (0.0, 0.5):
        # of row 0, in which a and e are likeliest, b is next; row 1 is not touched
        assert choose(logits, np.array([u, u]), config, context(2)).tolist() == [1, 1]


@pytest.mark.parametrize("overflowed", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("temperature", [0.0, 0.8, 1e39])
def test_forbidding_with_logits_that_overflowed(overflowed: float, temperature: float) -> None:
    register_no_vowels()
    logits = np.full((2, 5), overflowed, np.float32)
    logits[1, 2] = 0
    config = SampleConfig(no_vowels=True, temperature=temperature)
    assert set(choose(logits, np.array([0.3, 0.9]), config, context(2)).tolist()) <= {1, 2, 3}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_forbidding_everything_is_an_error(engine: str, temperature: float) -> None:
    @sampling_filter(off=False, help="Write nothing.")
    def silence(p: Array, value: bool, context: Context) -> Array:
        return p * 0

    with pytest.raises(ConfigError, match="silence leaves no character to draw") as raised:
        texts(engine, 3, temperature=temperature, silence=True)
    assert raised.value.setting == "silence"


def test_a_filter_that_needs_a_context_does_not_run_without() -> None:
    register_no_vowels()
    with pytest.raises(ValueError, match="need a context"):
        choose(np.zeros(5, np.float32), 0.5, SampleConfig(no_vowels=True))


# --- settings


@pytest.mark.parametrize("name", ["topk", "no_vowels", "filter", "chain", "name"])
def test_a_name_that_is_not_registered_is_refused(name: str) -> None:
    near = r"did you mean \w+( or \w+)?\?"
    wanted = (
        f"unknown sampling setting '{name}'; ({near}|choose from temperature, .*, top_k, top_p)"
    )
    settings: dict[str, Any] = {name: 3}
    with pytest.raises(ConfigError, match=wanted):
        SampleConfig(**settings)
    with pytest.raises(ConfigError, match=wanted):
        TextModel(tiny()).sample(**settings)
    with pytest.raises(AttributeError, match="topk"):
        SampleConfig().topk  # noqa: B018


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_k": -1}, {"top_k": 2.0}, {"top_k": True}, {"top_k": 65536}, {"top_k": "3"},
        {"top_p": 0}, {"top_p": 1.1}, {"top_p": float("nan")}, {"top_p": "x"}, {"top_p": True},
        {"min_p": -0.1}, {"min_p": float("inf")}, {"min_p": None}, {"top_p": [0.5]},
    ],
    ids=str,
)  # fmt: skip
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(ConfigError) as raised:
        SampleConfig(**wrong)
    assert str(raised.value).startswith(f"{name} is {value!r}: it must be ")
    assert raised.value.setting == name


def test_a_configuration_holds_the_filters_that_are_on() -> None:
    config = SampleConfig(min_p=0.1, top_k=40, top_p=1)
    assert config.filters == (("top_k", 40), ("min_p", 0.1))
    assert (config.top_k, config.top_p, config.min_p) == (40, 1.0, 0.1)
    assert SampleConfig(top_k=0, top_p=1.0, min_p=0.0) == SampleConfig()
    assert dataclasses.replace(config, seed=7) == SampleConfig(min_p=0.1, top_k=40, seed=7)
    assert SampleConfig(filters=config.filters, top_k=0) == SampleConfig(min_p=0.1)
    assert {config: 1}[copy.deepcopy(config)] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


def test_a_name_is_taken_once() -> None:
    register_no_vowels()
    with pytest.raises(ValueError, match="'no_vowels'"):
        register_no_vowels()


@pytest.mark.parametrize("name", ["temperature", "seed", "filters", "chain"])
def test_a_filter_cannot_be_called_like_a_setting(name: str) -> None:
    """It would be silently ignored, or replace the setting's option."""

    def nothing(p: Array, value: bool, context: Context) -> Array:
        return p

    nothing.__name__ = name
    with pytest.raises(ValueError, match=f"cannot be called '{name}'"):
        sampling_filter(off=False, help="Do nothing.")(nothing)
    assert name not in FILTERS


def test_a_filter_cannot_have_the_flag_of_another_option() -> None:
    from charrnn.cli.options import takes
    from charrnn.cli.sample import PRIME

    @sampling_filter(off=False, help="Do nothing.")
    def prime(p: Array, value: bool, context: Context) -> Array:
        return p

    with pytest.raises(ValueError, match="--prime"):
        takes(PRIME, FILTERS["prime"].option)


def test_a_name_registered_here_is_gone_in_the_next_test() -> None:
    assert "no_vowels" not in FILTERS
