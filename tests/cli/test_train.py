"""``charrnn train`` as a first-time user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkpoints import charrnn, environment
from tests.support.command_line import BEST, RUN, Call

pytestmark = pytest.mark.usefixtures("a_run")


def test_an_occupied_folder_says_how_to_go_on(call: Call) -> None:
    Path("text.txt").write_text("abcabc" * 100)
    begun = "with --from checkpoints/novel"
    assert begun in call("train", "text.txt", "--steps", "1", "--out", str(RUN))[2]
    assert begun in call("train", "--resume", "--out", str(RUN))[2]
    (RUN / "last.safetensors").write_bytes(BEST.read_bytes())
    assert "with --resume, or" in call("train", "text.txt", "--steps", "1", "--out", str(RUN))[2]


def test_metrics_that_cannot_be_printed_name_standard_output() -> None:
    Path("text.txt").write_text("abcabc" * 1000)
    args = ["train", "text.txt", "--steps", "2", "--size", "8", "--json", "--out", "run"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *args], stdout=full, stderr=subprocess.PIPE,
            env=environment(), text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "charrnn: standard output: No space left on device; stopped and saved" in done.stderr


def test_samples_in_a_log_without_validations_follow_a_line_with_the_step() -> None:
    Path("text.txt").write_text("abcabc" * 1000)
    args = ["--steps", "60", "--size", "8", "--layers", "1", "--val-frac", "0", "--out", "run"]
    said = charrnn("train", "text.txt", *args).stderr.decode().splitlines()
    samples = [index for index, line in enumerate(said) if line.startswith("    ")]
    assert samples
    assert all(said[i - 1].startswith(("step ", "    ")) for i in samples)


def test_lines_need_a_line_end(call: Call) -> None:
    Path("text.txt").write_text("abcabc" * 1000)
    small = ["--steps", "1", "--size", "8", "--layers", "1"]
    assert call("train", "text.txt", *small, "--out", "flat")[0] == 0
    code, _, said = call("sample", "flat", "--length", "5", "--lines")
    assert (code, said.startswith("charrnn: --lines needs a line end")) == (2, True)
    Path("lines.txt").write_text("abc\ncba\ncab")
    skip = ["--unknown", "skip", "--per-line", "--json"]
    _, out, _ = call("score", "lines.txt", "--model", "flat", *skip)
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["abc", "cba", "cab"]
