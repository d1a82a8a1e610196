"""An exception at any instant leaves memory whole and threads finished."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.checkpoints import ROOT


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("sample", 120),
        ("score", 40),
        ("train", 10),
        pytest.param("sample", 10_000, marks=pytest.mark.soak),
        pytest.param("score", 2_000, marks=pytest.mark.soak),
        pytest.param("train", 300, marks=pytest.mark.soak),
    ],
)
def test_an_exception_at_any_instant(kind: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.interrupted", kind, str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120 + 2 * count,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= count
