"""What a command imports: help nothing heavy, torch only where something is trained."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.checkpoints import environment
from tests.support.command_line import RUN

pytestmark = pytest.mark.usefixtures("a_run")


def modules_after(*args: str) -> set[str]:
    """What ``charrnn args`` has imported when it leaves."""
    code = (
        "import sys\nfrom charrnn.cli.app import main\ntry:\n    main(sys.argv[1:])\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *args]
    result = subprocess.run(
        command, env=environment(), capture_output=True, text=True, input="the end"
    )
    assert result.returncode == 0, result.stderr
    return set(result.stderr.split())


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["sample", "-h"], ["--version"]])
def test_help_imports_neither_torch_nor_numpy(args: list[str]) -> None:
    assert not {"torch", "numpy", "rich.console", "tqdm"} & modules_after(*args)


@pytest.mark.parametrize(
    "args",
    [
        ["sample", str(RUN), "--length", "5", "--seed", "1"],
        ["score", "-", "--model", str(RUN)],
        ["info", str(RUN)],
        ["ls"],
    ],
)
def test_only_training_imports_torch(args: list[str]) -> None:
    assert not {"torch", "pydantic"} & modules_after(*args)
