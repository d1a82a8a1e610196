"""``sample --lines`` with conditions, as text, JSON and rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import charrnn
from tests.support.checkpoints import charrnn as program
from tests.support.checkpoints import tiny
from tests.support.command_line import Call

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture(scope="module")
def trained(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with names, and a run that was trained on them as records."""
    place = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(session_cache))
        patch.chdir(place)
        Path("names").write_text("".join(f"{'ab' * (n % 5)}c{n % 3}\n" for n in range(300)))
        sizes: dict[str, Any] = {"hidden": 8, "layers": 1, "batch": 2, "window": 4, "steps": 200}
        charrnn.train("names", lines=True, out="run", seed=1, precision="float32", **sizes)
    return place


@pytest.fixture
def run(bare_environment: None, trained: Path) -> str:
    """A run of records, and its names."""
    shutil.copytree(trained, ".", dirs_exist_ok=True)
    return "run"


def test_as_many_as_wanted_are_printed(call: Call, run: str) -> None:
    args = "sample", run, "--count", "20", "--seed", "1", "--temp", "1"
    code, out, said = call(*args, "--unique", "--novel", "--match", "c.$")
    lines = out.splitlines()
    assert (code, len(lines), len(set(lines))) == (0, 20, 20)
    assert not set(lines) & set(Path("names").read_text().splitlines())
    assert all(line[-2] == "c" for line in lines)
    assert said.startswith("charrnn: ")
    assert " refused (" in said
    assert " not novel" in said
    more = call(*args[:3], "40", *args[4:], "--unique", "--novel", "--match", "c.$")[1]
    assert more.splitlines()[:20] == lines


def test_json_and_rows_give_nats_and_characters(call: Call, run: str) -> None:
    args = "sample", run, "--count", "9", "--seed", "1", "--unique", "--prefix", "ab"
    text = call(*args)[1].splitlines()
    assert all(line.startswith("ab") for line in text)
    values = [json.loads(line) for line in call(*args, "--json")[1].splitlines()]
    assert [value["text"] for value in values] == text
    assert [value["index"] for value in values] == list(range(9))
    rows = [line.split("\t") for line in call(*args, "--tsv")[1].splitlines()]
    assert [row[2] for row in rows] == text
    assert [row[0] for row in rows] == [f"{value['nats']:.4f}" for value in values]
    assert [int(row[1]) for row in rows] == [value["chars"] for value in values]
    assert [value["chars"] for value in values] == [len(line) + 1 for line in text]
    Path("some").write_text("\n".join(text))
    scored = call("score", "some", "--lines", "--model", run)[1].splitlines()
    assert [line.split("\t")[2] for line in scored] == text
    for line, value in zip(scored, values, strict=True):
        assert float(line.split("\t")[0]) == pytest.approx(value["nats"], abs=2e-4)


def test_all_records_have_nats_too(call: Call, run: str) -> None:
    args = "sample", run, "--count", "30", "--seed", "1", "--length", "3"
    plain, printed = call(*args)[1].splitlines(), call(*args, "--json")
    values = [json.loads(line) for line in printed.out.splitlines()]
    assert [value["text"] for value in values] == plain
    assert all(value["nats"] > 0 for value in values)
    assert "ended at --length 3" in printed.err
    assert [row.split("\t")[2] for row in call(*args, "--tsv")[1].splitlines()] == plain
    primed = call(*args, "--json", "--prime", "ab")[1].splitlines()
    assert sorted(json.loads(primed[0])) == ["index", "seed", "text"]


def test_spent_tries_exit_with_one(call: Call, run: str) -> None:
    args = "sample", run, "--count", "50", "--seed", "1", "--max-tries", "60"
    code, out, said = call(*args, "--unique", "--temp", "0.5")
    assert code == 1
    reached = out.count("\n")
    assert 0 < reached < 50
    assert said.startswith(f"charrnn: accepted {reached} of 50 records in 60 tries: ")
    assert said.endswith("; raise --max-tries\n")


def test_different_records_of_no_chance_at_all_are_refused(call: Call, run: str) -> None:
    args = "sample", run, "--seed", "1", "--unique", "--temp", "0"
    code, out, said = call(*args, "--count", "2")
    assert (code, out) == (2, "")
    assert said == "charrnn: --unique accepts one record, because all are the same; " + (
        "set --temp above 0\n"
    )


