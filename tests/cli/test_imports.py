"""What a command imports: help nothing heavy, torch only where something is trained."""

from __future__ import annotations

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
        ["export", str(RUN), "page.html"],
    ],
)
def test_only_training_imports_torch(args: list[str]) -> None:
    assert not {"torch", "pydantic"} & modules_after(*args)
