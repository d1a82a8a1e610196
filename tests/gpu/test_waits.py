"""Training does not wait for the device between two reports, and evaluation once a block."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.bench.step_time import count_waits, divide
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.network import CharNetwork
from charrnn.text.streams import Position, Streams
from charrnn.training.evaluation.loss import TorchReader, evaluate
from charrnn.training.evaluation.temperature import fit_temperature
from charrnn.training.hardware.device import choose_hardware, own_torch_settings
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.captured import CapturedStepper, stepper_for
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.trainer import REPORT_EVERY
from tests.gpu.device import DEVICE, PRECISIONS, gpu_only, on_device
from tests.support.processes import corpus_in
from tests.support.runs import Notes, run

pytestmark = on_device

V = 87
IDS = np.random.default_rng(1).integers(V, size=60_000).astype(np.uint8)


class Watch(Notes):
    """Lets torch refuse to wait from the step ``begin`` to the step ``end``."""

    def __init__(self, begin: int, end: int) -> None:
        super().__init__()
        self.step, self.modes = 0, {begin: "error", end: "default"}

    def on_step(self, progress: float, chars: int, loss: float | None) -> None:
        self.step += 1
        if self.step in self.modes and DEVICE.type == "cuda":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it does not detect everything
                torch.cuda.set_sync_debug_mode(self.modes[self.step])


def test_no_step_waits_between_two_reports(tmp_path: Path) -> None:
    watch = Watch(REPORT_EVERY + 1, 2 * REPORT_EVERY - 2)
    settings: dict[str, Any] = {"hidden": 128, "embedding": 128, "batch": 16, "ema": 0.9}
    try:
        run(
            corpus_in(tmp_path), tmp_path / "run", listener=watch, eval_every=1000,
            steps=2 * REPORT_EVERY, device=DEVICE.type, precision=PRECISIONS[-1],
            input_dropout=0.1, weight_dropout=0.2, **settings,
        )  # fmt: skip
    finally:
        if DEVICE.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert watch.step == 2 * REPORT_EVERY


@gpu_only
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_and_its_window_wait_for_nothing(precision: Any) -> None:
    config = TrainConfig(
        steps=1, batch=16, window=20, device="cuda", precision=precision,
        dropout=0.2, input_dropout=0.1, weight_dropout=0.2, ema=0.9,
    )  # fmt: skip
    with own_torch_settings():
        network = CharNetwork(ModelConfig(V, hidden=128))
        stepper = stepper_for(network, config, choose_hardware(config))
        windows = Windows(Streams(IDS, ((0, len(IDS)),), 16, 20), DEVICE)
        state = stepper.network.zero_state(16)

        def step() -> None:
            stepper.step_at(windows, Position(0, 1), state, 1e-3)

        for _ in range(CapturedStepper.WARM + 2):
            step()
        assert isinstance(stepper, CapturedStepper)
        assert stepper.failure is None
        assert count_waits(step, 2) == {}
        divided = divide(step, 1.0)
        assert divided.waits == 0
        if divided.kernels_ms is None or divided.launches is None:
            pytest.skip("torch's profiler does not see the GPU here")
        assert divided.kernels_ms > 0
        assert divided.launches > 10
        assert len(divided.longest) > 3
        assert divided.peak_memory_mb > 0


@gpu_only
def test_an_evaluation_waits_for_the_losses_and_states_of_a_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A block is 256 characters of each lane: between two, it looks whether pieces have met."""
    network = CharNetwork(ModelConfig(V, hidden=128)).to(DEVICE)
    ranges, blocks, start = ((0, len(IDS)),), [], TorchReader.start

    def counted(*args: Any) -> Any:
        blocks.append(1)
        return start(*args)

    monkeypatch.setattr(TorchReader, "start", counted)
    for scored in (evaluate, fit_temperature):

        def once(work: Any = scored) -> None:
            blocks.clear()
            work(network, IDS, ranges, device=DEVICE)

        once()
        assert sum(count_waits(once, 1).values()) <= 2 * len(blocks) + 2, scored


def test_an_evaluation_on_the_device_is_that_of_the_processor() -> None:
    network = CharNetwork(ModelConfig(V, hidden=128), seed=4)
    ranges = ((0, 20_000), (25_000, 60_000))
    with own_torch_settings():
        choose_hardware(TrainConfig(steps=1, precision="float32"))
        wanted = evaluate(network.double(), IDS, ranges)
        found = evaluate(network.float().to(DEVICE), IDS, ranges, device=DEVICE)
    assert found.chars == wanted.chars
    assert found.nats_per_char == pytest.approx(wanted.nats_per_char, rel=1e-5)


def test_windows_on_the_device_are_those_cut_on_the_processor() -> None:
    streams = Streams(IDS, ((0, 20_000), (25_000, 60_000)), 16, 20, seed=5)
    windows = Windows(streams, DEVICE)
    for position in (Position(0, 0), Position(0, 1), Position(3, streams.windows - 1)):
        window = streams.at(position)
        for found, wanted in zip(windows.at(position), (window.x, window.y), strict=True):
            assert found.dtype == torch.int64
            assert found.device.type == DEVICE.type
            assert torch.equal(found.cpu(), torch.from_numpy(wanted))


@pytest.mark.parametrize("line_end", [None, 3], ids=["whole", "records"])
def test_captured_steps_cut_the_windows_that_are_cut_on_the_processor(line_end: int | None) -> None:
    """Over several epochs, whose texts differ where records are shuffled."""
    config = TrainConfig(steps=1, batch=4, window=20, device=DEVICE.type, precision="float32")  # type: ignore[arg-type]
    ids, losses = IDS[:400], []
    with own_torch_settings():
        hardware = choose_hardware(config)
        model = ModelConfig(V, hidden=64, layers=2)
        for kind in (stepper_for, Stepper):
            streams = Streams(ids, ((0, len(ids)),), 4, 20, seed=5, line_end=line_end)
            stepper, position = kind(CharNetwork(model, seed=1), config, hardware), Position()
            state, told = stepper.network.zero_state(4), []
            windows = Windows(streams, hardware.device)
            for _ in range(16):
                if kind is stepper_for:
                    result = stepper.step_at(windows, position, state, 1e-2)
                else:
                    window = streams.at(position)
                    x, y = (torch.from_numpy(part).to(DEVICE) for part in (window.x, window.y))
                    result = stepper.step(x, y, windows.begun(x, state), 1e-2)
                told.append(float(result.loss))
                state, position = result.state, streams.after(position)
            losses.append(told)
            assert position.epoch > 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][-1] < losses[0][0]
