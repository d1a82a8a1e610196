"""``--lines``: records from file to sample, by way of the command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.training.evaluation.temperature import fit_temperature
from charrnn.training.loop import finalize
from charrnn.training.rundir.metrics import METRICS
from charrnn.training.texts import TextChoice
from tests.support.command_line import Call

pytestmark = pytest.mark.usefixtures("bare_environment")
SMALL = (
    "--size",
    "8",
    "--layers",
    "1",
    "--precision",
    "float32",
    "--batch",
    "2",
    "--window",
    "4",
    "--seed",
    "1",
)


def train(call: Call, *files: str, steps: int = 20, out: str = "run") -> str:
    more = "--lines", *SMALL, "--steps", str(steps), "--out", out
    code, printed, said = call("train", *files, *more)
    assert (code, printed) == (0, ""), said
    return said


def scored(call: Call, *args: str) -> dict[str, Any]:
    code, printed, said = call("score", "--model", "run", "--json", *args)
    assert code == 0, said
    values: dict[str, Any] = json.loads(printed)
    return values


def test_a_files_end_ends_a_record(call: Call) -> None:
    Path("a").write_bytes(b"AB")
    Path("b").write_bytes(b"CD\n")
    train(call, *["a", "b"] * 20, steps=300)
    _, out, said = call("sample", "run", "--count", "200", "--seed", "1", "--temp", "0.5")
    assert {"AB", "CD"} <= set(out.splitlines())
    assert "ABCD" not in out
    assert "before a line end" not in said


def test_standard_input_beside_a_file(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"AB\nAB\nAB")))
    Path("b").write_bytes(b"CD")
    train(call, "b", "-", "b", steps=1)
    ids, _ = charrnn.load("run").corpus()
    assert charrnn.load("run").vocab.decode(ids) == "CD\nAB\nAB\nAB\nCD\n"


def test_records_with_returns_are_those_without(call: Call) -> None:
    records = [f"{'ab' * (n % 5)}c" for n in range(200)]
    Path("unix").write_bytes("\n".join(records).encode() + b"\n")
    Path("dos").write_bytes("\r\n".join(records).encode() + b"\r\n")
    train(call, "unix", out="one")
    train(call, "dos", out="run")
    one, two = charrnn.load("one"), charrnn.load("run")
    assert one.vocab == two.vocab
    assert all((one.checkpoint.weights[k] == v).all() for k, v in two.checkpoint.weights.items())
    args = "sample", "run", "--count", "50", "--seed", "1"
    assert "\r" not in call(*args)[1]
    Path("d").write_bytes(b"abc\r\nc\r\n")
    Path("u").write_bytes(b"abc\nc")
    assert scored(call, "d") == scored(call, "u")
    assert scored(call, "d")["chars"] == 6
    assert call("score", "d", "--model", "run", "--per-line")[1].count("\n") == 2


def test_the_validation_figure_is_the_score_of_its_records(call: Call) -> None:
    records = [f"{'ab' * (n * n % 7)}c{n % 3}" for n in range(300)]
    Path("text").write_text("\n".join(records))
    train(call, "text")
    last = json.loads((Path("run") / METRICS).read_text().splitlines()[-1])
    split = scored(call, "--split", "val")
    assert split["nats_per_char"] == pytest.approx(last["val_nats"], abs=2e-6)
    model = charrnn.load("run")
    ids, ranges = model.part("val")
    text = model.vocab.decode(ids)
    pieces = [text[start:stop] for start, stop in ranges]
    assert len(pieces) > 1
    assert ranges[-1][1] == len(text)
    assert {text[edge - 1] for edges in ranges for edge in edges} == {"\n"}  # no record is torn
    read = "".join(pieces)
    Path("val").write_text(read.removesuffix("\n"))
    own = scored(call, "val", "--adapt")
    assert own["chars"] == split["chars"] == len(read)
    assert own["nats_per_char"] == pytest.approx(split["nats_per_char"], abs=2e-6)
    adapted = scored(call, "--split", "val", "--adapt")["adapted_nats_per_char"]
    assert own["adapted_nats_per_char"] == pytest.approx(adapted, abs=2e-6)
    lines = call("score", "val", "--model", "run", "--json", "--per-line")[1].splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text"] for row in rows] == read.splitlines()
    total = sum(row["nats_per_char"] * row["chars"] for row in rows)
    assert total / len(read) == pytest.approx(split["nats_per_char"], abs=2e-6)


def test_the_figures_at_the_end_of_a_run_are_those_of_records(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temperature is fitted to records, too."""
    fitted: list[tuple[Any, Any]] = []

    def fit(network: Any, ids: Any, ranges: Any, **more: Any) -> float:
        fitted.append((ids, ranges))
        return fit_temperature(network, ids, ranges, **more)

    monkeypatch.setattr(finalize, "fit_temperature", fit)
    records = [f"{'ab' * (n * n % 7)}c{n % 3}" for n in range(2000)]
    Path("text").write_text("\n".join(records))
    more = "--lines", *SMALL, "--steps", "60", "--test-frac", "0.1", "--out", "run"
    assert call("train", "text", *more)[0] == 0
    last = json.loads((Path("run") / METRICS).read_text().splitlines()[-1])
    for part in ("val", "test"):
        nats = scored(call, "--split", part)["nats_per_char"]
        assert nats == pytest.approx(last[f"{part}_nats"], abs=2e-6)
    [(ids, ranges)] = fitted
    vocab = charrnn.load("run").vocab
    text = [vocab.decode(ids[start:stop]) for start, stop in ranges]
    assert 150 < len(text) < 250
    assert {piece.removesuffix("\n") for piece in text} <= set(records)
    assert last["temperature"] is not None


