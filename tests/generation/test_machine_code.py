"""When compiled code is compiled again."""

from __future__ import annotations

import ast

import pytest

pytest.importorskip("llvmlite", reason="numba is not installed")

from charrnn.generation.compiled.machine_code import PACKAGE, SOURCES

# modules that sources need for something else than the code that they write; what the last one
# decides is part of the key
OTHERS = {"atomic_io.py", "config.py", "paths.py", "generation/quantization.py"}


def imported(source: str) -> set[str]:
    """The files of the package's modules that the module in ``source`` imports."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / source).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "charrnn":
            path = "/".join((node.module or "").split(".")[1:])
            inside = {f"{path}/{name.name}.py".lstrip("/") for name in node.names}
            files = {name for name in inside if (PACKAGE / name).is_file()}
            found |= files or {f"{path}.py"}
    return found


def test_a_change_of_any_module_that_writes_code_compiles_it_again() -> None:
    found = {name for source in SOURCES for name in imported(source)}
    assert {"amx.py", "generation/compiled/tiles.py"} <= found
    assert found - OTHERS <= {*SOURCES}
