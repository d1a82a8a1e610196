"""Runs: exact resuming, nothing disturbs them, what stops them."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
import torch

import charrnn
from charrnn import interrupts
from charrnn.checkpoint import file as checkpoint
from charrnn.config import TrainConfig
from charrnn.errors import (
    CheckpointError,
    ConfigError,
    CorpusError,
    FolderBusyError,
    Interrupted,
    NonFiniteLossError,
    SaveError,
    TrainingError,
)
from charrnn.generation.scoring import Score
from charrnn.text import shuffle
from charrnn.text.vocab import Vocab
from charrnn.training.events import Silence
from charrnn.training.loop import trainer as loop
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.schedule import Budget, learning_rate
from charrnn.training.recipes import PRESETS, choose
from charrnn.training.rundir.directory import RunFolder, occupied
from charrnn.training.rundir.metrics import append, cut
from charrnn.training.rundir.model_card import _as_argument, _plain
from charrnn.training.state import TrainingState
from charrnn.training.texts import TextChoice
from tests.support.checkpoints import ROOT
from tests.support.processes import TEXT

SMALL = {
    "hidden": 8, "embedding": 6, "layers": 2, "batch": 4, "window": 10, "lr": 0.01, "seed": 7,
    "threads": 1, "dropout": 0.2, "ema": 0.9, "patience": 0,
}  # fmt: skip


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text(TEXT)
    return path


def length_of(corpus):
    return len(corpus.read_text())


def run(corpus, out, **settings):
    return charrnn.train(corpus, out=out, **({"steps": 60} | SMALL | settings))


def tensors(folder, name="last.safetensors"):
    loaded = checkpoint.load(folder / name, extra=True)
    return {**loaded.weights, **loaded.extra}


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("elapsed_s"), line.pop("chars_per_second", None)
    return lines


def same(one, other):
    assert one.keys() == other.keys()
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


class StopAt(Silence):
    """Raises the interrupt flag after so many steps, as a signal would."""

    def __init__(self, step):
        self.left = step

    def on_step(self, progress, chars, loss):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


class Notes(Silence):
    """Remembers what was said."""

    def __init__(self):
        self.said = []

    def on_note(self, text):
        self.said.append(text)


def stop_and_resume(corpus, out, step, **settings):
    with pytest.raises(Interrupted) as stopped:
        run(corpus, out, listener=StopAt(step), **settings)
    assert stopped.value.exit_code == 130
    charrnn.train(out=out, resume=True)


def test_training_learns(corpus, tmp_path):
    result = run(corpus, tmp_path / "run", steps=400, hidden=32, dropout=0.0)
    uniform = np.log(len(set(TEXT)))
    assert result.best_val < uniform / 3
    assert result.steps == 400


@pytest.mark.parametrize("step", [1, 17, 43, 44, 59, 60])
def test_a_stopped_and_resumed_run_is_the_run_that_was_not_stopped(corpus, tmp_path, step):
    run(corpus, tmp_path / "whole")
    stop_and_resume(corpus, tmp_path / "parts", step)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))
    best = "best.safetensors"
    assert same(tensors(tmp_path / "whole", best), tensors(tmp_path / "parts", best))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def at_the_epoch_s_end(window):
    """The steps around the first epoch's last one: before it, it, and the first of the next."""
    windows = int(len(TEXT) * 0.9) // SMALL["batch"] // window
    return [windows - 1, windows, windows + 1]


def resumes_exactly(corpus, tmp_path, stops, **settings):
    run(corpus, tmp_path / "whole", **settings)
    for step in stops:
        out = tmp_path / f"parts-{step}"
        stop_and_resume(corpus, out, step, **settings)
        for name in ("last.safetensors", "best.safetensors"):
            assert same(tensors(tmp_path / "whole", name), tensors(out, name)), step
        assert metrics(tmp_path / "whole") == metrics(out), step


def test_resuming_is_exact_around_an_epoch_s_end(corpus, tmp_path):
    resumes_exactly(corpus, tmp_path, at_the_epoch_s_end(80), steps=30, window=80, eval_every=10)


@pytest.mark.soak
def test_resuming_is_exact_from_fifty_random_steps(corpus, tmp_path):
    steps = {1, 2, 199, 200, *at_the_epoch_s_end(10)}
    others = sorted(set(range(3, 199)) - steps)
    steps |= set(random.Random(1).sample(others, 50 - len(steps)))
    assert len(steps) == 50
    resumes_exactly(corpus, tmp_path, sorted(steps), steps=200)


def test_evaluating_saving_and_sampling_change_nothing(corpus, tmp_path):
    run(corpus, tmp_path / "often", eval_every=1)
    run(corpus, tmp_path / "once", eval_every=1000)
    often, once = tensors(tmp_path / "often"), tensors(tmp_path / "once")
    assert same(often, once)