def test_the_same_record_scores_the_same_three_times(call: Call) -> None:
    Path("text").write_text("AB\nCD\n" * 50)
    train(call, "text", steps=2)
    Path("names").write_text("AB\nAB\nAB")
    lines = call("score", "names", "--model", "run", "--json", "--per-line")[1].splitlines()
    assert len(set(lines)) == 1
    assert json.loads(lines[0])["chars"] == 3


@pytest.mark.parametrize("text", ["abcdefghi\n", "abcdefghi", "abcdefghi\r\n"])
def test_one_record_is_not_enough(call: Call, text: str) -> None:
    Path("one").write_bytes(text.encode())
    said = train(call, "one", steps=2)
    assert "charrnn: one is a single record, of which samples can only be copies; --lines " in said


def test_a_sample_that_is_cut_says_so(call: Call) -> None:
    Path("text").write_text("ab" * 100 + "\n" + "ab" * 100 + "\n")
    said = train(call, "text", steps=2)
    assert "single record" not in said
    args = "sample", "run", "--length", "1", "--seed", "1"
    code, out, said = call(*args, "--count", "30", "--json")
    cut = sum(len(json.loads(line)["text"]) for line in out.splitlines())
    assert (code, cut > 0) == (0, True)
    assert said == f"charrnn: {cut} of 30 samples ended at --length 1, before a line end\n"
    assert call(*args, "--count", "30")[2] == said
    alone = {call("sample", "run", "--length", "1", "--seed", str(seed))[2] for seed in range(9)}
    assert alone - {""} == {"charrnn: the sample ended at --length 1, before a line end\n"}
    _, out, said = call("sample", "run", "--seed", "1", "--count", "30", "--length", "10000")
    assert (out.count("\n"), said) == (30, "")


def test_a_text_without_whole_records_to_validate_on_says_so(call: Call) -> None:
    Path("text").write_text("abcdefghijklmnop\n" * 3)
    assert "no whole record is left to validate on; a larger --val-frac" in train(call, "text")
    more = "--lines", *SMALL, "--steps", "1", "--out", "more", "--val-frac", "0.4"
    assert "no whole record" not in call("train", "text", *more)[2]


def test_a_run_of_records_is_resumed(call: Call) -> None:
    Path("a").write_bytes(b"AB\r\nBA\r\nABB" * 30)
    Path("b").write_bytes(b"CD\n" * 30)
    train(call, "a", "b", steps=4)
    code, _, said = call("train", "--resume", "--out", "run", "--steps", "8", "-q")
    assert code == 0, said
    code, _, said = call("train", "a", "b", "--resume", "--out", "run", "--steps", "9", "-q")
    assert code == 0, said
    train(call, "a", "b", steps=9, out="straight")
    one, two = charrnn.load("run"), charrnn.load("straight")
    assert one.meta["progress"]["step"] <= 9
    assert one.vocab == two.vocab
    assert one.meta["corpus"] == two.meta["corpus"]


def test_a_run_of_the_first_version_goes_on_as_it_was_read(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kept the returns before line feeds, and half a record at the end of a part."""
    Path("text").write_bytes(b"AB\r\nBA\r\nABB\r\n" * 40 + b"AB")
    encode = TextChoice.encode
    with monkeypatch.context() as patch:
        patch.setattr(TextChoice, "encode", lambda self, records=False: encode(self))
        train(call, "text", steps=4)
    for text in ([], ["text"]):
        steps = f"{8 + len(text)}"
        code, _, said = call("train", *text, "--resume", "--out", "run", "--steps", steps)
        assert code == 0, said
    model = charrnn.load("run")
    assert model.meta["corpus"]["records"] is False
    assert model.vocab.id_of("\r") is not None
    code, out, _ = call("sample", "run", "--count", "50", "--seed", "1")
    assert (code, out.count("\n")) == (0, 50)
    Path("names").write_bytes(b"AB\nBA")
    assert scored(call, "names")["chars"] == 8
    assert scored(call, "--split", "val")["chars"] > 8
