"""The folder that a run takes, and how it is found again."""

from __future__ import annotations

from pathlib import Path

import pytest

import charrnn
from charrnn.training.events import Silence
from charrnn.training.rundir.directory import occupied
from tests.support.processes import TEXT
from tests.support.runs import SMALL, run


def test_two_runs_without_out_take_two_folders(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with occupied(Path("checkpoints/novel"), Silence()):  # by one that has saved nothing yet
        assert run(corpus, None, steps=2).folder == Path("checkpoints/novel-2")


def test_resuming_by_name_takes_that_corpus_and_no_longer_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("book", "bookshelf"):
        (tmp_path / f"{name}.txt").write_text(TEXT)
        charrnn.train(f"{name}.txt", **(SMALL | {"steps": 5}))
    assert charrnn.train("book.txt", resume=True, steps=7).folder.name == "book"


def test_a_text_whose_name_has_no_letters_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "!!!.txt").write_text(TEXT)
    charrnn.train("!!!.txt", steps=2, **SMALL)
    assert charrnn.train("!!!.txt", steps=3, resume=True).steps == 3
