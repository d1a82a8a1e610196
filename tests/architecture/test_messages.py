"""Messages name settings as whoever reads them knows them: core modules know no command line."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import pytest

import charrnn
from charrnn.cli.command import OptionStyle, options_of
from charrnn.errors import CharRNNError
from charrnn.hints import Hint
from tests.architecture.test_public_api import MODULES, room
from tests.support.command_line import commands

CORE = sorted(name for name in MODULES if room(name) not in {"cli", "console", "__main__"})
# their docstrings explain what the command line makes of a setting, a filter or a cell
ABOUT_OPTIONS = {
    "charrnn.cells", "charrnn.generation.filters", "charrnn.hints", "charrnn.settings",
}  # fmt: skip
# it runs the program, and its docstrings say how
RUNS_THE_PROGRAM = {"charrnn.bench.start", "charrnn.bench.sampling"}
DECLARED = {"flag", "more", "unset", "help"}  # the parts of a declaration that are about options

COMMANDS = {name.split()[-1] for name, _ in commands() if name}
OPTION = re.compile(r"(?<![\w-])--[a-z]")
COMMAND = re.compile(rf"\bcharrnn ({'|'.join(sorted(COMMANDS))})\b")
SETTINGS = {name for _, command in commands() for name in options_of(command.callback)}


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string constant with its line, but those that declare options."""
    declarations = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg in DECLARED
        for inner in ast.walk(node.value)
    }
    for node in set(ast.walk(tree)) - declarations:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("name", sorted({*CORE} - ABOUT_OPTIONS - RUNS_THE_PROGRAM))
def test_no_core_module_names_an_option_or_a_command(name: str) -> None:
    found = [
        f"line {line}: {text}"
        for line, text in texts(ast.parse(MODULES[name].read_text()))
        if OPTION.search(text) or COMMAND.search(text)
    ]
    assert not found


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """The docstrings of a module, its classes and its functions."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, owners)]
    return {body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)}


def hints() -> Iterator[tuple[str, str]]:
    """The text of every hint in the core, and where it is: what has a name in braces."""
    for name in CORE:
        tree = ast.parse(MODULES[name].read_text())
        for node in set(ast.walk(tree)) - docstrings(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            if re.search(r"\{[a-z_]+(\([\w, ]*\))?\}", node.value):
                yield node.value, f"{name}:{node.lineno}"


HINTS = sorted(hints())


class Recorder:
    """A style that notes what it is asked to spell."""

    def __init__(self) -> None:
        self.settings: set[str] = set()
        self.functions: set[str] = set()

    def setting(self, name: str, value: object = None) -> str:
        self.settings.add(name)
        return name

    def call(self, function: str, arguments: object) -> str:
        self.functions.add(function)
        return function


@pytest.mark.parametrize(("text", "where"), HINTS, ids=[where for _, where in HINTS])
def test_a_hint_names_what_both_interfaces_have(text: str, where: str) -> None:
    asked = Recorder()
    names = {name for call in re.findall(r"\((.*?)\)", text) for name in call.split(", ") if name}
    said = Hint(text, dict.fromkeys(names, True)).spelled(asked)
    assert "{" not in said
    assert asked.settings | names <= SETTINGS
    assert {function for function in asked.functions if not hasattr(charrnn, function)} == set()
    train = next(options_of(command.callback) for name, command in commands() if name == "train")
    for function in asked.functions:
        called = OptionStyle(train).call(function, {})
        assert called.split()[1] in COMMANDS


def test_there_are_hints_to_check() -> None:
    assert len(HINTS) > 25


def test_every_error_can_be_given_a_hint() -> None:
    for kind in CharRNNError.__subclasses__():
        assert {"hint", "values"} <= set(inspect.signature(kind).parameters), kind
