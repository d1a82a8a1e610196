"""``bidirectional``: networks that learn to name a character from both its sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.generation.filling import log_softmax
from charrnn.generation.halves import halves
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.scoring import Score
from charrnn.model.network import CharNetwork
from charrnn.text.splits import Range
from charrnn.training.distributed import ALONE, World
from charrnn.training.evaluation import both_sides
from charrnn.training.evaluation.both_sides import evaluate_both_sides
from charrnn.training.hardware.device import choose_hardware
from charrnn.training.loop.optimizer import Stepper
from tests.support.networks import random_weights
from tests.support.runs import Notes, run
from tests.support.worlds import together

V, N = 7, 90
CONFIG = ModelConfig(V, embedding=6, hidden=8, layers=2, bidirectional=True)
WEIGHTS = random_weights(CONFIG, seed=3)
IDS = np.random.default_rng(5).integers(V, size=N).astype(np.uint8)


def network() -> CharNetwork:
    made = CharNetwork(CONFIG)
    made.load_numpy(WEIGHTS)
    return made


def slowly(ids: Any, first: int, stop: int) -> float:
    """The nats of ``ids[first:stop]``, each from all the others that are read."""
    ahead, behind = (Engine(*half) for half in halves(CONFIG, WEIGHTS))
    logits = [ahead.step(ids[t : t + 1])[0] for t in range(first - 1, stop - 1)]
    back = [np.zeros(V, np.float32)]
    back += [behind.step(ids[t : t + 1])[0, :V] for t in range(stop - 1, first, -1)]
    both = np.array(logits) + np.array(back[::-1])
    return -float(log_softmax(both)[np.arange(stop - first), ids[first:stop]].sum())


@pytest.mark.parametrize("ranges", [((0, N),), ((1, 20), (30, 31), (50, N))])
def test_each_character_is_scored_from_both_its_sides(ranges: tuple[Range, ...]) -> None:
    score = evaluate_both_sides(network(), IDS, ranges)
    assert score.chars == sum(stop - max(start, 1) for start, stop in ranges)
    expected = sum(slowly(IDS, max(start, 1), stop) for start, stop in ranges)
    assert score.nats == pytest.approx(expected, rel=1e-5)


def test_a_long_range_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(both_sides, "PIECE", 16)
    monkeypatch.setattr(both_sides, "LANES", 2)
    monkeypatch.setattr(both_sides, "SIDE", N)  # all that there is
    whole = evaluate_both_sides(network(), IDS, ((0, N),))
    assert whole.chars == N - 1
    assert whole.nats == pytest.approx(slowly(IDS, 1, N), rel=1e-5)
    monkeypatch.setattr(both_sides, "SIDE", 30)
    some = evaluate_both_sides(network(), IDS, ((0, N),))
    assert some.nats == pytest.approx(whole.nats, rel=1e-2)
    assert some.nats != whole.nats

    def scored(world: World) -> Score:
        return evaluate_both_sides(network(), IDS, ((0, N),), world=world)

    for score in together(3, scored):
        assert isinstance(score, Score)
        assert score.chars == some.chars
        assert score.nats == pytest.approx(some.nats, rel=1e-6)


def test_a_step_learns_from_the_loss_with_gaps() -> None:
    """Hidden characters make the loss higher; without gaps it is that of the network."""
    hardware = choose_hardware(TrainConfig(steps=1, device="cpu", precision="float32"))
    text = torch.from_numpy(IDS[:81].astype(np.int64)).reshape(1, -1)
    x, y = text[:, :-1], text[:, 1:]
    for rate in (0.0, 0.9):
        stepper = Stepper(network(), TrainConfig(steps=1, gap_rate=rate), hardware, ALONE)
        state = stepper.network.zero_state(1)
        loss = stepper.step(x, y, state, 0.0).loss.item()
        whole = slowly(IDS[:81], 1, 81) / 80
        assert (loss == pytest.approx(whole, rel=1e-5)) == (rate == 0.0)


@pytest.fixture
def result(corpus: Path, tmp_path: Path) -> Any:
    listener = Previews()
    best = run(corpus, tmp_path / "both", bidirectional=True, listener=listener, val_frac=0.2)
    return best, listener.seen


class Previews(Notes):
    """Remembers the samples of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def on_sample(self, text: str) -> None:
        self.seen.append(text)


def test_a_run_keeps_what_it_is_and_how_its_losses_were_measured(result: Any) -> None:
    run, previews = result
    model = charrnn.load(run.best)
    assert model.checkpoint.config.bidirectional
    ids, ranges = model.part("val")
    own = CharNetwork(model.checkpoint.config)
    own.load_numpy(model.checkpoint.weights)
    score = evaluate_both_sides(own, ids, ranges)
    assert score.nats_per_char == pytest.approx(run.best_val, abs=1e-6)
    assert model.checkpoint.about("validation")["given"] == "both sides"
    assert "--bidirectional" in model.checkpoint.about("made")["command"]
    assert run.temperature is None
    text = model.vocab.decode(ids[ranges[0][0] :][:24])
    assert previews
    assert all(preview.startswith(f"{text}[") for preview in previews)


def test_it_can_be_resumed_and_learned_on(result: Any, corpus: Path, tmp_path: Path) -> None:
    run, _ = result
    charrnn.train(out=run.folder, resume=True, steps=70)
    with pytest.raises(ConfigError, match="keeps its settings; omit gap_rate"):
        charrnn.train(out=run.folder, resume=True, steps=80, gap_rate=0.5)
    more = charrnn.train(corpus, out=tmp_path / "more", start_from=run.best, steps=2)
    assert charrnn.load(more.best).checkpoint.config.bidirectional


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bidirectional": True, "lines": True}, "bidirectional reads a text as a whole"),
        ({"bidirectional": True, "reverse": True}, "bidirectional reads in both directions"),
        ({"bidirectional": True, "cell": "jordan"}, "bidirectional needs another cell"),
        ({"gap_rate": 0.1}, "gap_rate is for networks that read in both directions"),
        ({"bidirectional": True, "gap_rate": 1}, "gap_rate is 1"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    corpus: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        charrnn.train(corpus, steps=1, **settings)


def test_it_learns_to_fill_gaps(corpus: Path, tmp_path: Path) -> None:
    settings = {"steps": 400, "hidden": 32, "layers": 1, "dropout": 0, "ema": 0}
    best = run(corpus, tmp_path / "both", bidirectional=True, **settings).best
    text, model = corpus.read_text(), charrnn.load(best)
    exact = 0
    for begin in range(0, 400, 20):
        whole = text[begin : begin + 43]
        exact += charrnn.fill(model, whole[:20] + "___" + whole[23:])[0].text == whole
    assert exact >= 15
