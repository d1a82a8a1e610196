"""What a wrong argument of the Python interface is told: its name, and what it must be."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

import charrnn
from charrnn.arguments import checked, fits, wanted
from charrnn.errors import ConfigError, UnknownCharacterError
from charrnn.settings import Settings
from charrnn.text.vocab import Ids
from tests.support.checkpoints import tiny

MODEL = charrnn.TextModel(tiny())
IDS = MODEL.encode("the old prince")
Call = Callable[[Any], object]

PATH = "str or Path"
MAYBE_PATH = "str, Path or None"
PATHS = "str, Path, Sequence[str | Path] or None"
TEXT = "str or bytes"
NUMBERS = "a NumPy array of whole numbers"
VALUES = "dict[str, Any]"

# each argument with wrong values, and the words for right ones
WRONG: dict[str, tuple[Call, list[Any], str]] = {
    "corpus": (charrnn.train, [["a.txt"], 5, None, b"a.txt"], f"{PATH}; unpack a list with *"),
    "out": (lambda x: charrnn.train("a", out=x, steps=1), [5, b"run", ["run"]], MAYBE_PATH),
    "start_from": (lambda x: charrnn.train("a", start_from=x, steps=1), [5, MODEL], MAYBE_PATH),
    "preset": (lambda x: charrnn.train("a", preset=x), [5, []], "str or None"),
    "resume": (
        lambda x: charrnn.train(resume=x), ["run", 1, None], "bool; out names the run's folder",
    ),
    "listener": (
        lambda x: charrnn.train("a", listener=x, steps=1), [5, print],
        "an object with the methods on_plan, on_compiling, on_note, on_step, on_report, on_sample "
        "or None",
    ),
    "encoding": (lambda x: charrnn.train("a", encoding=x, steps=1), [5, []], "a text"),
    "path": (charrnn.load, [5, b"model", []], MAYBE_PATH),
    "threads": (lambda x: charrnn.load("model", threads=x), ["2", 1.5, True], "int"),
    "checkpoint": (charrnn.TextModel, ["model", None], "Checkpoint"),
    "prime": (MODEL.sample, [None, 5, ["a"]], TEXT),
    "lines": (lambda x: MODEL.sample("a", lines=x), ["no", 1], "bool or None"),
    "config": (lambda x: MODEL.samples("a", x), [5, {}, None], "SampleConfig"),
    "text": (MODEL.score, [None, 5, ["a"]], TEXT),
    "text to encode": (MODEL.vocab.encode, [None, 5], TEXT),
    "exact": (lambda x: MODEL.score("the old", exact=x), ["no", 1], "bool"),
    "part": (MODEL.score_split, [5, None], "str"),
    "source": (lambda x: MODEL.corpus(x), [5, b"a.txt", [5]], PATHS),
    "ids": (MODEL.score_ranges, [[1, 2], "abc", np.array([0.5, 1.5])], NUMBERS),
    "ranges": (
        lambda x: MODEL.score_ranges(IDS, x), [5, (5,), ((1, 2, 3),), "ab"],
        "tuple[tuple[int, int], ...] or None",
    ),
    "raw": (MODEL.read, [None, "abc"], "bytes"),
    "asked": (MODEL.encoding, [5, []], "str or None"),
    "values": (charrnn.ModelConfig.from_dict, [5, None, [1]], VALUES),
    "values of a vocabulary": (charrnn.Vocab.from_dict, [5, None], VALUES),
    "values for sampling": (charrnn.SampleConfig.from_dict, [5, None], VALUES),
    "filters": (
        lambda x: charrnn.SampleConfig(filters=x), [5, [5], ["top_k"]], "Iterable[tuple[str, Any]]",
    ),
    "weights": (
        lambda x: charrnn.Checkpoint(MODEL.checkpoint.config, MODEL.vocab, x), [5, None],
        "Mapping[str, ",
    ),
    "path to save to": (MODEL.checkpoint.save, [5, None], PATH),
    "codes": (lambda x: charrnn.Vocab(x, (1,)), [5, "ab", ("a",)], "tuple[int, ...]"),
    "character": (MODEL.vocab.id_of, [5, None], "str"),
    "ids to decode": (MODEL.vocab.decode, [5, "abc"], f"Sequence[int] or {NUMBERS}"),
    "model": (charrnn.insight_page, [5, "model"], "TextModel"),
    "on_note": (lambda x: charrnn.insight_page(MODEL, "abc", on_note=x), [5], "a function"),
    "seed": (lambda x: charrnn.insight_page(MODEL, seed=x), ["1", 0.5], "int or None"),
    "runs": (charrnn.plot, [5, b"run", ["run"]], PATH),
    "grad_norm": (lambda x: charrnn.plot("run", grad_norm=x), [1, "yes"], "bool"),
    "folder": (charrnn.list_checkpoints, [5, None], PATH),
    "model that adapts": (lambda x: charrnn.score_adapting(x, IDS), [5], "TextModel"),
    "how": (lambda x: charrnn.score_adapting(MODEL, IDS, how=x), [5], "Adaptation or None"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (_, values, _) in WRONG.items() for value in values]
)
def test_a_wrong_argument_is_named_with_what_it_must_be(name: str, value: Any) -> None:
    call, _, right = WRONG[name]
    with pytest.raises(ConfigError) as refused:
        call(value)
    said = str(refused.value)
    assert said.startswith(f"{name.split()[0]} is ")
    assert f": it must be {right}" in said
    assert "\n" not in said
    assert len(said) < 250


def public() -> Iterator[tuple[str, Any]]:
    """Every function of the interface, and the constructors and methods of its classes."""
    for name in charrnn.__all__:
        value = getattr(charrnn, name)
        if inspect.isfunction(value):
            yield name, value
        elif isinstance(value, type) and not issubclass(value, Exception):
            named = [n for n in dir(value) if n == "__init__" or not n.startswith("_")]
            if issubclass(value, Settings):
                named = ["from_dict"]  # a setting's declaration checks its value
            for inner in named:
                member = getattr(value, inner)
                is_method = inspect.isfunction(member) or inspect.ismethod(member)
                if is_method and takes_arguments(member):
                    yield f"{name}.{inner}", member


def takes_arguments(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name != "self" and p.annotation is not p.empty for p in parameters)


PUBLIC = dict(public())


def test_there_are_functions_and_methods_to_check() -> None:
    assert {"train", "load", "TextModel.score", "Vocab.encode", "SampleConfig.__init__"} <= set(
        PUBLIC
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_checks_its_arguments(name: str) -> None:
    assert hasattr(PUBLIC[name], "__wrapped__")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"size": 16}, "unknown setting 'size'; did you mean hidden?"),
        ({"time": "10m"}, "unknown setting 'time'; did you mean seconds?"),
        ({"bytes": True}, "unknown setting 'bytes'; did you mean is_bytes?"),
        ({"last_layer": True}, "unknown setting 'last_layer'; did you mean sum_layers?"),
        ({"hiden": 16}, "unknown setting 'hiden'; did you mean hidden?"),
        ({"output": "run"}, "unknown setting 'output'; did you mean out?"),
        ({"batch_size": 8}, "unknown setting 'batch_size'; did you mean batch"),
        ({"zzz": 1}, "unknown setting 'zzz'; choose from out, resume, start_from, preset, "),
        ({"resume": True, "size": 16}, "unknown setting 'size'; did you mean hidden?"),
        ({"size": None}, "unknown setting 'size'; did you mean hidden?"),
    ],
    ids=str,
)
def test_an_unknown_setting_of_training_is_told_its_name(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        charrnn.train("there is none", **asked)
    assert str(refused.value).startswith(said)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"temp": 1.0}, "unknown sampling setting 'temp'; did you mean temperature?"),
        ({"n": 9}, "unknown sampling setting 'n'; did you mean length?"),
        ({"topk": 9}, "unknown sampling setting 'topk'; did you mean top_k"),
        ({"zzz": 9}, "unknown sampling setting 'zzz'; choose from temperature, length, stop, "),
        (
            {"filters": [("temperature", 1.0)]},
            "unknown filter 'temperature'; choose from allow, ban, ",
        ),
    ],
    ids=str,
)
def test_an_unknown_setting_of_sampling_is_told_its_name(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        MODEL.sample("the", **asked)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    "call",
    [lambda: MODEL.sample("é"), lambda: MODEL.score("the é"), lambda: MODEL.vocab.encode("é")],
)
def test_an_unknown_character_is_told_the_argument_that_allows_it(
    call: Callable[[], object],
) -> None:
    with pytest.raises(UnknownCharacterError, match=r"; set unknown to 'skip' or 'replace'$"):
        call()


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), 3])
def test_numbers_of_numpy_are_numbers(seed: Any) -> None:
    assert MODEL.sample("the", seed=seed, length=30) == MODEL.sample("the", seed=3, length=30)
    Path("novel.txt").write_text("the old prince went out\n" * 50)
    lr = np.logspace(-3, -2, 2, dtype=np.float32)[0]
    result = charrnn.train("novel.txt", hidden=np.int64(8), steps=np.int16(2), lr=lr, seed=seed)
    model = charrnn.load(result.best)  # the settings are in its file, in JSON
    assert model.meta["training"]["seed"] == 3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: MODEL.score_ranges(np.array([1, 500, 2])), "ids have 500: they must be at least"),
        (lambda: MODEL.score_ranges(np.array([1, -2, 2])), "ids have -2: they must be at least 0"),
        (lambda: MODEL.score_ranges(np.array([[1, 2]])), "ids have the shape (1, 2)"),
        (lambda: MODEL.score_ranges(IDS, ((0, 99),)), "ranges is (0, 99): it must be (start, stop"),
        (lambda: MODEL.score_ranges(IDS, ((-1, 5),)), "ranges is (-1, 5): it must be (start, stop"),
        (lambda: charrnn.score_adapting(MODEL, np.array([1, 500, 2])), "ids have 500: they must"),
        (lambda: charrnn.score_adapting(MODEL, IDS, ((0, 99),)), "ranges is (0, 99): it must be"),
        (lambda: MODEL.vocab.decode([500]), "ids have 500: they must be at least 0 and below"),
        (lambda: MODEL.vocab.decode([-1]), "ids have -1: they must be at least 0 and below"),
        (lambda: MODEL.vocab.id_of("ab"), "character is 'ab': it must be one character"),
    ],
)
def test_ids_and_ranges_beyond_a_text_are_refused(call: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        call()
    assert str(refused.value).startswith(said)


class Speaker(Protocol):
    """What can speak."""

    def speak(self) -> str:
        """Speak."""


class Dog:
    """Speaks."""

    def __repr__(self) -> str:
        return "Dog()"  # no address: a test has the same name in every process

    def speak(self) -> str:
        return "wuff"


@pytest.mark.parametrize(
    ("hint", "right", "wrong", "words"),
    [
        (int, [1, np.int8(1)], [True, 1.0, "1", None], "int"),
        (float, [1, 1.5, np.float32(1)], [True, "1", None], "float"),
        (bool, [True], [1, None], "bool"),
        (str | None, ["", None], [1, b""], "str or None"),
        (str | Path | None, ["", Path(), None], [1], "str, Path or None"),
        (bytes, [b"", bytearray()], ["", 1], "bytes"),
        (tuple[int, ...], [(), (1, 2), [1]], [1, ("a",), "a"], "tuple[int, ...]"),
        (tuple[str, int], [("a", 1)], [("a",), (1, "a")], "tuple[str, int]"),
        (Sequence[int], [[1], (2,), []], ["ab", 1, ["a"]], "Sequence[int]"),
        (Mapping[str, Any], [{}, {"a": 1}], [[], None], "Mapping[str, Any]"),
        (Callable[[int], str], [print, str], [1, None], "a function"),
        (NDArray[Any], [np.zeros(2)], [[0.0]], "a NumPy array"),
        (Ids, [np.zeros(2, np.uint8)], [np.zeros(2), [1]], "a NumPy array of whole numbers"),
        (Literal["a"], ["a", "b"], [], "Literal['a']"),
        (Speaker, [Dog()], [1, print], "an object with the methods speak"),
        (Any, [1, None], [], "Any"),
    ],
    ids=str,
)
def test_what_fits_an_annotation(hint: Any, right: list[Any], wrong: list[Any], words: str) -> None:
    assert [value for value in right if not fits(value, hint)] == []
    assert [value for value in wrong if fits(value, hint)] == []
    assert wanted(hint) == words


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12, which has type aliases")
def test_an_alias_of_a_type_is_what_it_stands_for() -> None:
    """NumPy's ``NDArray`` is one from 2.5 on."""
    names: dict[str, Any] = {}
    exec("type Name = str | None\ntype Rows[T] = list[T]", names)
    assert fits("", names["Name"])
    assert not fits(1, names["Name"])
    assert fits([1], names["Rows"][int])
    assert not fits(["a"], names["Rows"][int])
    assert wanted(names["Name"]) == "str or None"
    assert wanted(names["Rows"][int]) == "list[int]"


def test_python_says_itself_what_is_missing_or_too_much() -> None:
    @checked
    def one(number: Annotated[int, "count from 1"]) -> int:
        return number

    assert one(3) == 3
    with pytest.raises(TypeError, match=r"one\(\) missing 1 required positional argument"):
        one()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"one\(\) got an unexpected keyword argument 'other'"):
        one(1, other=2)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="number is 'a': it must be int; count from 1"):
        one("a")  # type: ignore[arg-type]
