"""``charrnn train`` as a first-time user meets it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest

from charrnn import outlet
from tests.support.checkpoints import environment
from tests.support.command_line import BEST, RUN, Call

pytestmark = pytest.mark.usefixtures("a_run")


def test_an_occupied_folder_says_how_to_go_on(call: Call) -> None:
    Path("text.txt").write_text("abcabc" * 100)
    begun = "with --from checkpoints/novel"
    assert begun in call("train", "text.txt", "--steps", "1", "--out", str(RUN))[2]
    assert begun in call("train", "--resume", "--out", str(RUN))[2]
    (RUN / "last.safetensors").write_bytes(BEST.read_bytes())
    assert "with --resume, or" in call("train", "text.txt", "--steps", "1", "--out", str(RUN))[2]


JSON_RUN = ["train", "text.txt", "--steps", "2", "--size", "8", "--json", "--out", "run"]


def test_metrics_that_can_no_longer_be_printed_name_standard_output(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(stream: TextIO, data: bytes) -> None:
        if stream is sys.stdout:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(stream, data)

    Path("text.txt").write_text("abcabc" * 1000)
    written = outlet.write
    monkeypatch.setattr(outlet, "write", write)
    code, out, err = call(*JSON_RUN)
    assert (code, out) == (1, "")
    assert "charrnn: standard output: No space left on device; stopped and saved" in err
    assert Path("run/last.safetensors").exists()


def test_metrics_that_cannot_be_printed_are_refused_before_any_work() -> None:
    Path("text.txt").write_text("abcabc" * 1000)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *JSON_RUN], stdout=full, stderr=subprocess.PIPE,
            env=environment(), text=True,
        )  # fmt: skip
    said = "charrnn: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert not Path("run").exists()


def test_samples_in_a_log_without_validations_follow_a_line_with_the_step(call: Call) -> None:
    Path("text.txt").write_text("abcabc" * 1000)
    args = ["--steps", "60", "--size", "8", "--layers", "1", "--val-frac", "0", "--out", "run"]
    said = call("train", "text.txt", *args)[2].splitlines()
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