def test_the_same_seed_is_the_same_run_and_another_is_not(corpus, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(corpus, tmp_path / name, seed=seed, steps=5)
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert not same(tensors(tmp_path / "a"), tensors(tmp_path / "c"))


def test_a_signal_while_validating_saves_the_run(corpus, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGTERM)
        interrupts.check()

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", interrupted)
        with pytest.raises(Interrupted) as stopped:
            run(corpus, tmp_path / "parts")
    assert stopped.value.exit_code == 143
    charrnn.train(out=tmp_path / "parts", resume=True)
    run(corpus, tmp_path / "whole")
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_nothing_of_it_is_kept(
    corpus, tmp_path, monkeypatch, bad
):
    step, seen = Stepper.loss, []

    def poisoned(self, x, y, state):
        loss, state = step(self, x, y, state)
        seen.append(self.flat.values.clone())
        return (loss * bad if len(seen) == 13 else loss), state

    monkeypatch.setattr(Stepper, "loss", poisoned)
    with pytest.raises(NonFiniteLossError, match="near step 13"):
        run(corpus, tmp_path / "run", eval_every=5)
    kept = checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert kept.meta["resume"]["tally"]["step"] == 10
    assert len(seen) == 13


def test_weights_are_untouched_by_a_step_whose_loss_is_not_finite(corpus):
    from charrnn.config import ModelConfig
    from charrnn.model.network import CharNetwork
    from charrnn.training.hardware.device import choose_hardware

    config = TrainConfig(steps=1, batch=2, window=3, precision="float32")
    stepper = Stepper(CharNetwork(ModelConfig(5, hidden=4, embedding=3)), config,
                      choose_hardware(config))  # fmt: skip
    before = stepper.flat.values.clone()
    x = torch.zeros(2, 3, dtype=torch.long)
    hx, cx = stepper.network.zero_state(2)
    result = stepper.step(x, x, (hx + float("nan"), cx), 0.1)
    assert not torch.isfinite(result.loss)
    assert torch.equal(stepper.flat.values, before)
    assert not stepper.exp_avg.any()


def test_steps_whose_gradients_overflow_are_skipped_and_counted(corpus, tmp_path, monkeypatch):
    loss_of, seen, notes = Stepper.loss, [], Notes()

    def overflowing(self, x, y, state):
        loss, state = loss_of(self, x, y, state)
        seen.append(self.flat.values.clone())
        if len(seen) in (7, 8, 30):  # a root at zero: the loss is finite, its gradient is not
            loss = loss + (self.network.head.bias.sum() * 0).sqrt()
        return loss, state

    monkeypatch.setattr(Stepper, "loss", overflowing)
    run(corpus, tmp_path / "run", listener=notes, eval_every=20)
    assert [note.split(" of the last")[0] for note in notes.said] == ["2", "1"]
    still = [k for k in range(1, 60) if torch.equal(seen[k], seen[k - 1])]
    assert still == [7, 8, 30]  # nothing but those three changed nothing


def test_training_survives_two_failed_saves_and_gives_up_at_the_third(
    corpus, tmp_path, monkeypatch
):
    failing = {"left": 2}
    save = checkpoint.Checkpoint.save

    def save_or_fail(self, path, **settings):
        if failing["left"]:
            failing["left"] -= 1
            raise OSError(28, "No space left on device")
        return save(self, path, **settings)

    monkeypatch.setattr(checkpoint.Checkpoint, "save", save_or_fail)
    assert run(corpus, tmp_path / "twice").steps == 60
    failing["left"] = 1000
    with pytest.raises(SaveError, match="3 in a row"):
        run(corpus, tmp_path / "thrice")


def test_a_complete_run_is_not_resumed_in_silence(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=20)
    with pytest.raises(ConfigError, match="complete"):
        charrnn.train(out=tmp_path / "run", resume=True)
    assert charrnn.train(out=tmp_path / "run", resume=True, steps=30).steps == 30


def test_another_text_cannot_go_on_with_a_run(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=5)
    corpus.write_text(TEXT + "x")
    with pytest.raises(CorpusError, match="sha256"):
        charrnn.train(corpus, out=tmp_path / "run", resume=True, steps=9)


@pytest.mark.parametrize("symbols", [1, 2, 40])
def test_a_checkpoint_of_another_alphabet_does_not_go_on(corpus, tmp_path, symbols):
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
    with pytest.raises(CheckpointError, match=r"its alphabet is not that of novel\.txt"):
        charrnn.train(out=tmp_path / "run", resume=True, steps=20)


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(corpus, tmp_path):
    class Listener(Silence):
        notes: list[str] = []  # noqa: RUF012

        def on_note(self, text):
            self.notes.append(text)

    run(corpus, tmp_path / "run", steps=40)
    last = tmp_path / "run" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-10])
    listener = Listener()
    charrnn.train(out=tmp_path / "run", resume=True, steps=50, listener=listener)
    assert any("previous.safetensors" in note for note in listener.notes)


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
def test_a_changed_environment_is_named_in_one_warning(corpus, tmp_path, changed):
    notes = []

    class Listener(Silence):
        def on_note(self, text):
            notes.append(text)

    run(corpus, tmp_path / "run", steps=5)
    path = tmp_path / "run" / "last.safetensors"
    saved = checkpoint.load(path, extra=True)
    now = saved.meta["resume"]["environment"]
    others = {"threads": 64, "device": "cuda", "torch": "2.11.0", "kernels": "another",
              "charrnn": "0.0.9"}  # fmt: skip
    before = now | {name: others[name] for name in changed}
    meta = saved.meta | {"resume": saved.meta["resume"] | {"environment": before}}
    dataclasses.replace(saved, meta=meta).save(path)
    charrnn.train(out=tmp_path / "run", resume=True, steps=9, listener=Listener())
    differences = [f"{name} {before[name]} → {now[name]}" for name in changed]
    wanted = [f"not an exact continuation: {', '.join(differences)}"] if changed else []
    assert notes == wanted


