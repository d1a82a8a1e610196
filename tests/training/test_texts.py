"""Texts that are small, long or shuffled become something to train on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import charrnn
from charrnn.errors import CorpusError, TrainingError
from charrnn.text import shuffle
from charrnn.training.texts import TextChoice
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


def test_a_long_text_validates_on_a_smaller_fraction() -> None:
    assert TextChoice().split_spec(10**6).val_frac == 0.1
    assert TextChoice().split_spec(10**8).val_frac == 0.005
    assert TextChoice(val_frac=0.3).split_spec(10**8).val_frac == 0.3
    assert TextChoice(split="interleaved").split_spec(10**8).val_frac == 0.1


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