def test_the_corpus_can_be_named(call: Call, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty-cache").mkdir()
    monkeypatch.setenv("CHARRNN_CACHE", str(Path("empty-cache").resolve()))
    args = "sample", run, "--count", "3", "--seed", "1", "--novel"
    code, out, said = call(*args)
    assert (code, out) == (2, "")
    assert said == "charrnn: the corpus names is not in the cache; set --corpus to its file\n"
    code, out, _ = call(*args, "--corpus", "names")
    assert (code, out.count("\n")) == (0, 3)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--unique",), "--unique needs records of one line each; set --lines"),
        (("--tsv",), "--tsv needs records of one line each; set --lines"),
        (("--match", "x"), "--match needs records of one line each; set --lines"),
        (("--lines", "--prefix", "a", "--prime", "b"), "--prefix cannot be combined with --prime"),
        (("--lines", "--tsv", "--json"), "--tsv cannot be combined with --json"),
        (("--lines", "--match", "["), "--match is not a regular expression: unterminated"),
        (("--lines", "--prefix", "a\nb"), "--prefix has a line end, with which a record ends"),
        (("--lines", "--prefix", "É"), "character 'É' (U+00C9) at position 0 is not"),
    ],
)
def test_what_cannot_be_wanted_is_refused(call: Call, args: tuple[str, ...], said: str) -> None:
    tiny().save("model")
    code, out, err = call("sample", "model", "--seed", "1", *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_records_are_bytes_in_a_pipe(call: Call) -> None:
    """Whatever they contain: a tab, a return, half a character."""
    Path("raw").write_bytes(b"\xffa\tb\r!\n" * 50)
    small = "--lines", "--bytes", "--size", "8", "--layers", "1", "--batch", "2", "--window", "4"
    more = "--steps", "400", "--lr", "0.02", "--seed", "1", "--out", "run", "--precision", "float32"
    assert call("train", "raw", *small, *more)[0] == 0
    args = "sample", "run", "--count", "3", "--seed", "1", "--temp", "0.01", "--lines"
    done = program(*args, "--max-tries", "5")
    assert done.stdout == b"\xffa\tb\r!\n" * 3
    rows = program(*args, "--tsv").stdout
    assert rows.count(b"\t7\t\xffa\tb\r!\n") == rows.count(b"\n") == 3


def test_the_most_probable_records_are_listed(call: Call, run: str) -> None:
    code, out, said = call("likely", run, "--top", "20")
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, said, len(rows)) == (0, "", 20)
    nats = [float(row[0]) for row in rows]
    assert nats == sorted(nats)
    Path("some").write_text("".join(f"{row[2]}\n" for row in rows))
    scored = call("score", "some", "--lines", "--model", run)[1].splitlines()
    assert [line.split("\t")[1:] for line in scored] == [row[1:] for row in rows]
    assert [float(line.split("\t")[0]) for line in scored] == pytest.approx(nats, abs=2e-4)
    values = [
        json.loads(line)
        for line in call("likely", run, "--top", "20", "--json")[1].split("\n")[:-1]
    ]
    assert [value["text"] for value in values] == [row[2] for row in rows]
    assert [value["index"] for value in values] == list(range(20))
    begun = call("likely", run, "--top", "3", "--prefix", "abab")[1].splitlines()
    assert [row.split("\t")[2][:4] for row in begun] == ["abab"] * 3
    code, out, said = call("likely", run, "--length", "1", "--top", "100")
    assert code == 0
    assert said.endswith(f"there are only {out.count(chr(10))} records of at most 1 character\n")


def test_the_list_may_take_too_long(call: Call, run: str) -> None:
    code, out, said = call("likely", run, "--top", "1000", "--max-tries", "3000")
    assert code == 1
    assert said.startswith(f"charrnn: found {out.count(chr(10))} of 1,000 records in ")
    assert said.endswith("; raise --max-tries\n")
    tiny().save("text")
    assert call("likely", "text")[2] == (
        "charrnn: the network did not learn lines as records; "
        "set --lines to list its likeliest lines\n"
    )
    assert call("likely", "text", "--lines", "--prefix", "aÉ")[2].startswith(
        "charrnn: character 'É' (U+00C9) at position 1 is not in the vocabulary of "
    )
    assert call("likely", "text", "--lines", "--top", "2")[1].count("\n") == 2