def test_the_best_network_s_temperature_is_fitted_in_the_end(corpus, tmp_path):
    settings = {"steps": 20, "lr": 3e-2, "precision": "float32"}
    plain = run(corpus, tmp_path / "plain", **settings, fit_temperature=False)
    fitted = run(corpus, tmp_path / "fitted", **settings)
    assert plain.temperature is None
    assert fitted.temperature is not None
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


def test_a_run_that_goes_on_is_fitted_once(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=60, lr=3e-2)
    folder = tmp_path / "run"
    again = charrnn.train(out=folder, resume=True, steps=61, lr=1e-9)
    best = checkpoint.load(folder / "best.safetensors")
    assert best.meta["temperature"] == again.temperature
    assert best.about("losses")["val"] == again.best_val


def test_from_keeps_weights_by_character(corpus, tmp_path):
    run(corpus, tmp_path / "first", steps=5)
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("z", "ž") * 2)
    charrnn.train(other, out=tmp_path / "second", start_from=tmp_path / "first", steps=1,
                  fit_temperature=False,
                  **{**{k: SMALL[k] for k in ("batch", "window", "seed")}, "lr": 1e-9})  # fmt: skip
    old = checkpoint.load(tmp_path / "first" / "best.safetensors")
    new = checkpoint.load(tmp_path / "second" / "best.safetensors")
    for code in new.vocab.codes:
        if code in old.vocab.codes:
            mine = new.weights["head.weight"][new.vocab.codes.index(code)]
            theirs = old.weights["head.weight"][old.vocab.codes.index(code)]
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    with pytest.raises(ConfigError, match="hidden"):
        charrnn.train(other, start_from=tmp_path / "first", steps=1, hidden=99)


def test_an_occupied_folder_is_not_trained_into(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=2)
    with pytest.raises(ConfigError, match="--resume"):
        run(corpus, tmp_path / "run", steps=2)


@pytest.mark.parametrize("text", ["ab", "aaaaaa", "one two three", "abc" * 20, "x\ny\n" * 9])
def test_small_corpora_train(tmp_path, text):
    path = tmp_path / "small.txt"
    path.write_text(text)
    if len(text) == 2:
        with pytest.raises(CorpusError, match="at least"):
            charrnn.train(path, steps=2, seed=1)
    else:
        assert charrnn.train(path, steps=2, seed=1).steps == 2


def test_the_budget_is_the_steps_or_the_epochs(corpus, tmp_path):
    windows = (int(len(TEXT) * 0.9)) // 4 // 10
    assert run(corpus, tmp_path / "two", steps=None, epochs=2).steps == 2 * windows


def test_a_time_budget_is_kept(corpus, tmp_path):
    result = run(corpus, tmp_path / "run", steps=None, seconds=1.5)
    assert 0 < result.elapsed_s < 10  # a bound that only a loop without end breaks


def test_the_schedule_warms_up_stays_and_falls_to_zero():
    config = TrainConfig(steps=1000, lr=1.0, warmup=10, flat=0.3)
    rates = [learning_rate(config, s, Budget(1000, 0).fraction(s, 0)) for s in range(1000)]
    assert rates[:10] == sorted(rates[:10])
    assert set(rates[10:300]) == {1.0}
    assert rates[300:] == sorted(rates[300:], reverse=True)
    assert rates[-1] < 1e-4


def test_a_short_budget_warms_up_in_a_tenth_of_it():
    config = TrainConfig(steps=80, lr=1.0, warmup=100, flat=0.3)
    rates = [learning_rate(config, s, Budget(80, 0).fraction(s, 0)) for s in range(80)]
    assert rates[:8] == sorted(rates[:8])
    assert set(rates[8:24]) == {1.0}
    long = Budget(100_000, 0)
    rates = [learning_rate(config, s, long.fraction(s, 0)) for s in range(120)]
    assert rates[99] < 1.0 == rates[100]


@pytest.mark.parametrize(
    ("chars", "epochs", "batch"),
    [(54_000, 10, 8), (234_000, 10, 16), (2_600_000, 50, 64), (2_600_000, 1, 16)],
)
def test_a_few_passes_over_a_short_text_are_steps_enough(chars, epochs, batch):
    def chosen(**asked):
        return choose(
            {"epochs": epochs} | asked,
            preset=None, vocab_size=50, train_chars=chars, fast=False, flops=4e11,
        )[1]  # fmt: skip

    config = chosen()
    assert config.batch == batch
    assert config.batch == 8 or epochs * chars / (batch * config.window) >= 1000
    assert chosen(batch=50).batch == 50


