"""A run survives saves that fail, and its best network is never replaced by a worse one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import SaveError
from charrnn.training.loop import trainer as loop
from tests.support.runs import Notes, Worse, run, same, tensors


def test_training_survives_two_failed_saves_and_gives_up_at_the_third(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = {"left": 2}
    save = Checkpoint.save

    def save_or_fail(self: Checkpoint, path: Path, **settings: Any) -> None:
        if failing["left"]:
            failing["left"] -= 1
            raise OSError(28, "No space left on device")
        save(self, path, **settings)

    monkeypatch.setattr(Checkpoint, "save", save_or_fail)
    assert run(corpus, tmp_path / "twice").steps == 60
    failing["left"] = 1000
    with pytest.raises(SaveError, match="3 in a row"):
        run(corpus, tmp_path / "thrice")


def test_a_failed_save_of_the_best_network_does_not_count_as_the_best(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = Checkpoint.save, list[Path]()

    def fail_once(self: Checkpoint, path: Path, **settings: Any) -> None:
        if ".best." in path.name:
            saved.append(path)
            if len(saved) == 2:
                raise OSError(28, "No space left on device")
        save(self, path, **settings)

    monkeypatch.setattr(Checkpoint, "save", fail_once)
    result = run(corpus, tmp_path / "run", eval_every=10)
    kept = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert kept.meta["losses"]["val"] == result.best_val


def test_a_failed_save_of_the_last_network_is_repeated_at_the_end(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the best; the older one must not be fitted and pass for it."""
    save, wanted = Checkpoint.save, run(corpus, tmp_path / "quiet", eval_every=20)
    failing: list[Path] = []

    def fail_at_the_end(self: Checkpoint, path: Path, **settings: Any) -> None:
        if (
            ".best." in path.name
            and self.meta["progress"]["step"] == 60
            and len(failing) < failures
        ):
            failing.append(path)
            raise OSError(28, "No space left on device")
        save(self, path, **settings)

    monkeypatch.setattr(Checkpoint, "save", fail_at_the_end)
    failures = 1
    assert run(corpus, tmp_path / "once", eval_every=20).best_val == wanted.best_val
    assert same(*(tensors(tmp_path / name, "best.safetensors") for name in ("quiet", "once")))
    failures, failing = 2, []
    with pytest.raises(SaveError, match="the file there is older"):
        run(corpus, tmp_path / "twice", eval_every=20)


def test_a_better_network_in_the_folder_is_not_replaced(corpus: Path, tmp_path: Path) -> None:
    """One that was fitted in the end, or saved after the state that a run goes on from."""
    run(corpus, tmp_path / "run", steps=20)
    file = tmp_path / "run" / "best.safetensors"
    best = checkpoint.load(file)
    losses = best.about("losses") | {"val": 0.001, "unfitted_val": 0.001}
    dataclasses.replace(best, meta=best.meta | {"losses": losses}).save(file)
    before = file.read_bytes()
    charrnn.train(out=tmp_path / "run", resume=True, steps=60)
    assert file.read_bytes() == before


def test_a_damaged_best_network_is_moved_aside(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", steps=20)
    best = tmp_path / "run" / "best.safetensors"
    damaged = best.read_bytes()[:-9]
    best.write_bytes(damaged)
    notes = Notes()
    charrnn.train(out=tmp_path / "run", resume=True, steps=21, lr=1e-9, listener=notes)
    assert any(note.endswith("renamed to best.damaged") for note in notes.said)
    assert (tmp_path / "run" / "best.damaged").read_bytes() == damaged
    assert checkpoint.load(best).about("progress")["step"] == 21


def test_a_best_checkpoint_removed_before_the_end_is_replaced_with_its_own_loss(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = Worse()
    monkeypatch.setattr(loop.Trainer, "_evaluate", lambda _: worse())
    keep = loop.Trainer.keep_missing

    def gone(self: loop.Trainer) -> None:
        (self.folder.path / "best.safetensors").unlink()
        keep(self)

    monkeypatch.setattr(loop.Trainer, "keep_missing", gone)
    run(corpus, tmp_path / "run", eval_every=20, fit_temperature=False)
    losses = checkpoint.load(tmp_path / "run" / "best.safetensors").about("losses")
    assert losses["val"] == pytest.approx(1.0 + worse.seen / 1000)
    assert worse.seen == 4
