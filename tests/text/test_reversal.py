"""A text that is read from right to left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.text import mapped as texts
from charrnn.text.corpus import encode_corpus
from charrnn.text.reversal import turned


def test_a_turned_text_has_the_same_parts_backwards() -> None:
    ids, ranges = np.arange(10, dtype=np.uint8), ((0, 3), (5, 6), (7, 10))
    back, where = turned(ids, ranges)
    assert back.tolist() == list(range(9, -1, -1))
    found = [back[start:stop][::-1].tolist() for start, stop in where]
    assert found == [[7, 8, 9], [5], [0, 1, 2]]
    assert where == tuple(sorted(where))
    again, same = turned(back, where)
    assert (again.tolist(), same) == (ids.tolist(), ranges)


def test_a_turned_text_on_disk_notices_that_its_file_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "IN_MEMORY", 0)
    (tmp_path / "novel.txt").write_text("the old prince\n" * 1000)
    corpus = encode_corpus([tmp_path / "novel.txt"], cache=tmp_path)
    ids, _ = turned(corpus.ids, ())
    assert isinstance(ids, np.memmap)
    assert corpus.vocab.decode(ids[:7]) == "\necnirp"
    assert corpus.vocab.decode(ids[np.array([[1, 2]])].flatten()) == "ec"
    [path] = tmp_path.rglob("*.ids")
    with open(path, "r+b") as file:
        file.truncate(20)
    with pytest.raises(CorpusError, match="was cut short"):
        ids[np.array([3])]
