"""What several processes exchange: gradients as bfloat16, or weights every few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn import interrupts
from charrnn.checkpoint.file import load
from charrnn.config import GradCompression, ModelConfig, TrainConfig
from charrnn.errors import NonFiniteLossError, Terminated
from charrnn.model.network import CharNetwork, State
from charrnn.training.distributed import ALONE, World
from charrnn.training.events import Result
from charrnn.training.hardware.device import choose_hardware
from charrnn.training.loop import clock, overlap
from charrnn.training.loop.captured import CapturedStepper, repeated
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.schedule import Exchange
from tests.support.runs import metrics, same, tensors
from tests.support.worlds import ThreadWorld, Train, rank, together

FILES = "best.safetensors", "last.safetensors"
APART: dict[str, Any] = {"sync_every": 7, "warmup": 3, "eval_every": 20}


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.dtype, int]]:
    """Type and length of every vector that the first process sends."""
    seen: list[tuple[torch.dtype, int]] = []
    reduce = ThreadWorld.all_reduce

    def watched(self: ThreadWorld, tensor: Tensor, op: Any = "sum") -> Tensor:
        if self.is_main:
            seen.append((tensor.dtype, tensor.numel()))
        return reduce(self, tensor, op)

    monkeypatch.setattr(ThreadWorld, "all_reduce", watched)
    return seen


# --- gradients as bfloat16


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_gradient_crosses_as_bfloat16_and_the_loss_beside_it_loses_nothing(
    size: int, crossed: list[tuple[torch.dtype, int]]
) -> None:
    generator = torch.Generator().manual_seed(5)
    parts = torch.randn(size, 1001, generator=generator) / size

    def summed(world: World) -> torch.Tensor:
        vector = parts[world.rank].clone()
        world.sum_gradient(vector, "bf16")
        return vector

    whole = parts.double().sum(0)
    for found in together(size, summed):
        assert isinstance(found, torch.Tensor)
        error = (found.double() - whole)[:-1].norm() / whole[:-1].norm()
        assert 2.0**-12 < error < 2.0**-8  # bfloat16 has 8 bits
        assert float(found[-1]) == pytest.approx(float(whole[-1]), rel=2.0**-22)
    assert crossed == [(torch.bfloat16, 1000 + 3 * size)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_is_found_by_all_processes(bad: float) -> None:
    def summed(world: World) -> bool:
        vector = torch.tensor([1.0, bad if world.rank else 2.0])
        world.sum_gradient(vector, "bf16")
        return bool(vector[-1].isfinite())

    assert together(3, summed) == [False] * 3


def test_with_compressed_gradients_all_processes_still_take_the_same_steps(
    train: Train, tmp_path: Path
) -> None:
    exact, rounded = (
        train(tmp_path / name, 2, steps=30, grad_compression=name) for name in ("none", "bf16")
    )
    assert len({result.best_val for result in rounded if isinstance(result, Result)}) == 1
    one, other = (tensors(tmp_path / name, "best.safetensors") for name in ("none", "bf16"))
    assert not same(one, other)
    assert isinstance(exact[0], Result)
    assert isinstance(rounded[0], Result)
    assert rounded[0].best_val == pytest.approx(exact[0].best_val, abs=0.02)


def test_a_single_process_compresses_nothing(train: Train, tmp_path: Path) -> None:
    for name in ("none", "bf16"):
        train(tmp_path / name, 1, steps=10, grad_compression=name)
    for file in FILES:
        assert same(*(tensors(tmp_path / name, file) for name in ("none", "bf16")))


# --- while the rest is still computed


@pytest.mark.parametrize("cell", ["lstm", "jordan"])
@pytest.mark.parametrize("compression", ["none", "bf16"])
def test_a_gradient_is_summed_in_buckets_while_backward_goes_on(
    cell: str, compression: GradCompression, monkeypatch: pytest.MonkeyPatch,
    crossed: list[tuple[torch.dtype, int]],
) -> None:  # fmt: skip
    """Between several machines; Jordan's network completes all its weights at once."""
    monkeypatch.setattr(overlap, "BUCKET", 100)
    config = TrainConfig(steps=2, batch=4, window=6, threads=1, clip_by="none",
                         grad_compression=compression)  # fmt: skip
    shape = ModelConfig(7, cell=cell, hidden=8, embedding=5, layers=2)
    x = torch.randint(0, 7, (4, 7), generator=torch.Generator().manual_seed(3))
    begun: list[int] = []
    whole = overlap.Overlap.finish

    def finish(self: overlap.Overlap) -> None:
        begun.append(len(self._begun))
        whole(self)

    monkeypatch.setattr(overlap.Overlap, "finish", finish)

    def stepped(world: World, local: int) -> tuple[Tensor, float]:
        world.local_size = local
        hardware = choose_hardware(replace(config, device="cpu", precision="float32"))
        stepper = Stepper(CharNetwork(shape, seed=2), config, hardware, world)
        mine = x[world.rows(4)]
        for _ in range(2):
            state = stepper.network.zero_state(len(mine))
            result = stepper.step(mine[:, :-1], mine[:, 1:], state, 1e-3)
        return stepper.flat.grads.clone(), float(result.loss)

    [one, *_] = together(3, lambda world: stepped(world, 3))
    assert not begun
    crossed.clear()
    found = together(3, lambda world: stepped(world, 1))
    assert all(number > 1 for number in begun)  # all buckets, before backward ended
    assert len(begun) == 6
    assert len(crossed) == 2 * (begun[0] + 1)
    assert {dtype for dtype, _ in crossed} == {
        torch.float32 if compression == "none" else torch.bfloat16
    }
    tolerance = 1e-6 if compression == "none" else 1e-3
    for outcome in found:
        assert isinstance(one, tuple)
        assert isinstance(outcome, tuple)
        torch.testing.assert_close(outcome[0], one[0], rtol=0, atol=tolerance)
        assert outcome[1] == pytest.approx(one[1], abs=tolerance)