def test_sizes_follow_the_corpus_and_wishes_are_kept():
    def chosen(n, **asked):
        model, config = choose(
            asked, preset=None, vocab_size=50, train_chars=n, fast=False, flops=4e11
        )
        return model.hidden, config

    sizes = [chosen(n, seconds=600.0)[0] for n in (1000, 20_000, 200_000, 3_000_000)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    hidden, config = chosen(3_000_000, hidden=96, batch=7, window=33, steps=5)
    assert (hidden, config.batch, config.window, config.steps) == (96, 7, 33, 5)
    for n in (2, 3, 10, 100, 1000, 10_000):
        config = chosen(n)[1]
        assert config.batch * config.window <= n
    with pytest.raises(ConfigError, match="preset"):
        choose({}, preset="nope", vocab_size=5, train_chars=100, fast=False, flops=4e11)


@pytest.mark.parametrize(
    ("asked", "flops", "fast", "sizes"),
    [
        ({"seconds": 60.0}, 4e11, False, (384, 32, 64, 8e-3)),
        ({"seconds": 60.0, "hidden": 512}, 4e11, False, (512, 32, 64, 6e-3)),
        ({"seconds": 360.0}, 4e11, False, (512, 32, 64, 6e-3)),
        ({"seconds": 600.0}, 4e11, False, (512, 64, 100, 4e-3)),
        ({"seconds": 600.0}, 1e11, False, (384, 32, 64, 8e-3)),
        ({"seconds": 60.0, "layers": 1, "hidden": 128}, 4e11, False, (128, 64, 100, 4e-3)),
        ({"seconds": 600.0}, 1.2e12, False, (512, 64, 100, 4e-3)),
        ({"seconds": 60.0}, 4e13, True, (512, 128, 128, 4e-3)),
        ({"steps": 100}, 4e11, False, (512, 64, 100, 4e-3)),
    ],
)
def test_who_can_read_little_takes_many_small_steps(asked, flops, fast, sizes):
    """What decides is not the time but how much this machine reads in it."""
    model, config = choose(
        asked, preset=None, vocab_size=80, train_chars=3_000_000, fast=fast, flops=flops
    )
    assert (model.hidden, config.batch, config.window, config.lr) == sizes


class SlowClock:
    """Seconds that pass only where a test lets them."""

    def __init__(self, seconds=0.0):
        SlowClock.seconds = seconds

    def now(self):
        return SlowClock.seconds


@pytest.fixture
def slowly(monkeypatch):
    """``slowly(step, validation)``: how long a step and a validation last; the clock's class."""

    def begin(step_s, validation_s):
        step, evaluate = Stepper.step, loop.evaluate

        def slow_step(*args):
            SlowClock.seconds += step_s
            return step(*args)

        def slow_evaluation(*args, **settings):
            SlowClock.seconds += validation_s
            return evaluate(*args, **settings)

        monkeypatch.setattr(loop, "Clock", SlowClock)
        monkeypatch.setattr(Stepper, "step", slow_step)
        monkeypatch.setattr(loop, "evaluate", slow_evaluation)

    return begin


def test_a_rate_is_that_of_training_without_validating(corpus, tmp_path, slowly):
    slowly(2, 1000)
    run(corpus, tmp_path / "run", steps=200, eval_every=30)
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["chars_per_second"] for line in lines[:-1]]
    assert set(rates) == {SMALL["batch"] * SMALL["window"] / 2}


@pytest.mark.parametrize("validation_s", [1, 20, 200])
def test_time_for_a_validation_is_set_aside_before_there_was_one(
    validation_s, corpus, tmp_path, slowly
):
    """Reading alone takes about a third of what learning does, which is all that is known."""
    val = length_of(corpus) // 10
    slowly(3 * validation_s * SMALL["batch"] * SMALL["window"] / val, validation_s)
    result = run(corpus, tmp_path / "run", steps=0, seconds=600)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert result.steps > 1
    assert 600 <= lines[-2]["elapsed_s"] < 600 + 2 * validation_s
    validations = [line for line in lines[:-1] if line["val_nats"] is not None]
    assert len(validations) == {1: 20, 20: 3, 200: 1}[validation_s]
    assert lines[-2]["lr"] < 0.2 * SMALL["lr"]


def test_a_loss_that_nobody_had_read_does_not_hide_a_signal():
    """On a GPU it is read once in a while; then it is too late to keep anything."""
    trainer = object.__new__(loop.Trainer)
    trainer._losses, trainer.progress = [torch.tensor(float("nan"))], TrainingState(step=7)
    trainer.listener, trainer.config = Silence(), TrainConfig(steps=9)
    trainer.folder = SimpleNamespace(path=Path("run"), has=lambda name: True)
    left = trainer._parting(Interrupted(signal.SIGTERM, ""))
    assert isinstance(left, Interrupted)
    assert left.exit_code == 128 + signal.SIGTERM
    assert "stopped at step 7, which could not be saved" in str(left)


def test_the_command_on_a_card_names_a_text_that_is_only_called_as_the_bundled_one(tmp_path):
    (tmp_path / "lipyagi.txt").write_text(TEXT)
    run(tmp_path / "lipyagi.txt", tmp_path / "run", steps=1)
    command = checkpoint.load(tmp_path / "run").meta["made"]["command"]
    assert command.startswith("charrnn train lipyagi.txt --")


def test_a_long_text_validates_on_no_more_than_tells_networks_apart():
    assert TextChoice().split_spec(10**6).val_frac == 0.1
    assert TextChoice().split_spec(10**8).val_frac == 0.005
    assert TextChoice(val_frac=0.3).split_spec(10**8).val_frac == 0.3
    assert TextChoice(split="interleaved").split_spec(10**8).val_frac == 0.1


