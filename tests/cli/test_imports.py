"""What a command imports: help nothing heavy, torch only where something is trained."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.checkpoints import python
from tests.support.command_line import RUN, commands

pytestmark = pytest.mark.usefixtures("a_run")


def modules_after(*args: str) -> set[str]:
    """What ``charrnn args`` has imported when it leaves."""
    program = """
import io, sys
from charrnn.cli.app import main
sys.stdin = io.TextIOWrapper(io.BytesIO(b"the end"))
try:
    main(sys.argv[1:])
finally:
    print("\\n", *sys.modules)
"""
    return set(python(program, *args).splitlines()[-1].split())


@pytest.mark.parametrize("args", [*(f"{name} -h" for name, _ in commands()), "--help", "--version"])
def test_help_imports_neither_torch_nor_numpy(args: str) -> None:
    assert not {"torch", "numpy", "rich.console", "tqdm"} & modules_after(*args.split())


@pytest.mark.parametrize(
    "args",
    [
        ["sample", str(RUN), "--length", "5", "--seed", "1"],
        ["score", "-", "--model", str(RUN)],
        ["info", str(RUN)],
        ["ls"],
        ["plot", "metrics.jsonl", "--out", "-"],
        ["export", str(RUN), "page.html"],
        ["export", str(RUN), "novel.torch.safetensors"],
        pytest.param(
            ["export", str(RUN), "novel.onnx"],
            marks=pytest.mark.skipif(not find_spec("onnx"), reason="onnx is not installed"),
        ),
    ],
)
def test_only_training_imports_torch(args: list[str]) -> None:
    Path("metrics.jsonl").write_text('{"step": 1, "train_nats": 2.5}\n')
    assert not {"torch", "pydantic"} & modules_after(*args)


@pytest.mark.parametrize("out", ["-", "curves.csv"])
def test_a_table_of_reports_needs_no_numpy(out: str) -> None:
    Path("metrics.jsonl").write_text('{"step": 1, "train_nats": 2.5}\n')
    loaded = modules_after("plot", "metrics.jsonl", "--out", out)
    assert not {"torch", "numpy", "matplotlib", "rich.console"} & loaded


def test_a_picture_of_reports_needs_no_torch() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    Path("metrics.jsonl").write_text('{"step": 1, "train_nats": 2.5}\n')
    loaded = modules_after("plot", "metrics.jsonl", "--out", "curves.svg")
    assert "torch" not in loaded
    assert "matplotlib" in loaded
    assert Path("curves.svg").exists()
