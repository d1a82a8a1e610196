"""Contract line 20: every bad argument, in a table that the commands themselves make up."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import pytest
import typer.main

from charrnn.cli.app import app, main
from tests.support import tiny

# nonsense for each kind of value …
BY_TYPE: dict[Any, list[str]] = {
    int: ["x", "1.5", "", "-1", "1e3"],
    float: ["x", "", "nan", "inf", "-1"],
    Literal: ["nonsense", ""],
    bool: [],
}
# … and for options whose texts are read by charrnn itself; FREE ones take any text
TEXTS = {
    "train --time": ["x", "-1s", "10 parsecs", "", "0"],
    "train --encoding": ["nonsense", "hex", ""],
    "train --from": ["nowhere", "/dev/null"],
    "train --preset": ["nonsense", ""],
    "sample --prime-file": ["nowhere", "."],
    "score --model": ["nowhere", "/dev/null"],
}
FREE = {
    "train --out", "sample --prime", "sample --stop", "data get --out",
}  # fmt: skip
# beyond what a type can say
RANGES = [
    ("train", "--dropout", "1"), ("train", "--lr", "0"), ("train", "--lr", "11"),
    ("train", "--ema", "1"), ("train", "--val-frac", "1"), ("train", "--test-frac", "1"),
    ("train", "--size", "0"), ("train", "--size", "1000000"), ("train", "--layers", "9"),
    ("train", "--batch", "0"), ("train", "--window", "0"), ("train", "--batch", "1000000000"),
    ("train", "--seed", str(2**63)), ("train", "--max-bytes", "0"), ("train", "--threads", "0"),
    ("sample", "--temp", "-0.1"), ("sample", "--top-p", "0"), ("sample", "--top-p", "1.1"),
    ("sample", "--min-p", "1.1"), ("sample", "--count", "0"), ("sample", "--count", "100001"),
    ("sample", "--seed", str(2**64)), ("sample", "--stop", ""), ("score", "--split", "train"),
]  # fmt: skip


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of the program with its name; the program itself has none."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield name, command
        for inner, child in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {inner}".strip(), child)

    return walk("", typer.main.get_command(app))


def table() -> Iterator[tuple[str, str, str]]:
    """Command, option, nonsense."""
    for name, command in commands():
        for param in command.params:
            option = next((o for o in param.opts if o.startswith("--")), None)
            if option is None or not name:  # the program itself has only flags
                continue
            full = f"{name} {option}"
            if full in TEXTS:
                values = TEXTS[full]
            elif full in FREE:
                values = []
            else:
                kind = get_type_hints(inspect.unwrap(command.callback))[param.name]
                kind = get_origin(kind) or kind
                assert kind in BY_TYPE, f"say in this table what is nonsense for {full}"
                values = BY_TYPE[kind]
            for value in values:
                yield name, option, value
    yield from RANGES


def first_arguments(name: str) -> list[str]:
    """What a command needs to get as far as its options."""
    return {
        "train": ["train", "text.txt", "--steps", "1", "--out", "run", "-q"],
        "sample": ["sample", "run-before"],
        "score": ["score", "text.txt"],
        "data get": ["data", "get", "nonsense"],
    }.get(name, name.split())


@pytest.fixture(autouse=True)
def some_files(bare_environment: None) -> None:
    tiny().save(Path("run-before/best.safetensors"))
    Path("text.txt").write_text("the quick brown fox\n" * 200)


def leaves_with_two(args: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(args)
    out, err = capfd.readouterr()
    assert left.value.code == 2, err
    assert out == ""
    assert err
    assert "Traceback" not in err
    assert "a bug" not in err
    return err


@pytest.mark.parametrize(("name", "option", "value"), sorted(set(table())))
def test_nonsense_exits_two_in_words(
    name: str, option: str, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    args = first_arguments(name)
    if name == "train" and option in ("--time", "--epochs"):  # one budget, the one in question
        args = [arg for arg in args if arg not in ("--steps", "1")]
    if name == "score" and option == "--split":
        args = ["score"]
    leaves_with_two([*args, option, value], capfd)
    assert not Path("run/best.safetensors").exists()


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_unknown_options_and_missing_values_exit_two(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    leaves_with_two([*name.split(), "--nonsense"], capfd)
    for other, option, _ in sorted(set(table())):
        if other == name:
            leaves_with_two([*name.split(), option], capfd)
            break


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["info", "a", "b"],
        ["info", "nowhere"],
        ["info", "text.txt"],
        ["data", "get"],
        ["data", "get", "nonsense"],
        ["train", "nowhere.txt"],
        ["train", "."],
        ["train", "/dev/zero"],
        ["train", "/dev/null"],
        ["train", "text.txt", "--steps", "1", "--epochs", "1"],
        ["train", "--resume", "--out", "nowhere"],
        ["train", "--resume", "--from", "run-before"],
        ["train", "text.txt", "--steps", "1", "--out", "run-before"],
        ["sample", "run-before", "--seed", "1", "--length", "0", "--count", "2"],
        ["sample", "run-before", "--seed", "1", "--length", "0", "--json"],
        ["score"],
        ["score", "nowhere.txt"],
        ["score", "--split", "val", "--model", "run-before"],
    ],
    ids=" ".join,
)
def test_wishes_that_cannot_be_exit_two(args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    err = leaves_with_two(args, capfd)
    assert err.startswith(("charrnn: ", "Usage: "))
    assert err.startswith("Usage: ") or err.count("\n") == 1