def test_the_longer_a_text_is_read_the_more_is_dropped_and_what_is_asked_for_stays():
    def chosen(epochs, **asked):
        settings = {"epochs": epochs} | asked
        config = choose(
            settings, preset=None, vocab_size=50, train_chars=10**6, fast=False, flops=4e11
        )[1]
        return config.dropout, config.input_dropout, config.weight_dropout

    assert chosen(1) == (0.0, 0.0, 0.0)
    few, many = chosen(8), chosen(60)
    assert few[0] > 0
    assert few[1:] == (0.0, 0.0)
    assert all(a < b for a, b in zip(few, many, strict=True))
    # a network with few weights for its text does not learn it by heart
    rich, middling, poor = (chosen(20, hidden=hidden) for hidden in (512, 256, 64))
    assert rich > middling > poor == (0.0, 0.0, 0.0)
    assert chosen(60, dropout=0.5, input_dropout=0.0) == (0.5, 0.0, many[2])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_keeps_within_its_size_and_gives_way_to_what_is_asked(preset):
    def chosen(**asked):
        return choose(
            asked, preset=preset, vocab_size=87, train_chars=2_600_000, fast=False, flops=4e11
        )

    most = {"small": 5.6e6, "karpathy2015": 5.6e6, "best": 25e6}.get(preset, 4e6)
    model, config = chosen()
    assert model.parameters <= most
    assert (model.hidden, config.lr) == (PRESETS[preset]["hidden"], PRESETS[preset]["lr"])
    model, config = chosen(hidden=64, steps=5)
    assert (model.hidden, config.steps, config.epochs, config.seconds) == (64, 5, 0, 0.0)
    assert f"`--preset {'|'.join(PRESETS)}`".replace("|", "\\|") in (ROOT / "README.md").read_text()


def test_metrics_have_the_promised_fields(corpus, tmp_path):
    run(corpus, tmp_path / "run", test_frac=0.1)
    *lines, last = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().split("\n")
                    if x]  # fmt: skip
    for line in lines:
        assert list(line) == ["step", "epoch", "chars", "elapsed_s", "lr", "train_nats",
                              "val_nats", "grad_norm", "chars_per_second"]  # fmt: skip
    assert last.keys() >= lines[0].keys()
    assert last["final"] is True
    assert last["test_nats"] > 0
    card = checkpoint.load(tmp_path / "run" / "best.safetensors").meta
    assert card["losses"]["test"] == last["test_nats"]


def test_the_folder_is_held_by_one_trainer(tmp_path):
    from charrnn.errors import FolderBusyError
    from charrnn.training.rundir.directory import occupied

    with occupied(tmp_path / "run", Silence()) as folder:
        assert isinstance(folder, RunFolder)
        with (
            pytest.raises(FolderBusyError, match="process"),
            occupied(tmp_path / "run", Silence()),
        ):
            pass
    with occupied(tmp_path / "run", Silence()):
        pass


def test_the_command_in_the_card_makes_the_same_network(corpus, tmp_path, monkeypatch):
    from charrnn.cli.app import main

    monkeypatch.chdir(tmp_path)
    run(corpus, tmp_path / "first", steps=7, threads=None)
    card = checkpoint.load(tmp_path / "first" / "best.safetensors").meta
    program, *words = shlex.split(card["made"]["command"])
    assert program == "charrnn"
    with pytest.raises(SystemExit) as left:
        main([*words, "--out", "second", "-q"])
    assert left.value.code == 0
    best = "best.safetensors"
    assert same(tensors(tmp_path / "first", best), tensors(tmp_path / "second", best))


def test_the_command_in_the_card_names_where_a_run_began_and_how_much_it_read(corpus, tmp_path):
    first = run(corpus, tmp_path / "first", steps=2)
    second = run(corpus, tmp_path / "second", steps=2, start_from=first.best, max_bytes=3000)
    words = shlex.split(checkpoint.load(second.best).meta["made"]["command"])
    assert words[words.index("--from") + 1] == str(first.best)
    assert words[words.index("--max-bytes") + 1] == "3000"
    assert charrnn.load(second.best).score_split("val", corpus).chars == 300
    again = charrnn.train(out=tmp_path / "second", resume=True, steps=4)
    card = checkpoint.load(again.folder / "last.safetensors").meta
    assert (card["start_from"], card["corpus"]["max_bytes"]) == (str(first.best), 3000)


def test_a_batch_that_is_too_large_leaves_no_folder(corpus, tmp_path):
    with pytest.raises(CorpusError, match="make --batch or --window smaller"):
        run(corpus, tmp_path / "run", steps=2, batch=9000, window=9000)
    assert not (tmp_path / "run").exists()


def test_a_reader_of_the_metrics_that_goes_away_costs_nothing(corpus, tmp_path):
    class Gone(Silence):
        def on_report(self, report):
            if report.step == 50:
                raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(corpus, tmp_path / "parts", listener=Gone(), eval_every=1000)
    assert checkpoint.load(tmp_path / "parts/last.safetensors").meta["progress"]["step"] == 50
    charrnn.train(out=tmp_path / "parts", resume=True)
    run(corpus, tmp_path / "whole", eval_every=1000)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))


