"""``charrnn score``: as a table, as JSON and line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.checkpoints import charrnn, real_text
from tests.support.command_line import BEST, Call

pytestmark = pytest.mark.usefixtures("a_run")


def test_score_as_table_json_and_lines(call: Call) -> None:
    Path("text.txt").write_text("the old prince\nand the new\n")
    code, out, _ = call("score", "text.txt", "--model", "novel", "--json")
    values = json.loads(out)
    assert code == 0
    assert sorted(values) == ["bits_per_char", "chars", "nats_per_char", "perplexity"]
    assert values["chars"] == 26
    table = dict(line.split("\t") for line in call("score", "text.txt")[1].splitlines())
    assert table["nats_per_char"] == f"{values['nats_per_char']:.4f}"
    per_line = call("score", "text.txt", "--per-line")[1].splitlines()
    assert [line.split("\t")[1] for line in per_line] == ["the old prince", "and the new"]
    rows = [
        json.loads(line)
        for line in call("score", "text.txt", "--per-line", "--json")[1].splitlines()
    ]
    nats = sum(row["nats_per_char"] * row["chars"] for row in rows)
    assert nats / 26 == pytest.approx(values["nats_per_char"], rel=1e-6)
    assert "\x1b[" in call("score", "text.txt", "--color")[1]
    both = call("score", "text.txt", "--color", "--per-line")[1].splitlines()
    shown = call("score", "text.txt", "--color")[1].splitlines()
    figures = [line.split("\t")[0] for line in per_line]
    assert both == [f"{figure}\t{text}" for figure, text in zip(figures, shown, strict=True)]


def test_a_line_without_counted_characters_has_no_figure(call: Call) -> None:
    Path("text.txt").write_text("\nthe old\n")
    args = ["score", "text.txt", "--model", "novel", "--per-line"]
    first, second = call(*args)[1].splitlines()
    counted = json.loads(call(*args, "--json")[1].splitlines()[1])
    assert first == "-\t"
    assert second == f"{counted['nats_per_char']:.4f}\tthe old"
    assert call(*args, "--color")[1].startswith("-\t")
    row = json.loads(call(*args, "--json")[1].splitlines()[0])
    nothing = dict.fromkeys(["nats_per_char", "bits_per_char", "perplexity"])
    assert row == {"chars": 0, "text": "", **nothing}


def test_score_wants_a_file_or_a_split(call: Call) -> None:
    for args in (
        ["score"],
        ["score", "x", "--split", "val"],
        ["score", "missing.txt"],
        ["score", "."],
    ):
        code, out, err = call(*args)
        assert (code, out, err.count("\n")) == (2, "", 1), args
    code, _, err = call("score", "--split", "val", "--color")
    assert (code, err.count("\n")) == (2, 1)


def test_score_reads_real_text() -> None:
    text = real_text("tinyshakespeare.txt").read_bytes()[:3000].lower()
    done = charrnn("score", "-", "--model", "novel", "--unknown", "skip", "--json", input=text)
    assert done.returncode == 0
    assert json.loads(done.stdout)["chars"] > 2000


def test_adapted_scores_are_reported_beside_the_plain_ones(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the same words again and again, " * 12)
    plain = json.loads(charrnn("score", str(text), "--json").stdout)
    done = charrnn("score", str(text), "--adapt", "--json")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert {name: found[name] for name in plain} == plain
    assert found["adapted_nats_per_char"] < found["nats_per_char"]
    assert charrnn("score", str(text), "--adapt", "--per-line").returncode == 2


def test_score_says_which_checkpoint_it_took_unless_it_was_named(call: Call) -> None:
    Path("text.txt").write_text("abcabc")
    assert call("score", "text.txt")[2] == f"charrnn: {BEST}\n"
    assert call("score", "text.txt", "--per-line")[2] == f"charrnn: {BEST}\n"
    assert call("score", "text.txt", "--model", "novel")[2] == ""
