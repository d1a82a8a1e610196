"""``charrnn insight``: a page, its path, and what cannot be."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charrnn.insight import traces
from tests.support.checkpoints import ROOT, charrnn, tiny
from tests.support.command_line import Call


@pytest.fixture
def folder(bare_environment: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(traces, "LENGTH", 1000)  # in this process
    tiny().save(Path("checkpoints/novel/best.safetensors"))
    return Path("checkpoints/novel")


def test_the_command_writes_a_page_and_prints_its_path(folder: Path, call: Call) -> None:
    (folder / "metrics.jsonl").write_text('{"chars": 5, "val_nats": 2.5}\n')
    code, out, err = call("insight")
    assert (code, out) == (0, "novel.html\n")
    assert re.fullmatch(r"charrnn: \S+best.safetensors, seed \d+\n", err)
    made = Path("novel.html").read_text()
    assert all(f"<h2>{title}" in made for title in (
        "How it learned", "What surprised it", "What it copied", "What single units follow",
        "How it sees",
    ))  # fmt: skip
    again = call("insight", "novel", "--seed", "4", "--out", "-")
    assert (again.code, again.err) == (0, "")
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        assert call("insight", "novel", "--seed", "4", "--out", "pipe").out == "pipe\n"
        assert reader.communicate()[0] == again.out
    assert Path("pipe").is_fifo()
    assert again.out == call("insight", "novel", "--seed", "4", "--out", "-").out
    assert again.out.startswith("<!doctype html>")


def test_the_command_reads_a_text_and_needs_no_torch(folder: Path) -> None:
    Path("text.txt").write_text("abc " * 6000)
    Path("fake").mkdir()
    Path("fake/torch.py").write_text("raise ModuleNotFoundError('none', name='torch')")
    path = f"{Path('fake').absolute()}:{ROOT}"
    args = ["--text", "text.txt", "--unknown", "replace", "--out", "p"]
    done = charrnn("insight", "novel", *args, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (0, b"p\n"), done.stderr
    assert b"text.txt: reading the first 20,000 characters only" in done.stderr
    assert "text.txt: " in Path("p").read_text()


@pytest.mark.parametrize("cached", [True, False])
def test_the_command_finds_what_was_copied(
    folder: Path,
    new_cache: Callable[[Path], str],
    cached: bool,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the corpus as cached in training, or as named; neither is needed for the rest."""
    chapter = "".join(np.random.default_rng(7).choice(list("abcdefgh .\n"), 3000))
    Path("chapter.txt").write_text(chapter)
    monkeypatch.setenv("CHARRNN_CACHE", new_cache(Path("cache").absolute()))
    assert call("train", "chapter.txt", "--steps", "2", "--out", "of-it", "--quiet").code == 0
    Path("text.txt").write_text(chapter[100:350])
    if not cached:
        monkeypatch.setenv("CHARRNN_CACHE", new_cache(Path("another").absolute()))
    args = ["insight", "of-it", "--text", "text.txt", "--out", "-"]
    without = call(*args).out
    assert ("corpus it was trained on is not available" in without) != cached
    named = call(*args[:-1], "p.html", "--corpus", "chapter.txt")
    assert (named.code, named.err) == (0, "")
    made = Path("p.html").read_text()
    assert made == without or not cached
    assert "<tr><td>the longest</td><td>250</td><td>" in made
    assert "<td>20 or more</td><td>100.0%</td><td>0.0%</td>" in made
    assert f"<pre>{chapter[100:350]}</pre>" in made


@pytest.mark.parametrize(("args", "code", "said"), [
    (["--corpus", "none.txt"], 2, "cannot read none.txt"),
    (["--corpus", "odd.txt"], 2, "its sha256 differs; name the texts that the model"),
    (["--corpus", "-", "--text", "-"], 2, "--text and --corpus cannot both be standard input"),
    (["--text", "none.txt"], 2, "cannot read none.txt"),
    (["--text", "empty.txt"], 2, "empty.txt: the text to read needs at least two characters"),
    (["--text", "odd.txt"], 2, "odd.txt: character"),
    (["--out", "/proc/x/page.html"], 2, "there is no folder /proc/x; create it first"),
    (["--out", "/proc/page.html"], 1, "cannot write to /proc/page.html"),
    (["--out", "."], 2, "--out is ., a folder"),
])  # fmt: skip
def test_invalid_arguments_are_refused_in_one_line(
    folder: Path, args: list[str], code: int, said: str, call: Call
) -> None:
    Path("empty.txt").write_text("")
    Path("odd.txt").write_text("Ω")
    left, out, err = call("insight", "novel", "--seed", "1", *args)
    assert (left, out) == (code, "")
    assert (said in err, err.count("\n")) == (True, 1)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    folder: Path, call: Call
) -> None:
    Path("file").write_text("")
    left = call("insight", "novel", "--out", "file/page.html", "--text", "missing.txt")
    said = "charrnn: cannot write to file/page.html: Not a directory; choose another --out\n"
    assert left == (1, "", said)
    assert not list(Path().glob(".*tmp*"))
