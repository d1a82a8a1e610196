"""One run, one folder, one trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

import charrnn
from charrnn.errors import ConfigError, CorpusError, FolderBusyError
from charrnn.training.events import Silence
from charrnn.training.rundir.directory import RunFolder, occupied
from tests.support.runs import run


def test_an_occupied_folder_is_not_trained_into(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", steps=2)
    with pytest.raises(ConfigError, match="continue it with resume=True"):
        run(corpus, tmp_path / "run", steps=2)


def test_the_folder_is_held_by_one_trainer(tmp_path: Path) -> None:
    with occupied(tmp_path / "run", Silence()) as folder:
        assert isinstance(folder, RunFolder)
        with (
            pytest.raises(FolderBusyError, match="process"),
            occupied(tmp_path / "run", Silence()),
        ):
            pass
    with occupied(tmp_path / "run", Silence()):
        pass


def test_a_batch_that_is_too_large_leaves_no_folder(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="make batch or window smaller"):
        run(corpus, tmp_path / "run", steps=2, batch=9000, window=9000)
    assert not (tmp_path / "run").exists()


def test_an_occupied_folder_is_refused_before_the_text_is_read(
    corpus: Path, tmp_path: Path
) -> None:
    run(corpus, tmp_path / "run", steps=2)
    with pytest.raises(ConfigError, match="holds a run"):
        charrnn.train(tmp_path / "there is none", out=tmp_path / "run")
    with (
        occupied(tmp_path / "other", Silence()),
        pytest.raises(FolderBusyError, match=r"^process \d+ on .* is training into "),
    ):
        charrnn.train(tmp_path / "there is none", out=tmp_path / "other")
