"""What others may build on: public names, the error tree, what imports what."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from graphlib import TopologicalSorter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn import errors
from tests.support.checkpoints import ROOT, python, tiny

PACKAGE = ROOT / "charrnn"
# the rooms in the order in which text flows through them; each imports from those before it
ROOMS = [
    "cells", "hints", "errors", "settings", "config", "paths", "atomic_io", "interrupts", "text",
    "checkpoint", "generation", "textmodel", "model", "training", "insight", "bench", "console",
    "cli", "__main__",
]  # fmt: skip
# the same inside training
TRAINING = [
    "events", "state", "recipes", "hardware", "distributed", "texts", "evaluation", "rundir",
    "loop", "api",
]  # fmt: skip
TORCH_FREE = {*ROOMS[: ROOMS.index("model")], "insight", "console", "cli", "__main__"}
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


# --- public names


def test_everything_in_all_is_there_and_documented() -> None:
    for name in charrnn.__all__:
        value = getattr(charrnn, name)
        assert name == "__version__" or inspect.getdoc(value), name


def test_all_names_what_the_facade_offers_and_nothing_else() -> None:
    assert set(charrnn.__all__) == {*charrnn._HOMES, "__version__"}
    assert set(dir(charrnn)) == set(charrnn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        charrnn.nonsense  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(charrnn.__all__) - {"__version__"}))
def test_public_names_are_charrnns_own(name: str) -> None:
    value = getattr(charrnn, name)
    assert value.__module__.startswith("charrnn.")


def test_importing_charrnn_imports_neither_torch_nor_numpy() -> None:
    loaded = python("import sys, charrnn; print(*sorted(sys.modules))").split()
    assert not {"torch", "numpy", "typer", "rich"} & set(loaded)


def test_a_sample_without_a_seed_is_another_each_time() -> None:
    model = charrnn.TextModel(tiny())
    assert len({model.sample(length=200) for _ in range(3)}) == 3
    assert len({model.sample(length=200, seed=None) for _ in range(3)}) == 3
    assert len({model.sample(length=200, seed=0) for _ in range(3)}) == 1


def test_one_sample_is_not_several() -> None:
    with pytest.raises(errors.ConfigError, match="count is not 1: sample writes one text"):
        charrnn.TextModel(tiny()).sample(count=3)


def test_a_sample_that_nothing_ends_is_refused() -> None:
    model = charrnn.TextModel(tiny())
    with pytest.raises(errors.ConfigError, match="length"):
        model.sample(length=0)
    with pytest.raises(errors.ConfigError, match="length is 0"):
        model.samples("", charrnn.SampleConfig(length=0))
    assert "e" not in model.sample(length=0, stop=("e",))
    assert "\n" not in model.sample(length=0, lines=True)


# --- errors


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preset": "nope"}, "preset is 'nope': it must be one of karpathy2015"),
        ({"device": "cuda"}, "device is 'cuda', which this machine"),
        (
            {"precision": "float16", "device": "cpu"},
            "precision is 'float16', which needs a CUDA GPU",
        ),
        (
            {"is_bytes": True, "encoding": "latin-1"},
            "is_bytes takes the text's bytes as they are; omit encoding",
        ),
        (
            {"start_from": "model", "hidden": 32},
            "start_from keeps the checkpoint's shape; omit hidden",
        ),
        (
            {"start_from": "model", "is_bytes": True},
            "start_from keeps the checkpoint's characters; omit is_bytes",
        ),
        (
            {"resume": True, "preset": "small"},
            "resume continues a run as it is; omit start_from and preset",
        ),
        ({"out": ""}, "out is empty"),
        ({"out": "text"}, "text is not a folder"),
        ({"max_bytes": 0}, "max_bytes is 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_train_refuses_is_named_as_python_calls_it(
    settings: dict[str, Any], said: str
) -> None:
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("a GPU is here: asking for it is not refused")
    tiny().save("model", half=True)
    Path("text").write_text("the old prince\n" * 50)
    with pytest.raises(errors.ConfigError) as refused:
        charrnn.train("text", steps=1, **settings)
    assert str(refused.value).startswith(said)
    assert sorted(path.name for path in Path().iterdir()) == ["model", "text"]


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(errors.CorpusError, match="path is empty"):
        charrnn.train("", steps=1)
    with pytest.raises(errors.CheckpointError, match="path is empty"):
        charrnn.load("")


def test_a_misspelt_policy_is_refused() -> None:
    model = charrnn.TextModel(tiny())
    with pytest.raises(errors.ConfigError, match="unknown is 'Skip'"):
        model.score("the §§", unknown="Skip")  # type: ignore[arg-type]


def test_a_text_does_not_hide_the_run_that_has_its_name() -> None:
    tiny().save("checkpoints/novel/best.safetensors")
    Path("novel").write_text("the old prince\n")
    assert charrnn.load("novel").path == Path("checkpoints/novel/best.safetensors")
    tiny().save("other")
    assert charrnn.load("other").path == Path("other")


def test_the_error_tree_is_the_one_in_the_docstring() -> None:
    drawn = {}
    inherited = [1]
    for line in (inspect.getdoc(errors) or "").splitlines():
        match = re.match(r"^([ │├└─]*)(\w+)\s*(?:exit (\d+))?", line)
        if not match or not hasattr(errors, match[2]):
            continue
        depth = len(match[1]) // 4 - 1
        code = int(match[3]) if match[3] else inherited[depth]
        inherited[depth + 1 :] = [code]  # what those below inherit
        drawn[match[2]] = (depth, code)
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.CharRNNError)
    }
    assert set(drawn) == set(classes)
    for name, (depth, code) in drawn.items():
        assert classes[name].__mro__.index(errors.CharRNNError) == depth, name
        if name != "Interrupted":
            assert classes[name].exit_code == code, name
    assert errors.Interrupted(15).exit_code == 143


# --- who imports whom


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
    if name not in {"charrnn.model.torch_private", "charrnn.model.layers"}:
        assert not private_names(ast.parse(MODULES[name].read_text()))


GROUND = {"hints", "errors", "settings", "config"}


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


def test_every_public_function_of_the_facade_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
    for name in ("load", "train"):
        hints = inspect.signature(getattr(charrnn, name))
        assert hints.return_annotation is not inspect.Signature.empty


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", charrnn.__version__)
    with suppress(PackageNotFoundError):  # it may run from its folder
        assert version("charrnn-cli") == charrnn.__version__
