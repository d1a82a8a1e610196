"""A run to work with, and the command line as a function."""

from __future__ import annotations

import pytest

from tests.support.checkpoints import tiny
from tests.support.command_line import BEST, Call, leave


@pytest.fixture
def a_run(bare_environment: None) -> None:
    """A checkpoint of a run called novel."""
    tiny().save(BEST)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """``charrnn args`` in this process: exit code, stdout, stderr."""
    return lambda *args: leave(args, capfd)
