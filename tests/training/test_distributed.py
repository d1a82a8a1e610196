"""Several processes train as one: what they share, and what the main one does alone."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from charrnn import interrupts
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError, CorpusError, FolderBusyError, Interrupted, Terminated
from charrnn.model.network import CharNetwork
from charrnn.training import api
from charrnn.training.distributed import ALONE, World, is_raised_by_all
from charrnn.training.events import Plan, Report, Result, Silence
from charrnn.training.hardware.device import choose_hardware
from charrnn.training.loop import clock
from charrnn.training.loop import trainer as loop
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.rundir import directory
from charrnn.training.rundir import metrics as log
from charrnn.training.rundir.directory import occupied
from tests.support.runs import metrics, tensors
from tests.support.worlds import ThreadWorld, Train, rank, together


class Told(Silence):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.plans, self.reports, self.steps, self.samples = 0, 0, 0, 0

    def on_plan(self, plan: Plan) -> None:
        self.plans += 1

    def on_report(self, report: Report) -> None:
        self.reports += 1

    def on_step(self, progress: float, chars: int, loss: float | None) -> None:
        self.steps += 1

    def on_sample(self, text: str) -> None:
        self.samples += 1


# --- the world by itself


def test_a_lone_process_has_everything_and_waits_for_nobody() -> None:
    assert (ALONE.rank, ALONE.size, ALONE.is_main, ALONE.rows(5)) == (0, 1, True, slice(0, 5))
    tensor = torch.arange(3.0)
    assert ALONE.all_reduce(tensor, "max") is tensor
    assert ALONE.broadcast("seed") == "seed"
    assert ALONE.gather("seed") == ["seed"]
    assert ALONE.decide(lambda: 7) == 7
    assert ALONE.agree(lambda: 7) == 7
    with pytest.raises(ConfigError, match="no"):
        ALONE.decide(raising(ConfigError("no")))


def raising(error: Exception) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def test_rows_are_blocks_that_make_up_the_batch() -> None:
    rows = together(3, lambda world: list(range(12))[world.rows(12)])
    assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize("batch", [3, 4, 5, 64, 1000])
def test_rows_are_about_equal_where_the_batch_cannot_be_divided(batch: int) -> None:
    def mine(world: World) -> list[int]:
        return list(range(batch))[world.rows(batch)]

    rows = [part for part in together(3, mine) if isinstance(part, list)]
    assert [row for part in rows for row in part] == list(range(batch))
    assert {len(part) for part in rows} <= {batch // 3, batch // 3 + 1}


def test_fewer_streams_than_processes_are_refused() -> None:
    [error, *_] = together(3, lambda world: world.rows(2))
    assert str(error) == "batch is 2, fewer streams than the 3 processes; try batch=3"


def test_the_main_process_decides_for_all() -> None:
    decisions = together(3, lambda world: world.decide(lambda: f"by {world.rank}"))
    assert decisions == ["by 0"] * 3


def test_what_fails_on_the_main_process_fails_on_all() -> None:
    outcomes = together(2, lambda world: world.decide(raising(FolderBusyError("busy"))))
    assert [type(outcome) for outcome in outcomes] == [FolderBusyError] * 2


@pytest.mark.parametrize("which", [0, 1])
def test_what_fails_on_one_process_fails_on_all_and_is_said_once(which: int) -> None:
    def action(world: World) -> None:
        return world.agree(
            raising(CorpusError("no such text")) if world.rank == which else lambda: None
        )

    outcomes = together(2, action)
    assert [type(outcome) for outcome in outcomes] == [CorpusError] * 2
    for outcome in outcomes:
        assert isinstance(outcome, CorpusError)
        assert is_raised_by_all(outcome)
        notes = [f"process 1 on {socket.gethostname()}"] if which else []
        assert getattr(outcome, "__notes__", [])[-1:] == notes


# --- training together


@pytest.mark.parametrize("size", [2, 3])
def test_the_first_gradient_is_that_of_the_whole_batch(size: int, tmp_path: Path) -> None:
    """In float64, where only the order of sums differs; 4 streams are not divisible by 3."""
    config = TrainConfig(steps=1, batch=4, window=6, clip_by="none", threads=1)
    x = torch.randint(0, 7, (4, 7), generator=torch.Generator().manual_seed(3))

    def stepped(world: World) -> tuple[torch.Tensor, float]:
        network = CharNetwork(ModelConfig(7, hidden=8, embedding=5, layers=2), seed=2).double()
        hardware = choose_hardware(replace(config, device="cpu", precision="float32"))
        stepper, mine = Stepper(network, config, hardware, world), x[world.rows(4)]
        state = tuple(
            tuple(part.double() for part in layer) for layer in network.zero_state(len(mine))
        )
        loss = stepper.step(mine[:, :-1], mine[:, 1:], state, 0.0).loss
        return stepper.flat.grads.clone(), float(loss)

    [alone] = together(1, stepped)
    assert isinstance(alone, tuple)
    assert alone[0].dtype == torch.float64
    assert alone[0].abs().max() > 1e-3
    for outcome in together(size, stepped):
        assert isinstance(outcome, tuple)
        torch.testing.assert_close(outcome[0], alone[0], rtol=0, atol=1e-12)
        assert outcome[1] == pytest.approx(alone[1], abs=1e-12)


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_train_the_network_that_one_trains(
    train: Train, corpus: Path, tmp_path: Path, size: int
) -> None:
    """Dropout and all: each rank has its own rows of the batch and of the masks."""
    more = {"input_dropout": 0.2, "weight_dropout": 0.2, "test_frac": 0.1, "precision": "float32"}
    [alone] = train(tmp_path / "alone", 1, **more)
    results = train(tmp_path / "several", size, **more)
    assert isinstance(alone, Result)
    for result in results:
        assert isinstance(result, Result)
        assert (result.steps, result.chars, result.seed) == (alone.steps, alone.chars, alone.seed)
        assert result.best_val == pytest.approx(alone.best_val, abs=1e-5)
        assert result.test == pytest.approx(alone.test, abs=1e-5)
        assert result.temperature == pytest.approx(alone.temperature, abs=1e-4)
    one, other = (load(tmp_path / name / "best.safetensors") for name in ("alone", "several"))
    for name, value in one.weights.items():
        np.testing.assert_allclose(value, other.weights[name], atol=1e-4, err_msg=name)
    lines = [metrics(tmp_path / name) for name in ("alone", "several")]
    for before, after in zip(*lines, strict=True):
        assert before == pytest.approx(after, abs=1e-4)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_a_checkpoint_of_any_number_of_processes_resumes_at_any_other(
    train: Train, tmp_path: Path, before: int, after: int
) -> None:
    """Stopped in the middle of an epoch, so that every stream goes on from its own state."""
    more = {"window": 5, "lr": 1e-3, "ema": 0.0, "fit_temperature": False}
    for name, sizes in {"alone": (1, 1), "several": (before, after)}.items():
        train(tmp_path / name, sizes[0], steps=20, **more)
        train(tmp_path / name, sizes[1], steps=60, resume=True, **more)
    one, other = (tensors(tmp_path / name) for name in ("alone", "several"))
    assert one["state.h"].any()
    for name, value in one.items():
        np.testing.assert_allclose(
            value.astype(float), other[name].astype(float), atol=1e-5, err_msg=name
        )


def test_only_the_main_process_writes_prints_and_locks(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[str, int]] = set()

    def watched(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watch(*args: Any, **more: Any) -> Any:
            seen.add((name, rank()))
            return real(*args, **more)

        monkeypatch.setattr(owner, name, watch)

    watched(directory, "Lock")
    watched(Checkpoint, "save")
    watched(log, "append")
    watched(directory, "load")
    listeners = [Told(), Told()]
    train(tmp_path / "run", listeners=listeners)
    assert seen == {("Lock", 0), ("save", 0), ("append", 0), ("load", 0)}
    main, other = listeners
    assert main.plans == 1
    assert main.steps == 60
    assert min(main.reports, main.samples) > 1
    assert vars(other) == vars(Told())


def test_all_processes_share_the_seed_that_one_draws(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter([5, 6])
    monkeypatch.setattr(api, "draw_seed", lambda: next(drawn))
    results = train(tmp_path / "run", seed=None, steps=3)
    seeds = {result.seed for result in results if isinstance(result, Result)}
    assert len(seeds) == 1
    assert seeds < {5, 6}


def test_a_run_without_a_folder_goes_into_one_for_all(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = [*train(None, steps=3), *train(None, steps=3)]
    folders = [str(result.folder) for result in results if isinstance(result, Result)]
    assert folders == ["checkpoints/novel"] * 2 + ["checkpoints/novel-2"] * 2


def test_a_folder_that_is_taken_is_refused_everywhere(train: Train, tmp_path: Path) -> None:
    with occupied(tmp_path / "run", Silence()):
        outcomes = train(tmp_path / "run")
    assert [type(outcome) for outcome in outcomes] == [FolderBusyError] * 2


def test_a_text_that_cannot_be_read_is_refused_everywhere(
    train: Train, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.worlds.PATIENCE_S", 5.0)
    corpus.unlink()
    outcomes = train(tmp_path / "run")
    assert [type(outcome) for outcome in outcomes] == [CorpusError] * 2


@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_any_process_stops_all_at_the_same_step(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: int
) -> None:
    asked = [0, 0]

    def received() -> int:
        asked[rank()] += 1
        return 15 if rank() == told and asked[told] > 20 else 0

    monkeypatch.setattr(interrupts, "received", received)
    monkeypatch.setattr(clock, "PULSE_S", 0.0)  # they agree before every step
    stopped = train(tmp_path / "run", eval_every=1000)
    assert [type(outcome) for outcome in stopped] == [Terminated] * 2
    assert {outcome.signum for outcome in stopped if isinstance(outcome, Interrupted)} == {15}
    assert len({str(outcome) for outcome in stopped}) == 1
    assert load(tmp_path / "run/last.safetensors", extra=True).meta["progress"]["step"] == 20


class Steady:
    """A clock on which every step takes so long."""

    def __init__(self, step_s: float) -> None:
        self.steps, self.step_s = 0, step_s

    def now(self) -> float:
        return self.steps * self.step_s


@pytest.mark.parametrize(
    ("step_s", "budget_s", "every"),
    [(0.01, 0.0, 20), (0.01, 600.0, 20), (0.01, 8.0, 4), (0.3, 0.0, 1), (1e-5, 0.0, 20_000)],
)
def test_processes_agree_on_the_time_every_fifth_of_a_second(
    step_s: float, budget_s: float, every: int
) -> None:
    """All before the same steps, which the main one's clock decides."""
    count = 3 * every + 40

    def agreed(world: World) -> list[int]:
        own = Steady(step_s * (1 if world.is_main else 1e6))
        shared = clock.SharedClock(world, cast(Any, own), budget_s)
        at: list[int] = []
        for own.steps in range(count):
            before = len(cast(ThreadWorld, world).calls)
            seconds = shared.at(own.steps)
            if len(cast(ThreadWorld, world).calls) > before:
                at.append(own.steps)
            assert seconds == pytest.approx(at[-1] * step_s)
        return at

    one, other = together(2, agreed)
    assert isinstance(one, list)
    assert one == other
    pauses = [after - before for before, after in itertools.pairwise(one)]
    assert all(after <= 2 * before for before, after in itertools.pairwise(pauses))
    assert pauses[-1] in (every, every - 1)  # rounding
    assert len([pause for pause in pauses if pause < every - 1]) <= 15