def test_a_signal_in_the_middle_of_a_run_s_validation_changes_nothing(
    corpus, tmp_path, monkeypatch
):
    run(corpus, tmp_path / "whole", eval_every=10)
    evaluate, calls = loop.evaluate, []

    def interrupted(*args, **settings):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGHUP)
        return evaluate(*args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", interrupted)
        with pytest.raises(Interrupted) as stopped:
            run(corpus, tmp_path / "parts", eval_every=10)
    assert stopped.value.exit_code == 129
    assert "step 30" in str(stopped.value)
    charrnn.train(out=tmp_path / "parts", resume=True)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def test_after_a_fallback_the_damaged_file_never_replaces_the_good_one(
    corpus, tmp_path, monkeypatch
):
    run(corpus, tmp_path / "run", steps=40)
    last = tmp_path / "run" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-10])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "save", full)
        with pytest.raises(SaveError):
            charrnn.train(out=tmp_path / "run", resume=True, steps=80)
    assert charrnn.train(out=tmp_path / "run", resume=True, steps=60).steps == 60


def test_a_best_network_that_could_not_be_saved_sets_no_bar(corpus, tmp_path, monkeypatch):
    save, failed = checkpoint.Checkpoint.save, []

    def fail_once(self, path, **settings):
        if ".best." in path.name and len(failed) == 1:
            failed.append(path)
            raise OSError(28, "No space left on device")
        failed.append(path) if ".best." in path.name else None
        save(self, path, **settings)

    monkeypatch.setattr(checkpoint.Checkpoint, "save", fail_once)
    result = run(corpus, tmp_path / "run", eval_every=10)
    kept = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert kept.meta["losses"]["val"] == result.best_val


def test_the_last_network_is_saved_again_where_saving_it_failed(corpus, tmp_path, monkeypatch):
    """It is the best; the older one must not be fitted and pass for it."""
    save, wanted = checkpoint.Checkpoint.save, run(corpus, tmp_path / "quiet", eval_every=20)
    failing = []

    def fail_at_the_end(self, path, **settings):
        if (
            ".best." in path.name
            and self.meta["progress"]["step"] == 60
            and len(failing) < failures
        ):
            failing.append(path)
            raise OSError(28, "No space left on device")
        save(self, path, **settings)

    monkeypatch.setattr(checkpoint.Checkpoint, "save", fail_at_the_end)
    failures = 1
    assert run(corpus, tmp_path / "once", eval_every=20).best_val == wanted.best_val
    assert same(*(tensors(tmp_path / name, "best.safetensors") for name in ("quiet", "once")))
    failures, failing = 2, []
    with pytest.raises(SaveError, match="what is there is older"):
        run(corpus, tmp_path / "twice", eval_every=20)


def test_every_validation_tells_the_training_loss_of_the_steps_before_it(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=100, eval_every=50)
    lines = metrics(tmp_path / "run")[:-1]
    assert [line["step"] for line in lines] == [50, 100]
    assert all(line["train_nats"] and line["val_nats"] for line in lines)


def test_a_run_with_a_time_that_is_often_stopped_is_validated_all_the_same(
    corpus, tmp_path, monkeypatch
):
    class Clock:  # a second a step
        now = 0.0

        def __init__(self, start=0.0):
            Clock.at = start

    monkeypatch.setattr(Clock, "now", lambda self: Clock.at, raising=False)
    monkeypatch.setattr(loop, "Clock", Clock)

    class StopAfter(StopAt):
        def on_step(self, progress, chars, loss):
            Clock.at += 1
            super().on_step(progress, chars, loss)

    settings = {"steps": None, "seconds": 2000.0}  # due every hundred
    with pytest.raises(Interrupted):
        run(corpus, tmp_path / "run", listener=StopAfter(60), **settings)
    assert not (tmp_path / "run/best.safetensors").exists()
    with pytest.raises(Interrupted):
        charrnn.train(out=tmp_path / "run", resume=True, listener=StopAfter(60))
    assert checkpoint.load(tmp_path / "run/best.safetensors").meta["progress"]["step"] == 100


@pytest.mark.parametrize(
    "wrong", [{"vocab_size": 5}, {"hidden": "512"}, {"seconds": "10m"}, {"lines": "no"},
              {"shuffle_offset": 0}, {"hidden": 0}, {"steps": 3, "epochs": 3}, {"preset": "x"},
              {"device": "mps"}, {"precision": "float16", "device": "cpu"}, {"val_frac": 1.5},
              {"split": "x"}],
    ids=str,
)  # fmt: skip
def test_a_wish_that_cannot_be_is_refused_before_the_text_is_read(wrong, tmp_path):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        charrnn.train(tmp_path / "there is none", out=tmp_path / "run", **wrong)


def test_an_occupied_folder_is_refused_before_the_text_is_read(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=2)
    with pytest.raises(ConfigError, match="holds a run"):
        charrnn.train(tmp_path / "there is none", out=tmp_path / "run")
    with (
        occupied(tmp_path / "other", Silence()),
        pytest.raises(FolderBusyError, match="is being trained into by process"),
    ):
        charrnn.train(tmp_path / "there is none", out=tmp_path / "other")


