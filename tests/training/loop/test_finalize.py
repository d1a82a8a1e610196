"""The best network's temperature is fitted once, at the end of a run."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.generation.scoring import Score
from charrnn.training.loop import trainer as loop
from tests.support.runs import run


def test_the_best_network_s_temperature_is_fitted_in_the_end(corpus: Path, tmp_path: Path) -> None:
    settings = {"steps": 20, "lr": 3e-2, "precision": "float32"}
    plain = run(corpus, tmp_path / "plain", **settings, fit_temperature=False)
    fitted = run(corpus, tmp_path / "fitted", **settings)
    assert plain.temperature is None
    assert fitted.temperature is not None
    assert plain.best_val is not None
    assert fitted.best_val is not None
    assert fitted.best_val < plain.best_val
    before, after = (checkpoint.load(result.best) for result in (plain, fitted))
    assert after.meta["temperature"] == fitted.temperature
    assert after.about("losses")["val"] == fitted.best_val
    head = before.weights["head.weight"] / np.float32(fitted.temperature)
    np.testing.assert_allclose(after.weights["head.weight"], head, rtol=1e-5)
    last = [checkpoint.load(r.folder / "last.safetensors", extra=True) for r in (plain, fitted)]
    assert all((last[0].weights[k] == last[1].weights[k]).all() for k in last[0].weights)
    scored = charrnn.load(fitted.best).score_split("val", corpus)
    assert scored.nats_per_char == pytest.approx(fitted.best_val, abs=1e-4)


def test_a_resumed_run_is_fitted_once(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", steps=60, lr=3e-2)
    folder = tmp_path / "run"
    again = charrnn.train(out=folder, resume=True, steps=61, lr=1e-9)
    best = checkpoint.load(folder / "best.safetensors")
    assert best.meta["temperature"] == again.temperature
    assert best.about("losses")["val"] == again.best_val


def test_a_better_network_after_a_fit_is_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its unfitted loss may lie between those of the one before, unfitted and fitted."""
    scores = iter([1.50, 1.46])
    monkeypatch.setattr(loop.Trainer, "_evaluate", lambda _: Score(1000 * next(scores), 1000))
    fits = iter([1.45, 1.42])
    monkeypatch.setattr("charrnn.training.loop.finalize._scored", lambda *_: next(fits))
    first = run(corpus, tmp_path / "run", steps=20, eval_every=20)
    assert first.best_val == 1.45
    again = charrnn.train(out=tmp_path / "run", resume=True, steps=40)
    assert again.best_val == 1.42
    best = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert best.about("losses") == {"train": ANY, "val": 1.42, "unfitted_val": 1.46, "test": None}
    assert best.about("progress")["step"] == 40


def test_a_handful_of_characters_fits_no_temperature(corpus: Path, tmp_path: Path) -> None:
    few = run(corpus, tmp_path / "few", steps=5, lr=3e-2, val_frac=0.02)
    assert few.temperature is None
