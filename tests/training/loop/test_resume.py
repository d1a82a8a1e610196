"""What a run may be resumed with, what is refused, and what is said."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.errors import CheckpointError, ConfigError, CorpusError, Interrupted, SaveError
from charrnn.text.vocab import Vocab
from charrnn.training.events import Plan, Silence
from charrnn.training.loop import trainer as loop
from tests.support.processes import TEXT
from tests.support.runs import SMALL, Notes, Worse, run


def test_resuming_a_complete_run_is_refused(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", steps=20)
    with pytest.raises(ConfigError, match="complete"):
        charrnn.train(out=tmp_path / "run", resume=True)
    assert charrnn.train(out=tmp_path / "run", resume=True, steps=30).steps == 30


def test_a_run_is_not_resumed_with_another_text(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", steps=5)
    corpus.write_text(TEXT + "x")
    with pytest.raises(CorpusError, match="sha256"):
        charrnn.train(corpus, out=tmp_path / "run", resume=True, steps=9)


@pytest.mark.parametrize("symbols", [1, 2, 40])
def test_a_checkpoint_with_another_vocabulary_is_not_resumed(
    corpus: Path, tmp_path: Path, symbols: int
) -> None:
    """The compiled kernels look ids up unchecked."""
    run(corpus, tmp_path / "run", steps=5)
    last = checkpoint.load(tmp_path / "run" / "last.safetensors", extra=True)
    vocab = Vocab(tuple(range(97, 97 + symbols)), (1,) * symbols)
    config = dataclasses.replace(last.config, vocab_size=symbols)
    weights = {n: np.zeros(shape, np.float32) for n, shape in config.shapes().items()}
    sizes = sum(w.size for w in weights.values())
    moments = {n: np.zeros(sizes, np.float32) for n in last.extra if n.startswith("optimizer")}
    forged = dataclasses.replace(
        last, config=config, vocab=vocab, weights=weights, extra=last.extra | moments
    )
    forged.save(tmp_path / "run" / "last.safetensors")
    (tmp_path / "run" / "previous.safetensors").unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"its vocabulary is not that of novel\.txt"):
        charrnn.train(out=tmp_path / "run", resume=True, steps=20)


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    corpus: Path, tmp_path: Path
) -> None:
    run(corpus, tmp_path / "run", steps=40)
    last = tmp_path / "run" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-10])
    notes = Notes()
    charrnn.train(out=tmp_path / "run", resume=True, steps=50, listener=notes)
    assert any("previous.safetensors" in note for note in notes.said)


@pytest.mark.parametrize(
    "changed",
    [
        ["threads"],
        ["device"],
        ["torch"],
        ["charrnn"],
        ["kernels"],
        ["torch", "device", "threads", "kernels"],
        [],
    ],
)
def test_a_changed_environment_is_named_in_one_warning(
    corpus: Path, tmp_path: Path, changed: list[str]
) -> None:
    run(corpus, tmp_path / "run", steps=5)
    path = tmp_path / "run" / "last.safetensors"
    saved = checkpoint.load(path, extra=True)
    now = saved.meta["resume"]["environment"]
    others = {"threads": 64, "device": "cuda", "torch": "2.11.0", "kernels": "another",
              "charrnn": "0.0.9"}  # fmt: skip
    before = now | {name: others[name] for name in changed}
    meta = saved.meta | {"resume": saved.meta["resume"] | {"environment": before}}
    dataclasses.replace(saved, meta=meta).save(path)
    notes = Notes()
    charrnn.train(out=tmp_path / "run", resume=True, steps=9, listener=notes)
    differences = [f"{name} {before[name]} → {now[name]}" for name in changed]
    wanted = [f"not an exact continuation: {', '.join(differences)}"] if changed else []
    assert notes.said == wanted


def test_after_a_fallback_the_damaged_file_never_replaces_the_good_one(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(corpus, tmp_path / "run", steps=40)
    last = tmp_path / "run" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-10])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "save", full)
        with pytest.raises(SaveError):
            charrnn.train(out=tmp_path / "run", resume=True, steps=80)
    assert charrnn.train(out=tmp_path / "run", resume=True, steps=60).steps == 60


def test_a_resumed_run_refuses_what_it_cannot_change(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", steps=5)
    wishes: list[dict[str, Any]]
    wishes = [{"val_frac": 0.2}, {"is_bytes": True}, {"hidden": 9}, {"split": "interleaved"}]
    for changed in wishes:
        with pytest.raises(ConfigError, match="keeps its"):
            charrnn.train(out=tmp_path / "run", resume=True, **changed)
    # nor does it go on in silence with what others have by default
    run(corpus, tmp_path / "bytes", steps=5, is_bytes=True)
    run(corpus, tmp_path / "latin", steps=5, encoding="latin-1")
    for name in ("bytes", "latin"):
        with pytest.raises(ConfigError, match="omit encoding"):
            charrnn.train(out=tmp_path / name, resume=True, encoding="utf-8")


def test_an_interleaved_run_does_not_become_a_contiguous_one(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(TEXT * (130_000 // len(TEXT) + 1))
    run(tmp_path / "long.txt", tmp_path / "run", steps=5, split="interleaved")
    with pytest.raises(ConfigError, match="omit split"):
        charrnn.train(out=tmp_path / "run", resume=True, split="contiguous", steps=9)
    again = charrnn.train(out=tmp_path / "run", resume=True, steps=9)
    assert again.steps == 9
    assert again.test is not None  # the part that only an interleaved split has by default


def test_a_run_of_before_keeps_its_interleaved_parts(tmp_path: Path) -> None:
    """Of 19 windows the first version validated on two; char-rnn, and runs of today, on one."""
    text, folder = tmp_path / "long.txt", tmp_path / "run"
    text.write_text((TEXT * 30)[:190_000])
    run(text, folder, steps=5, split="interleaved", fit_temperature=False)
    assert charrnn.load(folder).score_split("val", text).chars == 10_000
    for name in ("best.safetensors", "last.safetensors"):
        made = checkpoint.load(folder / name, extra=True)
        corpus = made.about("corpus")
        assert corpus["split"].pop("rule") == 2
        dataclasses.replace(made, meta=made.meta | {"corpus": corpus}).save(folder / name)
    listener = Planned()
    charrnn.train(out=folder, resume=True, steps=9, listener=listener)
    assert listener.chars == {"train": 150_000, "val": 20_000, "test": 20_000}
    assert "rule" not in checkpoint.load(folder / "last.safetensors").about("corpus")["split"]
    assert charrnn.load(folder).score_split("val", text).chars == 20_000


class Planned(Silence):
    """Remembers the sizes of the parts."""

    def on_plan(self, plan: Plan) -> None:
        self.chars = plan.chars


def test_a_resumed_run_accepts_its_own_settings(corpus: Path, tmp_path: Path) -> None:
    same = SMALL | {"split": "contiguous", "val_frac": 0.2, "encoding": "iso-8859-1"}
    run(corpus, tmp_path / "run", steps=5, val_frac=0.2, encoding="latin-1")
    assert charrnn.train(corpus, out=tmp_path / "run", resume=True, steps=8, **same).steps == 8
    others: dict[str, Any] = {"seed": 8, "val_frac": 0.1, "split": "interleaved", "is_bytes": True,
                              "encoding": "utf-16", "hidden": 9, "lines": True,
                              "max_bytes": 99}  # fmt: skip
    for name, other in others.items():
        with pytest.raises(ConfigError, match=f"omit .*{name}"):
            charrnn.train(out=tmp_path / "run", resume=True, steps=9, **{name: other})


def test_a_run_with_max_bytes_is_resumed_without_repeating_it(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", steps=5, max_bytes=700)
    assert charrnn.train(corpus, out=tmp_path / "run", resume=True, steps=8).steps == 8


def test_a_run_whose_time_is_spent_is_complete(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", steps=None, seconds=0.5)
    spent: list[dict[str, Any]] = [{}, {"seconds": 0.5}]
    for more in spent:
        with pytest.raises(ConfigError, match="complete"):
            charrnn.train(out=tmp_path / "run", resume=True, **more)


def test_a_run_that_ran_out_of_patience_is_complete(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = Worse()
    monkeypatch.setattr(loop.Trainer, "_evaluate", lambda _: worse())
    interrupted = []

    def stop(*_: object, **__: object) -> None:
        interrupted.append(True)
        raise Interrupted.by(signal.SIGTERM, "while it was fitted")

    with monkeypatch.context() as patch:
        patch.setattr("charrnn.training.loop.finalize.fit_temperature", stop)
        with pytest.raises(Interrupted):
            run(corpus, tmp_path / "run", patience=2, eval_every=10, steps=200)
    assert interrupted
    result = charrnn.train(out=tmp_path / "run", resume=True)
    assert (result.steps, result.early) == (30, True)
    same_budget: list[dict[str, Any]] = [{}, {"steps": 200}]
    for same in same_budget:
        with pytest.raises(ConfigError, match="a larger patience, epochs, steps or seconds"):
            charrnn.train(out=tmp_path / "run", resume=True, **same)
    assert charrnn.train(out=tmp_path / "run", resume=True, patience=4).steps == 50
    # another budget raises the learning rate again: what was worse before does not count
    assert charrnn.train(out=tmp_path / "run", resume=True, steps=300).steps == 90
