"""A run that was stopped and resumed is, byte for byte, the run that was not stopped."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import TEXT
from tests.support.runs import SMALL, metrics, resumes_exactly, run, same, stop_and_resume, tensors


@pytest.mark.parametrize("step", [1, 17, 43, 44, 59, 60])
def test_a_stopped_and_resumed_run_is_the_run_that_was_not_stopped(
    corpus: Path, tmp_path: Path, step: int
) -> None:
    run(corpus, tmp_path / "whole")
    stop_and_resume(corpus, tmp_path / "parts", step)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))
    best = "best.safetensors"
    assert same(tensors(tmp_path / "whole", best), tensors(tmp_path / "parts", best))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def at_the_epoch_s_end(window: int) -> list[int]:
    """The steps around the first epoch's last one: before it, it, and the first of the next."""
    windows = int(len(TEXT) * 0.9) // SMALL["batch"] // window
    return [windows - 1, windows, windows + 1]


def test_resuming_is_exact_around_an_epoch_s_end(corpus: Path, tmp_path: Path) -> None:
    resumes_exactly(corpus, tmp_path, at_the_epoch_s_end(80), steps=30, window=80, eval_every=10)


@pytest.mark.soak
def test_resuming_is_exact_from_fifty_random_steps(corpus: Path, tmp_path: Path) -> None:
    steps = {1, 2, 199, 200, *at_the_epoch_s_end(10)}
    others = sorted(set(range(3, 199)) - steps)
    steps |= set(random.Random(1).sample(others, 50 - len(steps)))
    assert len(steps) == 50
    resumes_exactly(corpus, tmp_path, sorted(steps), steps=200)


@pytest.mark.parametrize("settings", [
    {"cell": "gru"}, {"cell": "rnn-relu", "lr": 1e-3}, {"cell": "irnn", "lr": 1e-3},
    {"cell": "jordan"}, {"cell": "scrn", "context": 5, "learn_decay": True},
    {"cell": "clockwork", "periods": (1, 2, 5)}, {"lines": True}, {"reverse": True},
    {"bidirectional": True, "cell": "gru"},
    {"input_dropout": 0.1, "weight_dropout": 0.2}, {"ema": 0.9},
])  # fmt: skip
def test_resuming_is_exact_whatever_is_trained(
    corpus: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    resumes_exactly(corpus, tmp_path, [7], steps=20, eval_every=5, **settings)