# --- weights every few steps


def build(config: TrainConfig, world: World = ALONE, *, captured: bool = False) -> Stepper:
    network = CharNetwork(ModelConfig(7, hidden=8, embedding=5, layers=2), seed=2)
    hardware = choose_hardware(replace(config, device="cpu", precision="float32"))
    if captured:
        return CapturedStepper(network, config, hardware, repeated, world)
    return Stepper(network, config, hardware, world)


def kept(stepper: Stepper) -> Tensor:
    """Weights, moments and average."""
    moments = stepper.exp_avg, stepper.exp_avg_sq
    return torch.stack([stepper.flat.values, *moments, stepper.averaged])


@pytest.mark.parametrize("captured", [False, True])
def test_processes_train_alone_and_then_average_all_that_they_keep(captured: bool) -> None:
    """Each as a run of its own streams would; 5 streams are 2 and 3, and count as such."""
    config = TrainConfig(steps=9, batch=5, window=6, clip=0.1, ema=0.9, threads=1, sync_every=4)
    texts = torch.randint(0, 7, (8, 5, 7), generator=torch.Generator().manual_seed(3))

    def steps(
        stepper: Stepper, text: Tensor, plan: list[Exchange], state: State | None = None
    ) -> tuple[list[float], State]:
        losses = []
        state = stepper.network.zero_state(text.shape[1]) if state is None else state
        for x, exchange in zip(text, plan, strict=True):
            result = stepper.step(x[:, :-1], x[:, 1:], state, 0.01, exchange)
            state = result.state
            if exchange != "nothing":
                assert result.steps == (4 if exchange == "weights" else 1)
                losses.append(float(result.loss))
        return losses, tuple(tuple(part.clone() for part in layer) for layer in state)

    apart: list[Exchange] = ["nothing", "nothing", "nothing", "weights"]

    def trained(world: World) -> tuple[Tensor, list[float]]:
        stepper = build(config, world, captured=captured)
        losses, _ = steps(stepper, texts[:, world.rows(5).start : world.rows(5).stop], 2 * apart)
        return kept(stepper), losses

    parts = [texts[:, :2], texts[:, 2:]]
    alone = [build(replace(config, batch=part.shape[1])) for part in parts]
    states: list[State | None] = [None, None]
    wanted, expected = torch.empty(0), []
    for text in (slice(0, 4), slice(4, 8)):
        means = []
        for k, (stepper, part) in enumerate(zip(alone, parts, strict=True)):
            losses, states[k] = steps(stepper, part[text], ["gradient"] * 4, states[k])
            means.append(sum(losses) / 4)
        wanted = 0.4 * kept(alone[0]) + 0.6 * kept(alone[1])
        expected.append(0.4 * means[0] + 0.6 * means[1])
        for stepper in alone:
            moments = stepper.exp_avg, stepper.exp_avg_sq
            for target, value in zip((stepper.flat.values, *moments, stepper.averaged), wanted,
                                     strict=True):  # fmt: skip
                target.copy_(value)
    one, other = together(2, trained)
    assert isinstance(one, tuple)
    assert isinstance(other, tuple)
    assert torch.equal(one[0], other[0])
    assert one[1] == other[1] == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(one[0], wanted, rtol=1e-5, atol=1e-7)


