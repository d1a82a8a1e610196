"""Errors and hints: what they say to Python and to the command line, and that they can travel."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from charrnn import errors
from charrnn.cli.command import OptionStyle, options_of
from charrnn.cli.train import train
from charrnn.errors import CharRNNError, Told, counted
from charrnn.hints import Hint, omit

STYLE = OptionStyle(options_of(train))


def tree(root: type[Told]) -> Iterator[type[Told]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


KINDS = [*tree(CharRNNError), *tree(errors.Interrupted)]


def example(kind: type[Told]) -> Told:
    hint, values = "try {lr} or {train(resume, out)}", {"lr": 0.1, "resume": True, "out": "a"}
    if issubclass(kind, errors.Interrupted):
        return kind(15, "stopped {here}", hint, **values)
    if issubclass(kind, errors.DecodingError):
        return kind("bad {byte}", 7, hint, **values)
    return kind("bad {thing}", hint, setting="seconds", **values)


@pytest.mark.parametrize(
    ("hint", "in_python", "on_the_command_line"),
    [
        (Hint("name another {out}"), "name another out", "name another --out"),
        (Hint("{val_frac}, {seconds}"), "val_frac, seconds", "--val-frac, --time"),
        (Hint("try {lr}", {"lr": 0.001}), "try lr=0.001", "try --lr 0.001"),
        (Hint("{is_bytes}", {"is_bytes": True}), "is_bytes=True", "--bytes"),
        (
            Hint("{start_from} begins with it", {"start_from": Path("a b")}),
            "start_from='a b' begins with it",
            "--from 'a b' begins with it",
        ),
        (Hint("{train()} makes one"), "charrnn.train() makes one", "charrnn train makes one"),
        (
            Hint("{train(resume, out)} goes on", {"resume": True, "out": Path("{lr} it's")}),
            """charrnn.train(resume=True, out="{lr} it's") goes on""",
            """charrnn train --resume --out '{lr} it'"'"'s' goes on""",
        ),
        (Hint(omit(["hidden", "lr"])), "omit hidden, lr", "omit --size, --lr"),
    ],
    ids=lambda value: value.text if isinstance(value, Hint) else "",
)
def test_a_hint_is_spelled_for_its_reader(
    hint: Hint, in_python: str, on_the_command_line: str
) -> None:
    assert str(hint) == in_python
    assert hint.spelled(STYLE) == on_the_command_line


def test_data_in_a_message_is_never_taken_for_a_setting() -> None:
    error = errors.SaveError("cannot write to {out}/%s", "name another {out}")
    assert str(error) == "cannot write to {out}/%s; name another out"
    assert error.spelled(STYLE) == "cannot write to {out}/%s; name another --out"
    assert error.message == "cannot write to {out}/%s"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "travel",
    [
        copy.copy,
        copy.deepcopy,
        *(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(pickle.HIGHEST_PROTOCOL)),
    ],
)
def test_an_error_survives_pickling_and_copying(
    kind: type[Told], travel: Callable[[Told], Told]
) -> None:
    error = example(kind)
    error.add_note("the run in a")
    check_arrived(travel(error), error)


def check_arrived(arrived: BaseException, error: Told) -> None:
    """Assert that ``error`` came through whole."""
    assert isinstance(arrived, type(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    for name in ("exit_code", "code"):
        assert getattr(arrived, name, None) == getattr(error, name, None)
    assert vars(arrived) == vars(error)  # hint, setting, offset, signum, notes
    assert arrived.args == error.args


def raise_example(kind: type[Told]) -> None:
    raise example(kind)


def test_every_error_leaves_a_process_of_a_pool_as_it_was_raised() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        raised = [(kind, pool.submit(raise_example, kind).exception(60)) for kind in KINDS]
    assert len(raised) > 12
    for kind, arrived in raised:
        assert arrived is not None
        check_arrived(arrived, example(kind))


def test_an_error_from_another_process_keeps_the_spelling_of_the_command_line() -> None:
    error = errors.ConfigError("is 0", setting="hidden")
    error.style = STYLE
    assert str(pickle.loads(pickle.dumps(error))) == "--size is 0"


def test_counts_of_one_are_singular() -> None:
    assert [counted(number, "step") for number in (0, 1, 2, 2000)] == [
        "0 steps", "1 step", "2 steps", "2,000 steps",
    ]  # fmt: skip
