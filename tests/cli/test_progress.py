"""What a training run prints, and how often."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from charrnn.cli import progress
from charrnn.cli.progress import TrainConsole
from charrnn.training.events import Report, Result
from tests.support.command_line import Call
from tests.support.terminal import on_a_terminal

pytestmark = pytest.mark.usefixtures("a_run")

SMALL = ("--size", "8", "--layers", "1", "--seed", "1", "--threads", "1", "--out", "run")


@pytest.fixture(autouse=True)
def a_text() -> None:
    Path("text").write_text("the quick brown fox jumps over the lazy dog\n" * 100)


def samples(said: str) -> list[str]:
    """The samples, each as one line."""
    lines = said.replace("\r", "").splitlines()
    return ["\n".join(lines[k - 1 : k + 1]) for k in range(1, len(lines)) if is_first(lines, k)]


def is_first(lines: list[str], place: int) -> bool:
    """Whether a sample begins in the line at ``place``."""
    return lines[place].startswith("    ") and not lines[place - 1].startswith("    ")


def test_a_short_run_prints_one_sample_the_last(call: Call) -> None:
    code, _, err = call("train", "text", "--steps", "30", *SMALL)
    assert code == 0
    said = [line.split()[1] for line in err.splitlines() if line.startswith("step ")]
    assert said == ["10", "20", "30"]
    (only,) = samples(err)
    assert only.startswith("step 30 ")


def report(step: int) -> Report:
    return Report(step, 1, 100 * step, step, 0.1, 2.0, 1.9, 0.5, 100.0)


def test_a_long_run_prints_a_sample_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    console = TrainConsole()
    for step in range(1, 14):
        now[0] += 1
        console.on_report(report(step))
        console.on_sample(f"sample {step}")
    console.on_result(Result(Path("run"), 13, 1300, 13.0, 2.0, 1.9, None, 1, False))
    shown = [sample.split()[-1] for sample in samples(capfd.readouterr().err)]
    every = int(progress.PREVIEW_S)
    assert shown == [*map(str, range(every, 14, every)), "13"]


@pytest.mark.parametrize("columns", [60, 80])
def test_no_word_is_broken_on_a_terminal(columns: int, tmp_path: Path) -> None:
    words = ["train", "text", "--steps", "3", *SMALL]
    seen = on_a_terminal(*words, columns=columns, NO_COLOR="1").text  # without a bar
    lines = seen.replace("\r\n", "\n").splitlines()
    assert max(map(len, lines)) <= columns
    whole = " ".join(line.strip() for line in lines)
    assert "lr 0.004, dropout 0, seed 1 charrnn: training for 3 steps on " in whole
    assert "; try: charrnn sample run" in whole
    assert any(line.endswith("charrnn sample run") for line in lines)


def test_a_report_fits_a_line_of_a_terminal_with_a_bar() -> None:
    seen = on_a_terminal("train", "text", "--steps", "30", *SMALL).text
    said = re.sub(r"\x1b\[A|\r", "\n", seen).splitlines()
    reports = [line.strip() for line in said if line.startswith("step ")]
    assert [line.split()[1] for line in reports] == ["10", "20", "30"]
    assert all(line.endswith(" bits)") for line in reports)


def test_a_small_network_is_counted(call: Call) -> None:
    err = call("train", "text", "--steps", "1", *SMALL)[2]
    assert ": 0.00 M" not in err
    assert "lstm 1 x 8, embedding 32: " in err
    assert " weights; 8 streams of " in err
