"""``charrnn score``: as a table, as JSON and line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charrnn.generation import scoring
from charrnn.text import lanes
from tests.support.checkpoints import charrnn, real_text, tiny
from tests.support.command_line import BEST, Call
from tests.support.networks import letters

pytestmark = pytest.mark.usefixtures("a_run")


def test_score_as_table_json_and_lines(call: Call) -> None:
    Path("text.txt").write_text("the old prince\nand the new\n")
    code, out, _ = call("score", "text.txt", "--model", "novel", "--json")
    values = json.loads(out)
    assert code == 0
    assert sorted(values) == [
        "bits_per_char", "chars", "error_bound", "nats_per_char", "perplexity",
    ]  # fmt: skip
    assert values["chars"] == 26
    assert values["error_bound"] == 0
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


def test_an_unknown_character_is_named_with_its_line_and_column(call: Call) -> None:
    Path("many.txt").write_text("the end\n" * 500 + "the €nd\n")
    where = "charrnn: many.txt: character '€' (U+20AC) at position 4004 (line 501, column 5) is "
    for more in ([], ["--per-line"], ["--color"], ["--per-line", "--json"]):
        code, out, said = call("score", "many.txt", "--model", "novel", *more)
        assert (code, out) == (2, "")
        assert said.startswith(where)
    said = call("score", "many.txt", "--model", "novel", "--unknown", "skip")[2]
    assert "(first: '€' U+20AC in line 501, column 5)" in said
    assert call("sample", "novel", "--prime-file", "many.txt")[2].startswith(where)
    assert call("insight", "novel", "--text", "many.txt")[2].startswith(where)


def test_a_text_in_another_encoding_says_which_option_reads_it(call: Call) -> None:
    keep = tiny(letters("\n abcdefï"))
    keep.save(BEST)
    Path("win.txt").write_bytes("bad\nab\xefd\n".encode("cp1252"))
    told = "utf-8 at byte 6 (line 2, column 3), it looks like cp1252 or latin-1; "
    for args in (["score", "win.txt", "--model", "novel"], ["sample", "--prime-file", "win.txt"]):
        code, _, said = call(*args)
        assert code == 2
        assert f"charrnn: win.txt: the text is not {told}set --encoding cp1252\n" == said
        assert call(*args, "--encoding", "cp1252")[0] == 0
    assert call("train", "win.txt")[2] == f"charrnn: win.txt is not {told}set --encoding cp1252\n"
    Path("wide.txt").write_bytes("bad dead face\n".encode("utf-16-le"))
    said = call("score", "wide.txt", "--model", "novel")[2]
    wanted = "the text has a NUL at byte 1, it looks like utf-16-le; set --encoding utf-16-le\n"
    assert said == f"charrnn: wide.txt: {wanted}"
    assert call("score", "wide.txt", "--model", "novel", "--encoding", "utf-16-le")[0] == 0
    Path("image").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    said = "charrnn: image is not utf-8 at byte 0, it looks like a PNG image; name a text, or "
    assert call("train", "image")[2] == f"{said}read it with --bytes\n"


def test_a_corpus_of_two_bytes_a_character_is_noted(call: Call) -> None:
    Path("wide.txt").write_bytes("bad dead face\n".encode("utf-16-le") * 30)
    small = "--steps", "1", "--size", "8", "--layers", "1", "--out", "run"
    said = call("train", "wide.txt", *small)[2]
    told = "charrnn: wide.txt has NUL characters, it looks like utf-16-le; --encoding utf-16-le "
    assert told + "reads it\n" in said


def test_a_line_without_counted_characters_has_no_figure(call: Call) -> None:
    Path("text.txt").write_text("\nthe old\n")
    args = ["score", "text.txt", "--model", "novel", "--per-line"]
    first, second = call(*args)[1].splitlines()
    counted = json.loads(call(*args, "--json")[1].splitlines()[1])
    assert first == "-\t"
    assert second == f"{counted['nats_per_char']:.4f}\tthe old"
    assert call(*args, "--color")[1].startswith("-\t")
    row = json.loads(call(*args, "--json")[1].splitlines()[0])
    nothing = dict.fromkeys(["nats_per_char", "bits_per_char", "perplexity", "error_bound"])
    assert row == {"chars": 0, "text": "", **nothing}


def test_a_score_is_exact_or_says_how_far_it_may_be_from_one_pass(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "ONE_PASS", 0)
    monkeypatch.setattr(lanes, "LEAST", 768)
    text, said = "the old prince and the new\n" * 100, "within 0.0001 nats of those of one pass"
    Path("text.txt").write_text(text)
    args = ["score", "text.txt", "--model", "novel"]
    joined, exact = (json.loads(call(*args, "--json", *more)[1]) for more in ([], ["--exact"]))
    assert (joined["error_bound"], exact["error_bound"]) == (1e-4, 0)
    assert joined["nats_per_char"] == pytest.approx(exact["nats_per_char"], abs=1e-4)
    assert "error_bound\t0.0001\n" in call(*args)[1]
    assert "error_bound\t0\n" in call(*args, "--exact")[1]
    for detail in ("--per-line", "--color"):
        assert said in call(*args, detail)[2]
        assert call(*args, detail, "--exact")[2] == ""
    rows = {}
    for bound, more in ((1e-4, []), (0, ["--exact"])):
        _, out, _ = call(*args, "--per-line", "--json", *more)
        rows[bound] = [json.loads(row) for row in out.splitlines()]
    assert all(row["error_bound"] == bound for bound in rows for row in rows[bound])
    for one, other in zip(rows[0], rows[1e-4], strict=True):
        assert one["nats_per_char"] == pytest.approx(other["nats_per_char"], abs=1e-4)


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


def test_adapted_scores_are_reported_beside_the_plain_ones(call: Call) -> None:
    Path("text.txt").write_text("the same words again and again, " * 12)
    plain = json.loads(call("score", "text.txt", "--json")[1])
    code, out, err = call("score", "text.txt", "--adapt", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {name: found[name] for name in plain} == plain
    assert found["adapted_nats_per_char"] < found["nats_per_char"]
    assert call("score", "text.txt", "--adapt", "--per-line")[0] == 2


def test_score_says_which_checkpoint_it_took_unless_it_was_named(call: Call) -> None:
    Path("text.txt").write_text("abcabc")
    assert call("score", "text.txt")[2] == f"charrnn: {BEST}\n"
    assert call("score", "text.txt", "--per-line")[2] == f"charrnn: {BEST}\n"
    assert call("score", "text.txt", "--model", "novel")[2] == ""