def test_processes_meet_in_the_warm_up_then_every_few_steps_and_to_validate(
    train: Train, tmp_path: Path, crossed: list[tuple[torch.dtype, int]]
) -> None:
    results = train(tmp_path / "run", **APART)
    assert len({result.best_val for result in results}) == 1
    weights = sum(value.size for value in load(tmp_path / "run/best.safetensors").weights.values())
    large = [size for dtype, size in crossed if dtype == torch.float32 and size > weights]
    # first gradients, then weights, two moments and the average
    met = (7, 14, 20, 21, 28, 35, 40, 42, 49, 56, 60)
    assert [size // weights for size in large] == [1] * 3 + [4] * len(met)
    steps = [line["step"] for line in metrics(tmp_path / "run")]
    assert steps == [20, 40, 56, 60, 60]  # what 50 steps would report, and the result


def test_a_single_process_that_would_synchronize_trains_as_without(
    train: Train, tmp_path: Path
) -> None:
    for name in (1, 7):
        train(tmp_path / str(name), 1, **APART | {"sync_every": name})
    for file in FILES:
        assert same(*(tensors(tmp_path / name, file) for name in ("1", "7")))
    assert metrics(tmp_path / "1") == metrics(tmp_path / "7")


def test_a_run_stops_where_the_weights_meet_and_resumes_exactly(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", **APART)
    taken = [0, 0]
    step = Stepper.step

    def counted(self: Stepper, *args: Any) -> Any:
        taken[rank()] += 1
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", counted)
        told = lambda: 15 if rank() == 1 and taken[1] >= 32 else 0  # noqa: E731
        patch.setattr(interrupts, "received", told)
        patch.setattr(clock, "PULSE_S", 0.0)
        stopped = train(tmp_path / "parts", **APART)
    assert [type(outcome) for outcome in stopped] == [Terminated] * 2
    last = load(tmp_path / "parts/last.safetensors", extra=True)
    assert last.meta["progress"]["step"] == 35
    train(tmp_path / "parts", resume=True, **APART)
    for file in FILES:
        assert same(tensors(tmp_path / "whole", file), tensors(tmp_path / "parts", file))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def test_any_number_of_processes_goes_on_where_the_weights_met(
    train: Train, tmp_path: Path
) -> None:
    """The next step of one, two or three begins with the same weights and states."""
    more = {**APART, "window": 5, "dropout": 0.0}
    losses = []
    for size in (1, 2, 3):
        out = tmp_path / str(size)
        train(out, 2, steps=20, **more)
        train(out, size, steps=21, resume=True, **more)
        losses.append(next(line["train_nats"] for line in metrics(out) if line["step"] == 21))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)


@pytest.mark.parametrize("which", [0, 1])
def test_a_loss_of_one_process_that_is_not_finite_ends_all_where_they_meet(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    loss = Stepper.loss

    def bad(self: Stepper, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        value, state = loss(self, x, y, state)
        return value * (float("nan") if rank() == which and self.done == 24 else 1.0), state

    monkeypatch.setattr(Stepper, "loss", bad)
    outcomes = train(tmp_path / "run", **APART)
    assert [type(outcome) for outcome in outcomes] == [NonFiniteLossError] * 2
    assert "near step 28" in str(outcomes[0])
    last = load(tmp_path / "run/last.safetensors", extra=True)
    assert last.meta["progress"]["step"] == 20


def test_a_resumed_run_may_meet_more_or_less_often(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "run", steps=20, **APART)
    results = train(
        tmp_path / "run", steps=40, resume=True, **APART | {"sync_every": 1},
        grad_compression="bf16",
    )  # fmt: skip
    assert [type(result) for result in results] == [Result] * 2
    training = load(tmp_path / "run/last.safetensors").meta["training"]
    assert (training["sync_every"], training["grad_compression"]) == (1, "bf16")
