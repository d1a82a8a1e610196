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
from tests.architecture.test_imports import MODULES, room
from tests.support.command_line import commands

CORE = sorted(name for name in MODULES if room(name) not in {"cli", "console", "__main__"})
# their docstrings explain what the command line makes of a setting, a filter or a cell, or which
# command they are behind
ABOUT_OPTIONS = {
    "charrnn.cells", "charrnn.cells.base", "charrnn.generation.filters", "charrnn.hints",
    "charrnn.option", "charrnn.settings", *(name for name in CORE if room(name) == "bench"),
}  # fmt: skip
RUNS_THE_PROGRAM = {"charrnn.bench.start"}
DECLARED = {"flag", "aliases", "unset", "help"}  # the parts of a declaration that are about options

COMMANDS = {name.split()[-1] for name, _ in commands() if name}
OPTION = re.compile(r"(?<![\w-])--[a-z]")
COMMAND = re.compile(rf"\bcharrnn ({'|'.join(sorted(COMMANDS))})\b")
SETTINGS = {name for _, command in commands() for name in options_of(command.callback)}


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """The docstrings of a module, its classes and its functions."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, owners)]
    return {body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)}


def declarations(tree: ast.Module) -> set[ast.AST]:
    """What the declarations of settings say of their options."""
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
    return {n for keyword in keywords if keyword.arg in DECLARED for n in ast.walk(keyword.value)}


def texts(tree: ast.Module, without: set[ast.AST]) -> Iterator[tuple[int, str]]:
    """Every string constant with its line."""
    for node in set(ast.walk(tree)) - without:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("name", sorted({*CORE} - RUNS_THE_PROGRAM))
def test_no_core_module_names_an_option_or_a_command(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    allowed = declarations(tree) | (docstrings(tree) if name in ABOUT_OPTIONS else set())
    found = [
        f"line {line}: {text}"
        for line, text in texts(tree, allowed)
        if OPTION.search(text) or COMMAND.search(text)
    ]
    assert not found


def hints() -> Iterator[tuple[str, str]]:
    """The text of every hint in the core, and where it is: what has a name in braces."""
    for name in CORE:
        tree = ast.parse(MODULES[name].read_text())
        for line, text in texts(tree, docstrings(tree)):
            if re.search(r"\{[a-z_]+(\([\w, ]*\))?\}", text):
                yield text, f"{name}:{line}"


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