def test_two_runs_without_a_folder_take_two(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with occupied(Path("checkpoints/novel"), Silence()):  # by one that has saved nothing yet
        assert run(corpus, None, steps=2).folder == Path("checkpoints/novel-2")


def test_a_resumed_run_refuses_what_it_cannot_change(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=5)
    for changed in ({"val_frac": 0.2}, {"is_bytes": True}, {"hidden": 9}, {"split": "interleaved"}):
        with pytest.raises(ConfigError, match="keeps its"):
            charrnn.train(out=tmp_path / "run", resume=True, **changed)
    # nor does it go on in silence with what others have by default
    run(corpus, tmp_path / "bytes", steps=5, is_bytes=True)
    run(corpus, tmp_path / "latin", steps=5, encoding="latin-1")
    for name in ("bytes", "latin"):
        with pytest.raises(ConfigError, match="keeps its encoding"):
            charrnn.train(out=tmp_path / name, resume=True, encoding="utf-8")


def test_an_interleaved_run_does_not_become_a_contiguous_one(tmp_path):
    (tmp_path / "long.txt").write_text(TEXT * (60_000 // len(TEXT) + 1))
    run(tmp_path / "long.txt", tmp_path / "run", steps=5, split="interleaved")
    with pytest.raises(ConfigError, match="keeps its split"):
        charrnn.train(out=tmp_path / "run", resume=True, split="contiguous", steps=9)
    assert charrnn.train(out=tmp_path / "run", resume=True, steps=9).test > 0


def test_a_resumed_run_takes_what_it_already_is(corpus, tmp_path):
    same = SMALL | {"split": "contiguous", "val_frac": 0.2, "encoding": "iso-8859-1"}
    run(corpus, tmp_path / "run", steps=5, val_frac=0.2, encoding="latin-1")
    assert charrnn.train(corpus, out=tmp_path / "run", resume=True, steps=8, **same).steps == 8
    for name, other in {"seed": 8, "val_frac": 0.1, "split": "interleaved", "is_bytes": True,
                        "encoding": "utf-16", "hidden": 9, "lines": True,
                        "max_bytes": 99}.items():  # fmt: skip
        with pytest.raises(ConfigError, match=f"keeps its .*{name}"):
            charrnn.train(out=tmp_path / "run", resume=True, steps=9, **{name: other})


def test_a_run_over_a_text_s_beginning_goes_on_without_saying_so_again(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=5, max_bytes=700)
    assert charrnn.train(corpus, out=tmp_path / "run", resume=True, steps=8).steps == 8


def test_from_keeps_bytes_and_characters(corpus, tmp_path):
    run(corpus, tmp_path / "chars", steps=2)
    run(corpus, tmp_path / "bytes", steps=2, is_bytes=True)
    for raw in ({"is_bytes": True}, {"encoding": "bytes"}):
        with pytest.raises(ConfigError, match="leave is_bytes away"):
            charrnn.train(corpus, start_from=tmp_path / "chars", steps=1, **raw)
    again = charrnn.train(corpus, out=tmp_path / "bytes", resume=True, encoding="bytes", steps=3)
    assert again.steps == 3
    with pytest.raises(ConfigError, match="leave encoding away"):
        charrnn.train(corpus, start_from=tmp_path / "bytes", encoding="latin-1", steps=1)
    with pytest.raises(ConfigError, match="leave encoding away"):
        charrnn.train(corpus, is_bytes=True, encoding="latin-1", steps=1)


def test_a_time_that_is_spent_is_complete(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=None, seconds=0.5)
    for more in ({}, {"seconds": 0.5}):
        with pytest.raises(ConfigError, match="complete"):
            charrnn.train(out=tmp_path / "run", resume=True, **more)


class Worse:
    """Validations that are each a little worse than the one before."""

    def __init__(self):
        self.seen = 0

    def __call__(self):
        self.seen += 1
        return Score(1000.0 + self.seen, 1000)


def test_a_run_whose_patience_ended_is_over_when_it_is_resumed(corpus, tmp_path, monkeypatch):
    worse = Worse()
    monkeypatch.setattr(loop.Trainer, "_evaluate", lambda _: worse())
    interrupted = []

    def stop(*_, **__):
        interrupted.append(True)
        raise Interrupted(signal.SIGTERM, "while it was fitted")

    with monkeypatch.context() as patch:
        patch.setattr("charrnn.training.loop.finalize.fit_temperature", stop)
        with pytest.raises(Interrupted):
            run(corpus, tmp_path / "run", patience=2, eval_every=10, steps=200)
    assert interrupted
    result = charrnn.train(out=tmp_path / "run", resume=True)
    assert (result.steps, result.early) == (30, True)
    for same in ({}, {"steps": 200}):
        with pytest.raises(ConfigError, match="a larger --patience, --epochs, --steps or --time"):
            charrnn.train(out=tmp_path / "run", resume=True, **same)
    assert charrnn.train(out=tmp_path / "run", resume=True, patience=4).steps == 50
    # another budget raises the learning rate again: what was worse before does not count
    assert charrnn.train(out=tmp_path / "run", resume=True, steps=300).steps == 90


def test_a_better_network_in_the_folder_stays(corpus, tmp_path):
    """One that was fitted in the end, or saved after the state that a run goes on from."""
    run(corpus, tmp_path / "run", steps=20)
    file = tmp_path / "run" / "best.safetensors"
    best = checkpoint.load(file)
    losses = best.about("losses") | {"val": 0.001, "unfitted_val": 0.001}
    dataclasses.replace(best, meta=best.meta | {"losses": losses}).save(file)
    before = file.read_bytes()
    charrnn.train(out=tmp_path / "run", resume=True, steps=60)
    assert file.read_bytes() == before


def test_a_better_network_after_a_fit_is_kept(corpus, tmp_path, monkeypatch):
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


def test_a_damaged_best_network_is_moved_aside(corpus, tmp_path):
    run(corpus, tmp_path / "run", steps=20)
    best = tmp_path / "run" / "best.safetensors"
    damaged = best.read_bytes()[:-9]
    best.write_bytes(damaged)
    notes = Notes()
    charrnn.train(out=tmp_path / "run", resume=True, steps=21, lr=1e-9, listener=notes)
    assert any(note.endswith("moved to best.damaged") for note in notes.said)
    assert (tmp_path / "run" / "best.damaged").read_bytes() == damaged
    assert checkpoint.load(best).about("progress")["step"] == 21


def test_a_best_network_that_is_gone_in_the_end_is_not_given_another_s_loss(
    corpus, tmp_path, monkeypatch
):
    worse = Worse()
    monkeypatch.setattr(loop.Trainer, "_evaluate", lambda _: worse())
    keep = loop.Trainer.keep_missing

    def gone(self):
        (self.folder.path / "best.safetensors").unlink()
        keep(self)

    monkeypatch.setattr(loop.Trainer, "keep_missing", gone)
    run(corpus, tmp_path / "run", eval_every=20, fit_temperature=False)
    losses = checkpoint.load(tmp_path / "run" / "best.safetensors").about("losses")
    assert losses["val"] == pytest.approx(1.0 + worse.seen / 1000)
    assert worse.seen == 4


def test_without_a_validation_part_the_loss_is_still_told(corpus, tmp_path):
    result = run(corpus, tmp_path / "run", steps=4, val_frac=0.0)
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines[-2:]] == [4, 4]
    assert result.train == lines[-2]["train_nats"] > 0


def test_a_handful_of_characters_fits_no_temperature(corpus, tmp_path):
    few = run(corpus, tmp_path / "few", steps=5, lr=3e-2, val_frac=0.02)
    assert few.temperature is None


def test_resuming_by_name_takes_that_corpus_and_no_longer_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("book", "bookshelf"):
        (tmp_path / f"{name}.txt").write_text(TEXT)
        charrnn.train(f"{name}.txt", **(SMALL | {"steps": 5}))
    assert charrnn.train("book.txt", resume=True, steps=7).folder.name == "book"


@pytest.mark.parametrize("settings", [
    {"cell": "gru"}, {"cell": "rnn-relu", "lr": 1e-3}, {"lines": True},
    {"input_dropout": 0.1, "weight_dropout": 0.2}, {"ema": 0.9},
])  # fmt: skip
def test_resuming_is_exact_whatever_is_trained(corpus, tmp_path, settings):
    resumes_exactly(corpus, tmp_path, [7], steps=20, eval_every=5, **settings)


def test_every_run_has_a_seed_of_its_own(corpus, tmp_path):
    settings = {name: value for name, value in SMALL.items() if name != "seed"}
    seeds = {
        charrnn.train(corpus, out=tmp_path / str(i), steps=1, **settings).seed for i in range(3)
    }
    assert len(seeds) == 3


def test_what_torch_is_told_ends_with_the_run(corpus, tmp_path):
    products = torch.backends.cudnn.rnn
    before = torch.get_num_threads(), products.fp32_precision
    run(corpus, tmp_path / "run", steps=1, threads=before[0] + 1, precision="float32")
    assert (torch.get_num_threads(), products.fp32_precision) == before


def test_a_metrics_line_that_lost_its_end_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}')
    cut(path, 5)
    append(path, {"step": 2})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("asked", [
    {}, {"batch": 16}, {"batch": 32}, {"window": 50}, {"lines": True}, {"shuffle_offset": False},
    {"batch": 8, "shuffle_offset": False}, {"batch": 8, "lines": True},
])  # fmt: skip
@pytest.mark.parametrize("size", [60, 100, 301])
def test_what_was_not_asked_for_shrinks_with_the_text(tmp_path, asked, size):
    text = tmp_path / "small.txt"
    text.write_text(("abcdefghi\n" * 40)[:size])
    settings = {"hidden": 8, "layers": 1, "steps": 1, "val_frac": 0.0, **asked}
    assert charrnn.train(text, out=tmp_path / "run", **settings).steps == 1


def test_a_text_whose_name_says_nothing_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "!!!.txt").write_text(TEXT)
    charrnn.train("!!!.txt", steps=2, **SMALL)
    assert charrnn.train("!!!.txt", steps=3, resume=True).steps == 3


def test_no_room_for_shuffled_lines_names_the_cache(corpus, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shuffle, "IN_MEMORY", 10)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"lines in another order: .*: No space left.*saved"):
        run(corpus, tmp_path / "run", steps=2, lines=True)


@pytest.mark.parametrize(("name", "seconds", "words"), [
    ("-dash.txt", 90.0, ["./-dash.txt", "90s"]),
    ("plain.txt", 1e12, ["plain.txt", "1000000000000s"]),
    ("plain.txt", 0.00001, ["plain.txt", "0.00001s"]),
])  # fmt: skip
def test_the_card_s_command_can_be_typed(name, seconds, words):
    assert [_as_argument(name), f"{_plain(seconds)}s"] == words


@pytest.mark.parametrize("resume", ["run", 1, None])
def test_resume_is_a_yes_or_a_no(corpus, tmp_path, resume):
    with pytest.raises(ConfigError, match="out names the run's folder"):
        charrnn.train(corpus, resume=resume, steps=1)
