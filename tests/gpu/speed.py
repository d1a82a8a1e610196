"""The speed of training and evaluation on one device; ``measure.py`` calls these."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from charrnn.bench.evaluation import evaluation_speed
from charrnn.bench.plain import plain_step
from charrnn.bench.step_time import divide
from charrnn.bench.training import (
    batch_curve,
    bench_training,
    interleaved,
    matmul_flops,
    own_step,
    random_text,
)
from charrnn.config import ModelConfig, TrainConfig
from charrnn.training.hardware.device import Hardware, choose_hardware
from charrnn.training.hardware.throughput import matmul_throughput
from tests.gpu.results import Results

V = 87


@dataclass(frozen=True)
class Case:
    """A network, its windows, and the batches of its curve."""

    name: str
    hidden: int
    embedding: int
    B: int
    T: int
    batches: tuple[int, ...]
    lanes: tuple[int, ...]

    @property
    def model(self) -> ModelConfig:
        return ModelConfig(V, hidden=self.hidden, embedding=self.embedding, layers=3)

    def settings(self, device: str, **more: Any) -> TrainConfig:
        return TrainConfig(steps=1, batch=self.B, window=self.T, device=device, **more)  # type: ignore[arg-type]


FULL = (
    Case("3 x 512", 512, 128, 128, 100, (112, 128, 168, 256, 384, 512, 1024),
         (64, 128, 256, 512, 1024)),
    Case("3 x 1024", 1024, 256, 128, 100, (128, 256, 512), ()),
)  # fmt: skip
QUICK = (
    Case("3 x 512", 32, 32, 8, 20, (8, 16), (4, 8)),
    Case("3 x 1024", 48, 32, 8, 20, (8,), ()),
)


@dataclass(frozen=True)
class Speed:
    """Measures the cases on ``device``; ``turn_s`` is how long each loop runs at a time."""

    results: Results
    device: str
    out: Path
    quick: bool

    @property
    def turn_s(self) -> float:
        return 0.02 if self.quick else 0.4

    @property
    def turns(self) -> int:
        return 2 if self.quick else 5

    def first(self) -> None:
        """The machine, and everything about 3 x 512, each figure in its own seconds."""
        case = (QUICK if self.quick else FULL)[0]
        self.results.measure("machine", 20, self.machine)
        self.results.measure(f"{case.name} curve", 15, partial(self.curve, case))
        self.results.measure("lanes", 10, partial(self.lanes, case))
        self._bench_and_division(case)

    def second(self) -> None:
        """Everything about 3 x 1024."""
        case = (QUICK if self.quick else FULL)[1]
        self.results.measure(f"{case.name} curve", 12, partial(self.curve, case))
        self._bench_and_division(case)

    def _bench_and_division(self, case: Case) -> None:
        # last, because a profiler may slow down what comes after it
        self.results.measure(case.name, 30, partial(self.bench, case))
        self.results.measure(f"{case.name} divided", 10, partial(self.division, case))

    def machine(self) -> None:
        """The device, its software, and what it multiplies and copies at most."""
        config = TrainConfig(steps=1, device=self.device)  # type: ignore[arg-type]
        hardware = choose_hardware(config)
        dtype, size = hardware.dtype or torch.float32, 256 if self.quick else 8192
        block = torch.rand(1 << (20 if self.quick else 30), device=hardware.device)
        copy = torch.empty_like(block)
        copied = self._seconds({"copy": lambda text: copy.copy_(block)}, hardware)["copy"]
        self.results.add(
            "machine",
            device=hardware.describe(),
            torch=torch.__version__,
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            product_flops=matmul_flops(hardware.device, dtype, size),
            product_flops_in_training=matmul_throughput(dtype, hardware.device),
            copied_bytes_per_second=2 * block.nbytes / copied,
        )

    def bench(self, case: Case) -> None:
        """``charrnn bench train``, and the plain loop under autocast to bfloat16 beside it."""
        settings = case.settings(self.device)
        hardware = choose_hardware(settings)
        found = bench_training(
            case.model,
            settings,
            turns=self.turns,
            turn_s=self.turn_s,
            product=256 if self.quick else 0,
            evaluated=5_000 if self.quick else 320_000,
        )
        chars = case.B * case.T
        steps = {"bfloat16": plain_step(case.model, hardware.device, torch.bfloat16)}
        other = self._seconds(steps, hardware, case)["bfloat16"]
        throughput = matmul_throughput(hardware.dtype or torch.float32, hardware.device)
        self.results.add(
            case.name,
            **found.to_dict(),
            bfloat16_autocast_chars_per_second=round(chars / other, 1),
            # what ``GPU_UTILIZATION`` guesses
            utilization=round(found.chars_per_second * 6 * case.model.parameters / throughput, 4),
        )

    def division(self, case: Case) -> None:
        """Where the time of a step with every dropout goes, kernel by kernel."""
        rates = {"dropout": 0.25, "input_dropout": 0.1, "weight_dropout": 0.2}
        settings = case.settings(self.device, **rates)
        hardware = choose_hardware(settings)
        text = random_text(case.model, settings, hardware.device)
        step = own_step(case.model, settings, hardware)
        seconds = self._seconds({"own": step}, hardware, case)["own"]
        name, values = f"{case.name} divided", {"step_ms": 1e3 * seconds}
        if hardware.device.type != "cuda":
            self.results.add(name, **values)
            return
        trace = self.out / f"trace-{case.hidden}.json.gz"
        divided = divide(lambda: step(text), seconds, trace)
        self.results.add(name, **values, **dataclasses.asdict(divided))

    def lanes(self, case: Case) -> None:
        """Evaluation speed by the number of lanes."""
        hardware = choose_hardware(case.settings(self.device))
        chars = 5_000 if self.quick else 320_000
        speeds = {
            lanes: round(evaluation_speed(case.model, hardware, chars=chars, lanes=lanes))
            for lanes in case.lanes
        }
        self.results.add("lanes", **{str(lanes): speed for lanes, speed in speeds.items()})

    def curve(self, case: Case) -> None:
        """Training speed by the batch, each written as soon as it is known."""
        speeds: dict[str, float] = {}
        for batch in case.batches:
            speeds |= {
                str(batch): speed
                for speed in batch_curve(
                    case.model, case.settings(self.device), [batch], turn_s=self.turn_s
                ).values()
            }
            self.results.add(f"{case.name} curve", **speeds)

    def _seconds(
        self,
        steps: dict[str, Callable[[torch.Tensor], object]],
        hardware: Hardware,
        case: Case | None = None,
    ) -> dict[str, float]:
        text = torch.zeros(1, 2, dtype=torch.long, device=hardware.device)
        if case is not None:
            text = random_text(case.model, case.settings(self.device), hardware.device)
        return interleaved(steps, text, hardware.device, self.turns, self.turn_s)


def steady(speeds: list[float]) -> float:
    """The speed of a run: the median of what its reports say, without the first."""
    return statistics.median(speeds[1:] or speeds)
