"""Where encoded texts are kept: the user's cache, or a folder with the run if there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn
from charrnn.atomic_io import remove_temporary_folders, temporary_folder
from charrnn.paths import cache_of_run, caches, usable_cache
from charrnn.text import shuffle
from charrnn.text.corpus import encode_corpus
from tests.support.checkpoints import environment, tiny
from tests.support.runs import run


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user whose cache nobody has named."""
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_the_cache_is_that_of_the_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = home / ".cache" / "charrnn"
    assert usable_cache() == cache_of_run(None) == cache_of_run(Path("run")) == own
    assert not own.parent.exists()  # nothing is created by asking
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "common"))
    assert usable_cache() == home / "common" / "charrnn"


def test_a_cache_that_somebody_named_is_used_or_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_text("in the way")
    monkeypatch.setenv("CHARRNN_CACHE", "file/below")
    assert usable_cache() == cache_of_run(Path("run")) == Path("file/below")


@pytest.mark.parametrize("spoilt", ["missing", "a file", "read-only"])
def test_without_a_usable_home_a_run_has_a_cache_of_its_own(
    home: Path, spoilt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if spoilt == "read-only":
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != home and access(path, mode))
    else:
        home.rmdir()
    if spoilt == "a file":
        home.write_text("in the way")
    assert usable_cache() is None
    assert cache_of_run(None) == Path("checkpoints/.charrnn-cache")
    assert cache_of_run(Path("runs/a")) == Path("runs/a/.charrnn-cache")
    Path("runs/.charrnn-cache").mkdir(parents=True)  # that of a run whose folder was not chosen
    assert cache_of_run(Path("runs/a")) == Path("runs/.charrnn-cache")
    beside = [Path("runs/.charrnn-cache"), Path("runs/a/.charrnn-cache")]
    assert list(caches(Path("runs/a")))[-2:] == beside
    assert usable_cache() is None


def test_a_run_without_a_home_is_resumed_and_scored(home: Path) -> None:
    home.rmdir()
    Path("novel.txt").write_text("The old prince went out, and nobody saw him again.\n" * 50)
    first = run(Path("novel.txt"), None, steps=3)
    assert first.folder == Path("checkpoints/novel")
    assert charrnn.train(resume=True, steps=5).steps == 5
    assert charrnn.train(resume=True, out=first.folder, steps=6).steps == 6
    model = charrnn.load(first.best)
    assert model.score_split("val").chars > 0
    assert len(list(Path().rglob("*.ids"))) == 1
    first.folder.rename("moved")
    assert charrnn.load("moved").path == Path("moved/best.safetensors")
    with pytest.raises(charrnn.CharRNNError, match="not in the cache; name its file"):
        charrnn.load("moved").score_split("val")
    assert charrnn.load("moved").score_split("val", "novel.txt").chars > 0
    assert len(list(Path().rglob("*.ids"))) == 1  # that text was encoded in a temporary folder


def test_lines_are_shuffled_without_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.rmdir()
    monkeypatch.setattr(shuffle, "IN_MEMORY", 10)
    Path("names.txt").write_text("Anna\nPierre\nNatasha\n" * 50)
    assert run(Path("names.txt"), Path("run"), steps=3, lines=True).steps == 3


def test_a_text_that_no_run_keeps_is_encoded_in_a_temporary_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home.rmdir()
    monkeypatch.setattr("charrnn.text.corpus.temporary_folder", lambda: tmp_path / "made")
    Path("novel.txt").write_text("to be or not to be")
    assert len(encode_corpus(["novel.txt"])) == 18
    assert list(Path("made").glob("*.ids"))


def test_a_command_that_fails_leaves_no_temporary_folder(tmp_path: Path) -> None:
    tiny().save(Path("model.safetensors"))
    Path("made").mkdir()
    env = environment(HOME="/nonexistent", TMPDIR=str(tmp_path / "made"))
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME"):
        env.pop(name, None)
    args = ["score", "--model", "model.safetensors", "--split", "val", "made"]
    command = [sys.executable, "-m", "charrnn", *args]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the folder made has no files" in done.stderr
    assert list(Path("made").iterdir()) == []


def test_temporary_folders_are_removed_by_the_process_that_made_them() -> None:
    folder = temporary_folder()
    (folder / "file").touch()
    if not (child := os.fork()):
        remove_temporary_folders()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert folder.is_dir()
    remove_temporary_folders()
    assert not folder.exists()
