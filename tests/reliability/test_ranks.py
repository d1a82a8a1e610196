"""Processes that train together: what each says and leaves, and what happens when one is lost."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.processes import (
    TINY,
    Process,
    corpus_in,
    left_over,
)
from tests.support.ranks import codes, together
from tests.support.runs import metrics, same, tensors

STEPS = ("--steps", "12", "--test-frac", "0.1")  # every step is validated and saved
HERE = ("--device", "cpu", "--precision", "float32")
STEP = "charrnn.training.loop.optimizer.Stepper.step"


def trained(size: int, place: Path, *args: str, **more: Any) -> list[Process]:
    """A small run of ``size`` processes into the folder ``run``, from a text in ``place``."""
    place.mkdir(exist_ok=True)
    text = () if "--resume" in args else (corpus_in(place).name,)
    return together(size, "train", *text, "--out", "run", *TINY, *HERE, *args, place=place, **more)


def test_two_processes_train_resume_exactly_and_are_one_to_whoever_looks(tmp_path: Path) -> None:
    """One of them is in charge of 2 streams, the other one of 3."""
    five = "--batch", "5"
    alone = trained(1, tmp_path / "alone", *STEPS, *five, "--json")
    whole = trained(2, tmp_path / "whole", *STEPS, *five, "--json")
    assert codes(alone) + codes(whole) == [0, 0, 0]
    assert [process.stderr != "" for process in whole] == [True, False]
    told = [(process.streams / "stdout").read_text() for process in whole]
    assert [json.loads(line) for line in told[0].splitlines()][-1]["final"]
    assert told[1] == ""
    assert left_over(tmp_path / "whole/run") == []
    one, two = tensors(tmp_path / "alone/run"), tensors(tmp_path / "whole/run")
    for name, value in one.items():
        np.testing.assert_allclose(value.astype(float), two[name].astype(float), atol=1e-4)

    stopped = trained(2, tmp_path / "parts", *STEPS, *five, patches={1: [["hold", STEP, 7]]})
    stopped[1].until_phase()
    stopped[1].signal(signal.SIGTERM)
    assert codes(stopped) == [143, 143]
    assert "stopped and saved at step 7 in run" in stopped[0].lines[-1]
    assert stopped[1].stderr == ""
    assert codes(trained(2, tmp_path / "parts", "--resume", *five)) == [0, 0]
    for name in ("last.safetensors", "best.safetensors"):
        assert same(two if name[0] == "l" else tensors(tmp_path / "whole/run", name),
                    tensors(tmp_path / "parts/run", name))  # fmt: skip
    assert metrics(tmp_path / "parts/run") == metrics(tmp_path / "whole/run")
