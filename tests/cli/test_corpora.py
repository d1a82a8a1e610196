"""Corpora of many files, packed ones and strange ones, as the commands take them."""

from __future__ import annotations

import gzip
import json
import shlex
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from charrnn.checkpoint import file as checkpoint
from charrnn.text.corpus import cached_corpus
from tests.support.command_line import Call
from tests.support.processes import TEXT

SMALL = ["--steps", "2", "--size", "8", "--layers", "1", "--threads", "1", "--seed", "1"]
SMALL += ["--val-frac", "0.2", "--out", "run"]


@pytest.fixture(autouse=True)
def books() -> None:
    """Two texts, one of them packed, and a picture."""
    Path("books/old").mkdir(parents=True)
    Path("books/b.txt").write_text(TEXT)
    Path("books/old/a.txt.gz").write_bytes(gzip.compress(TEXT.upper().encode()))
    Path("books/old/photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")


def test_a_folder_trains_resumes_and_is_scored_as_it_was_named(call: Call) -> None:
    code, _, said = call("train", "books", *SMALL)
    assert (code, said.count("\n")) == (2, 1)
    assert "books/old/photo.jpg is not utf-8 at byte 0, it looks like a JPEG image" in said
    assert said.endswith("or omit it with --skip-bad\n")
    assert not Path("run").exists()
    code, _, said = call("train", "books", "--skip-bad", *SMALL)
    assert code == 0, said
    assert "skipped: books/old/photo.jpg is not utf-8 at byte 0, it looks like a JPEG im" in said
    card = checkpoint.load(Path("run")).meta
    assert (card["corpus"]["name"], card["corpus"]["skip_bad"]) == ("books", True)
    assert card["corpus"]["chars"] == 2 * len(TEXT)
    words = shlex.split(card["made"]["command"])
    assert words[2] == "books"
    assert "--skip-bad" in words
    assert call("train", "books", "--resume", "--out", "run", "--steps", "3", "-q")[0] == 0
    cached = call("score", "--split", "val", "--model", "run", "--json")
    assert cached.code == 0
    for named in (["books"], ["books/b.txt", "books/old/*.gz"], ["books/**/*.[tg]*"]):
        assert call("score", "--split", "val", "--model", "run", "--json", *named) == cached


def test_the_parts_of_many_files_are_scored_in_their_order_only(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["books/old/a.txt.gz", "books/b.txt"]
    assert call("train", *files, *SMALL)[0] == 0
    scored = call("score", "--split", "val", "--model", "run", "--json", *files)
    assert json.loads(scored.out)["chars"] == round(len(TEXT) * 2 * 0.2 + 0.5)
    whole = TEXT.upper() + TEXT  # a text is the same in one file and in two
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(gzip.compress(whole.encode()))))
    assert call("score", "--split", "val", "--model", "run", "--json", "-").out == scored.out
    code, out, said = call("score", "--split", "val", "--model", "run", *files[::-1])
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert "b.txt + a.txt.gz is not the corpus a.txt.gz + b.txt: its sha256 differs" in said
    code, out, said = call("score", *files, "--model", "run")
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert "score reads one FILE" in said
    page = call("insight", "run", "--corpus", files[0], "--corpus", files[1], "--seed", "1")
    assert page.code == 0, page.err
    assert call("insight", "run", "--corpus", files[0], "--seed", "1").code == 2


def test_every_command_that_reads_a_text_unpacks_it(call: Call) -> None:
    Path("packed").write_bytes(gzip.compress(TEXT.encode()))
    assert call("train", "packed", *SMALL)[0] == 0
    for command in (
        ["score", "{}", "--model", "run"],
        ["score", "{}", "--model", "run", "--per-line"],
        ["score", "{}", "--model", "run", "--lines"],
        ["sample", "run", "--prime-file", "{}", "--seed", "1", "--length", "9"],
    ):
        plain, packed = (
            call(*(word.format(name) for word in command)) for name in ("books/b.txt", "packed")
        )
        assert plain.code == 0
        assert packed == plain
    Path("cut").write_bytes(gzip.compress(TEXT.encode())[:-9])
    code, out, said = call("score", "cut", "--model", "run")
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert said.startswith("charrnn: cut is cut short: it ends at byte ")
    said = call("score", "cut", "--model", "run", "--lines").err
    assert said.startswith("charrnn: cut: the text is cut short: it ends at byte ")


def test_many_files_that_are_skipped_are_counted(call: Call) -> None:
    for number in range(30):
        Path(f"books/{number:02}.bin").write_bytes(b"\xff")
    said = call("train", "books", "--skip-bad", *SMALL)[2]
    assert said.count("skipped: ") == 20
    assert "skipped 11 more files" in said


def test_nothing_else_is_left_in_the_cache(call: Call, tmp_path: Path) -> None:
    cache = tmp_path / "cache of this test"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(cache))
        assert call("train", "books/old/a.txt.gz", *SMALL)[0] == 0
        about = checkpoint.load(Path("run")).meta["corpus"]
        assert cached_corpus(about["sha256"], about["name"], "utf-8") is not None
    assert {path.suffix for path in cache.glob("*-utf_8.*")} == {".ids", ".json"}
    assert len([*cache.glob("*utf_8*")]) == 2
