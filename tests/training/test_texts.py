"""Texts that are small, long or shuffled become something to train on."""

from __future__ import annotations

import errno
import os
from itertools import chain
from pathlib import Path
from string import ascii_lowercase

import pytest

import charrnn
from charrnn.checkpoint.corpus import own_corpus
from charrnn.checkpoint.file import load
from charrnn.errors import CorpusError, TrainingError
from charrnn.text import shuffle
from charrnn.text.records import aligned_parts
from charrnn.training.texts import TextChoice, stem_of
from tests.support.runs import run


@pytest.mark.parametrize("text", ["ab", "aaaaaa", "one two three", "abc" * 20, "x\ny\n" * 9])
def test_small_corpora_train(tmp_path: Path, text: str) -> None:
    path = tmp_path / "small.txt"
    path.write_text(text)
    if len(text) == 2:
        with pytest.raises(CorpusError, match="at least"):
            charrnn.train(path, steps=2, seed=1)
    else:
        assert charrnn.train(path, steps=2, seed=1).steps == 2


@pytest.mark.parametrize(
    ("corpus", "folder"),
    [
        ("novel.txt", "novel"),
        ("novel.txt.gz", "novel"),
        ("novel.zst", "novel"),
        ("novel", "novel"),
        ("v1.2.txt.zst", "v1.2"),
        ("books/**/*.txt.gz", "books"),
        ("a.txt.gz + b.txt.gz", "a"),
        ("standard input", "standard-input"),
        ("*.gz", "corpus"),
    ],
)
def test_a_run_is_named_after_its_corpus(corpus: str, folder: str) -> None:
    assert stem_of(corpus) == folder


def test_a_long_text_validates_on_a_smaller_fraction() -> None:
    assert TextChoice().split_spec(10**6).val_frac == 0.1
    assert TextChoice().split_spec(10**8).val_frac == 0.005
    assert TextChoice(val_frac=0.3).split_spec(10**8).val_frac == 0.3
    assert TextChoice(split="interleaved").split_spec(10**8).val_frac == 0.1


def test_parts_of_records_come_from_all_over_a_sorted_list(tmp_path: Path) -> None:
    names = [f"{a}{b}{c}" for a in ascii_lowercase for b in "aeiou" for c in ("na", "ro", "tek")]
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in names))
    result = run(tmp_path / "names.txt", tmp_path / "run", steps=2, lines=True, test_frac=0.1)
    checkpoint = load(result.folder / "last.safetensors")
    corpus, parts = own_corpus(checkpoint, "it", tmp_path / "names.txt")
    assert corpus.line_end is not None
    whole = aligned_parts(corpus.ids, parts, corpus.line_end)
    assert checkpoint.about("corpus")["split"]["kind"] == "spread"
    read = {
        part: "".join(corpus.vocab.decode(corpus.ids[a:b]) for a, b in whole.named(part)).split()
        for part in ("train", "val", "test")
    }
    assert sorted(chain.from_iterable(read.values())) == names
    assert {name[0] for name in read["train"]} == set(ascii_lowercase)
    assert len({name[0] for name in read["val"]}) > 5
    assert len({name[0] for name in read["test"]}) > 5


def test_no_room_for_shuffled_lines_names_the_cache(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shuffle, "IN_MEMORY", 10)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        TrainingError, match=r"no room to shuffle the lines: .*: No space left.*saved"
    ):
        run(corpus, tmp_path / "run", steps=2, lines=True)
