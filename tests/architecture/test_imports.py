"""Rooms import only from the rooms before them, and torch stays where training is."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.checkpoints import ROOT, python

PACKAGE = ROOT / "charrnn"


# the rooms in the order in which text flows through them; each imports from those before it
ROOMS = [
    "hints", "errors", "option", "arguments", "settings", "cells", "model_config", "config",
    "paths", "atomic_io", "interrupts", "outlet", "amx", "text", "checkpoint", "generation",
    "textmodel", "filling", "model", "training", "insight", "export", "lab", "bench", "console",
    "cli", "__main__",
]  # fmt: skip


# the same inside training
TRAINING = [
    "events", "state", "recipes", "hardware", "distributed", "processes", "texts", "evaluation",
    "rundir", "loop", "machinery", "beginning", "api", "trial", "planning",
]  # fmt: skip


TORCH_FREE = {*ROOMS[: ROOMS.index("model")], "insight", "export", "console", "cli", "__main__"}


TORCH_FREE_TRAINING = {"events", "state", "recipes", "texts", "rundir"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def type_checking_only(tree: ast.Module) -> set[ast.AST]:
    """What stands under ``if TYPE_CHECKING``."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.update(inner for stmt in node.body for inner in ast.walk(stmt))
    return found


def imported(name: str, at_import: bool) -> Iterator[str]:
    """Modules that ``name`` imports: when it is imported, or at all (functions too)."""
    tree = ast.parse(MODULES[name].read_text())
    typing_only = type_checking_only(tree)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    late = {n for f in ast.walk(tree) if isinstance(f, functions) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if node in typing_only or (at_import and node in late):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_importing_charrnn_imports_neither_torch_nor_numpy() -> None:
    loaded = python("import sys, charrnn; print(*sorted(sys.modules))").split()
    assert not {"torch", "numpy", "typer", "rich"} & set(loaded)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"charrnn"}))
def test_rooms_import_only_from_rooms_before_them(name: str) -> None:
    assert room(name) in ROOMS, f"{name} is in no room of the design"
    own = ROOMS.index(room(name))
    for other in imported(name, at_import=False):
        if other.startswith("charrnn."):
            assert ROOMS.index(room(other)) <= own, f"{name} imports {other}"


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith("charrnn.training.")))
def test_the_rooms_of_training_build_on_those_before_them(name: str) -> None:
    own = TRAINING.index(name.split(".")[2])
    for other in imported(name, at_import=False):
        if other.startswith("charrnn.training."):
            assert TRAINING.index(other.split(".")[2]) <= own, f"{name} imports {other}"


@pytest.mark.parametrize("name", sorted(n for n in MODULES if room(n) in TORCH_FREE))
def test_torch_stays_where_training_is(name: str) -> None:
    assert not [m for m in imported(name, at_import=False) if m.split(".")[0] == "torch"]


def test_a_run_s_folder_its_recipe_and_its_events_do_without_torch() -> None:
    names = [n for n in MODULES if n.count(".") > 1 and n.split(".")[2] in TORCH_FREE_TRAINING]
    assert {name.split(".")[2] for name in names} == TORCH_FREE_TRAINING
    imports = "; ".join(f"import {name}" for name in names)
    assert "torch" not in python(f"import sys; {imports}; print(*sys.modules)").split()


def private_names(tree: ast.AST) -> set[str]:
    """Names with an underscore that a module takes out of torch."""
    attributes = (ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    found = {name for name in attributes if re.match(r"torch(\.\w+)*\._[^_]", name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name for name in names if re.search(r"\._[^_]", name)}
    return found


@pytest.mark.parametrize("name", sorted(set(MODULES)))
def test_torch_s_private_names_are_used_in_one_file(name: str) -> None:
    if name != "charrnn.model.torch_private":
        assert not private_names(ast.parse(MODULES[name].read_text()))


GROUND = {"hints", "errors", "option", "settings", "model_config", "config"}


@pytest.mark.parametrize("name", sorted(n for n in MODULES if room(n) in GROUND))
def test_the_ground_needs_the_standard_library_alone(name: str) -> None:
    for other in imported(name, at_import=False):
        top = other.split(".")[0]
        assert top in sys.stdlib_module_names or top == "charrnn", other


def test_no_import_goes_round_in_circles() -> None:
    graph = {
        name: {m for m in imported(name, at_import=True) if m in MODULES and m != name}
        for name in MODULES
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_every_module_says_what_it_is_and_can_be_read_at_a_sitting() -> None:
    for path in MODULES.values():
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), path
        # generated instructions are long by nature
        assert {"kernels", "compiled"} & {*path.parts} or text.count("\n") <= 350, path
