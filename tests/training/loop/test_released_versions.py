"""Runs of released versions are read, sampled, scored and resumed as those versions did."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.training.loop import schedule
from tests.support.checkpoints import ROOT
from tests.support.processes import TEXT
from tests.support.runs import Notes, metrics

RUNS = sorted((ROOT / "tests/support/released").glob("*/*/expected.json"))
NEAR = 1e-4  # relative: another processor or another torch rounds otherwise


@pytest.fixture(params=RUNS, ids=lambda path: "-".join(path.parts[-3:-1]))
def released(request: pytest.FixtureRequest) -> tuple[Path, dict[str, Any]]:
    """A copy of a run, and what its version did with it."""
    shutil.copytree(request.param.parent, "run")
    Path("run/expected.json").unlink()
    Path("novel.txt").write_text(TEXT)
    return Path("run"), json.loads(request.param.read_text())


def test_there_are_runs_of_a_released_version() -> None:
    assert {path.parts[-3] for path in RUNS} >= {"0.1.0"}


def test_a_released_checkpoint_writes_and_scores_as_it_did(
    released: tuple[Path, dict[str, Any]],
) -> None:
    folder, expected = released
    for name in ("best", "last"):
        assert charrnn.load(folder / f"{name}.safetensors").vocab.decode([0]) == "\n"
    model = charrnn.load(folder, weight_dtype="float32")
    assert model.sample(length=60, seed=1) == expected["sample"]
    assert model.score(TEXT).nats_per_char == pytest.approx(
        expected["novel_nats_per_char"], rel=NEAR
    )


def test_a_released_run_is_resumed_as_its_version_would_have(
    released: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = released
    monkeypatch.setattr(schedule, "SHORT_SHARE", math.inf)  # it validated after each step
    notes = Notes()
    result = charrnn.train("novel.txt", resume=True, out=folder, steps=24, listener=notes)
    assert [note for note in notes.said if "damaged" in note or "cannot" in note] == []
    lines = [line for line in metrics(folder) if line["step"] > 20 and "final" not in line]
    assert len(lines) == 4
    for line, then in zip(lines, expected["steps_after_20"], strict=True):
        for name, value in then.items():
            assert line[name] == pytest.approx(value, rel=NEAR), (line["step"], name)
    assert result.test == pytest.approx(expected["test_nats_after_24"], rel=NEAR)
    assert result.temperature == pytest.approx(expected["temperature_after_24"], rel=1e-2)
