"""No code is ever loaded; other programs' files are refused by name."""

from __future__ import annotations

import ast
import io
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.checkpoint.file import load
from charrnn.errors import CheckpointError
from tests.support.checkpoints import ROOT, tiny

FORMATS = ["pt", "pth", "zip", "ckpt", "h5", "npz", "npy", "pkl", "PT", "gguf", "bin", "onnx"]


def refused(content: bytes) -> str:
    Path("given.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load(Path("given.safetensors"))
    return str(caught.value)


def test_foreign_files_are_refused_by_name() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"")
    assert "is a zip archive (PyTorch's torch.save writes those)" in refused(archive.getvalue())
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert "is a pickle" in refused(pickle.dumps({"a": 1}, protocol))
    assert "is a GGUF file" in refused(b"GGUF" + bytes(100))
    assert "is an HDF5 file" in refused(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "is a NumPy file" in refused(b"\x93NUMPY\x01\x00" + bytes(100))


@pytest.mark.parametrize("name", FORMATS)
def test_files_named_like_other_formats_are_refused_by_name(name: str) -> None:
    path = Path(f"model.{name}")
    tiny().save(path)  # whatever is in it
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert str(caught.value) == (
        f"model.{name} is a .{name} file: it was not opened; "
        "charrnn reads only the .safetensors files that it writes"
    )


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield f"allow_pickle={ast.unparse(node.value)}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield f"{node.func.id}()"


def test_nothing_in_charrnn_loads_code() -> None:
    pattern = re.compile(
        r"(c?pickle|dill|joblib|marshal|shelve|cloudpickle)(\.|$)|torch\.(load|jit\.load|hub)\b"
        r"|allow_pickle=|^(eval|exec)\(\)$"
    )
    for path in (ROOT / "charrnn").rglob("*.py"):
        found = [name for name in _names(ast.parse(path.read_text())) if pattern.match(name)]
        assert not found, f"{path}: {found}"