def test_a_single_process_looks_at_its_clock_before_every_step() -> None:
    own = Steady(1e-6)
    shared = clock.SharedClock(ALONE, cast(Any, own))
    for own.steps in range(9):
        assert shared.at(own.steps) == own.steps * 1e-6


def test_a_signal_is_seen_within_a_fifth_of_a_second(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of the main process's clock takes 10 ms; the other is told before its 101st."""
    taken = [0, 0]
    step = Stepper.step

    def counted(self: Stepper, *args: Any) -> Any:
        taken[rank()] += 1
        return step(self, *args)

    class Clock:
        def __init__(self, seconds: float = 0.0) -> None:
            pass

        def now(self) -> float:
            return taken[rank()] * 0.01

    monkeypatch.setattr(loop, "Clock", Clock)
    monkeypatch.setattr(Stepper, "step", counted)
    monkeypatch.setattr(interrupts, "received", lambda: 15 * (rank() == 1 and taken[1] >= 100))
    stopped = train(tmp_path / "run", steps=500, eval_every=1000)
    assert [type(outcome) for outcome in stopped] == [Terminated] * 2
    assert 100 <= load(tmp_path / "run/last.safetensors").meta["progress"]["step"] <= 120


def test_a_budget_of_time_is_spent_by_the_main_process_s_clock(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        """The other process's stands at the end of the budget from the beginning."""

        def __init__(self, seconds: float = 0.0) -> None:
            self.seconds = seconds

        def now(self) -> float:
            self.seconds += 0.01 if rank() == 0 else 1e9
            return self.seconds

    monkeypatch.setattr(loop, "Clock", Clock)
    results = train(tmp_path / "run", steps=None, seconds=1.0)
    steps = {result.steps for result in results if isinstance(result, Result)}
    assert len(steps) == 1
    assert steps.pop() > 5


def test_patience_ends_for_all_at_once(train: Train, tmp_path: Path) -> None:
    results = train(tmp_path / "run", lr=1e-9, ema=0.0, eval_every=5, patience=2, steps=1000)
    ends = {(r.steps, r.early) for r in results if isinstance(r, Result)}
    assert len(ends) == 1
    steps, early = ends.pop()
    assert early
    assert steps < 1000


def test_a_reader_of_the_metrics_that_goes_away_ends_the_run_for_all(
    train: Train, tmp_path: Path
) -> None:
    class Gone(Silence):
        def on_report(self, report: Report) -> None:
            raise BrokenPipeError

    outcomes = train(tmp_path / "run", listeners=[Gone(), Silence()])
    assert [type(outcome) for outcome in outcomes] == [BrokenPipeError] * 2
