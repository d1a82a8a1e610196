"""Training speed: our step against plain torch loops and the hardware's limit.

All of them run in one process, in turns, on the same random text; medians are compared, because
machines are noisy.
"""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charrnn.bench.evaluation import CHARS, evaluation_speed
from charrnn.bench.neighbors import Beside
from charrnn.bench.neighbors import measure as neighbor_cost
from charrnn.bench.plain import plain_step
from charrnn.bench.step_time import divide
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.kernels.memory import default_memory, keep_memory
from charrnn.model.network import CharNetwork
from charrnn.text.streams import Position, Streams
from charrnn.training.hardware.device import Hardware, choose_hardware
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.captured import stepper_for

VOCABULARY = 87
TEXT_LENGTH = 1_000_000


@dataclass(frozen=True)
class TrainBench:
    """Speeds in characters per second, medians over the turns.

    ``reference`` is ``nn.LSTM`` in float32, ``autocast`` the same under autocast to our precision
    (None if that is float32). ``matmul_flops`` is the throughput of one large matmul in our
    precision, ``fraction_of_matmul`` the part of it that our step uses for ``flops_per_char``.
    ``window_overhead`` is the part of a step's time that cutting a window takes; on a GPU, by how
    much longer a step takes that cuts its window than one that is given it.

    From ``kernels_ms`` on: how a step's time divides on a GPU (``StepTime``), None on a CPU.
    """

    cell: str
    layers: int
    hidden: int
    batch: int
    window: int
    device: str
    chars_per_second: float
    reference_chars_per_second: float
    ratio: float
    autocast_chars_per_second: float | None
    autocast_ratio: float | None
    matmul_flops: float
    fraction_of_matmul: float
    window_overhead: float
    evaluation_chars_per_second: float
    step_ms: float
    kernels_ms: float | None = None
    gaps_ms: float | None = None
    host_ms: float | None = None
    launches: float | None = None
    waits: float | None = None
    peak_memory_mb: float | None = None

    def to_dict(self) -> dict[str, object]:
        """The result as JSON values."""
        return dataclasses.asdict(self)


def own_step(
    config: ModelConfig, settings: TrainConfig, hardware: Hardware
) -> Callable[[Tensor], object]:
    """Our training step on ``text (B, T + 1)``, which returns its loss."""
    stepper = stepper_for(CharNetwork(config), settings, hardware)
    carried = [stepper.network.zero_state(settings.batch)]

    def step(text: Tensor) -> object:
        result = stepper.step(text[:, :-1].contiguous(), text[:, 1:].contiguous(), carried[0], 1e-3)
        carried[0] = result.state
        return result.loss

    return step


def bench_training(
    config: ModelConfig,
    settings: TrainConfig,
    *,
    turns: int = 7,
    turn_s: float = 0.8,
    product: int = 0,
    evaluated: int = CHARS,
) -> TrainBench:
    """Measure ``config`` at ``settings.batch`` × ``settings.window`` characters per step.

    Each loop gets ``turns`` turns of about ``turn_s`` seconds, one after the other. ``product`` is
    the size of the square matrices whose matmul throughput is the limit (0: chosen for the device),
    ``evaluated`` the characters of an evaluation.
    """
    hardware = choose_hardware(settings)
    text = random_text(config, settings, hardware.device)
    steps = _loops(config, settings, hardware)
    taken = interleaved(steps, text, hardware.device, turns, turn_s)
    rate = {name: settings.batch * settings.window / seconds for name, seconds in taken.items()}
    product = product or (2048 if hardware.device.type == "cpu" else 8192)
    ceiling = matmul_flops(hardware.device, hardware.dtype or torch.float32, product)
    autocast = rate.get("autocast")
    overhead = window_overhead(config, settings, hardware, taken["own"], turns, turn_s)
    evaluation = evaluation_speed(config, hardware, chars=evaluated, turns=min(turns, 3))
    own = steps["own"]
    del steps  # the memory of the other loops is not ours
    return TrainBench(
        cell=config.cell,
        layers=config.layers,
        hidden=config.hidden,
        batch=settings.batch,
        window=settings.window,
        device=hardware.describe(),
        chars_per_second=round(rate["own"], 1),
        reference_chars_per_second=round(rate["reference"], 1),
        ratio=round(rate["own"] / rate["reference"], 3),
        autocast_chars_per_second=round(autocast, 1) if autocast else None,
        autocast_ratio=round(rate["own"] / autocast, 3) if autocast else None,
        matmul_flops=ceiling,
        fraction_of_matmul=round(rate["own"] * flops_per_char(config) / ceiling, 4),
        window_overhead=round(overhead, 5),
        evaluation_chars_per_second=round(evaluation, 1),
        step_ms=round(1e3 * taken["own"], 4),
        # last, because a profiler may slow down what comes after it
        **_division(own, text, taken["own"]),
    )


def training_beside(config: ModelConfig, settings: TrainConfig, neighbors: int) -> Beside:
    """How efficient our step is beside ``neighbors`` busy loops."""
    hardware = choose_hardware(settings)
    step, text = (
        own_step(config, settings, hardware),
        random_text(config, settings, hardware.device),
    )
    return neighbor_cost(lambda: step(text), neighbors)


def _loops(
    config: ModelConfig, settings: TrainConfig, hardware: Hardware
) -> dict[str, Callable[[Tensor], object]]:
    """Our step and the plain ones by name."""
    steps = {
        "own": own_step(config, settings, hardware),
        "reference": plain_step(config, hardware.device, None),
    }
    if hardware.dtype is not None:
        steps["autocast"] = plain_step(config, hardware.device, hardware.dtype)
    return steps


def batch_curve(
    config: ModelConfig, settings: TrainConfig, batches: Iterable[int], *, turn_s: float = 0.5
) -> dict[int, float]:
    """Characters per second of our step alone at each of ``batches``, in the order given."""
    hardware, curve = choose_hardware(settings), {}
    for batch in batches:
        sized = dataclasses.replace(settings, batch=batch)
        text = random_text(config, sized, hardware.device)
        step = {"own": own_step(config, sized, hardware)}
        taken = interleaved(step, text, hardware.device, 3, turn_s)
        curve[batch] = round(batch * settings.window / taken["own"], 1)
    return curve


def random_text(config: ModelConfig, settings: TrainConfig, device: torch.device) -> Tensor:
    """Random ids ``(B, T + 1)``."""
    size = (settings.batch, settings.window + 1)
    return torch.randint(config.vocab_size, size, device=device)


# what of a step's division is in the result; the rest is for those who look into it
DIVIDED = ("kernels_ms", "gaps_ms", "host_ms", "launches", "waits", "peak_memory_mb")


def _division(step: Callable[[Tensor], object], text: Tensor, seconds: float) -> dict[str, float]:
    """The fields of the result that only a GPU has."""
    if not text.is_cuda:
        return {}
    divided = divide(lambda: step(text), seconds)
    return {name: getattr(divided, name) for name in DIVIDED}


def flops_per_char(config: ModelConfig) -> int:
    """Operations per character of a step's matrix products: 2 forward and 4 backward per weight.

    The embedding's and the first layer's input products are omitted: they can be computed once per
    symbol.
    """
    free = {"embedding.weight", "layers.0.weight_ih"}
    shapes = (shape for name, shape in config.shapes().items() if name not in free)
    return 6 * sum(math.prod(shape) for shape in shapes if len(shape) == 2)


def matmul_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Matmul throughput: operations per second of one large square product."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product(_: Tensor) -> Tensor:
        return a @ b

    seconds = [_timed(product, a, device, 5) for _ in range(9)]
    return 2 * size**3 / statistics.median(seconds[2:])


def interleaved(
    steps: dict[str, Callable[[Tensor], object]],
    text: Tensor,
    device: torch.device,
    turns: int,
    turn_s: float,
) -> dict[str, float]:
    """Median seconds per step of each loop."""
    repeats = {}
    for name, step in steps.items():
        (keep_memory if name == "own" else default_memory)()
        for _ in range(3):  # compile, allocate, warm up
            _timed(step, text, device, 1)
        repeats[name] = max(1, round(turn_s / _timed(step, text, device, 2)))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            # the plain loops run with the C library's default handling of freed memory
            (keep_memory if name == "own" else default_memory)()
            _timed(step, text, device, 1)
            seconds[name].append(_timed(step, text, device, repeats[name]))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _timed(
    step: Callable[[Tensor], object], text: Tensor, device: torch.device, repeats: int
) -> float:
    """Seconds per step; waits for the device to finish."""
    began = time.perf_counter()
    for _ in range(repeats):
        result = step(text)
    if device.type != "cpu":
        assert isinstance(result, Tensor)
        result.flatten()[0].item()
    return (time.perf_counter() - began) / repeats


def window_overhead(
    config: ModelConfig,
    settings: TrainConfig,
    hardware: Hardware,
    step_s: float,
    turns: int,
    turn_s: float,
) -> float:
    """The part of a step's time, ``step_s``, that cutting its window takes.

    On a GPU a captured step cuts its own, so steps with and without are compared.
    """
    ids = np.random.default_rng(0).integers(VOCABULARY, size=TEXT_LENGTH).astype(np.uint8)
    batch = min(settings.batch, TEXT_LENGTH // (settings.window + 1))
    streams = Streams(ids, ((0, TEXT_LENGTH),), batch, settings.window)
    windows = Windows(streams, hardware.device)
    if hardware.device.type == "cpu":
        return _window_seconds(windows) / step_s
    settings = dataclasses.replace(settings, batch=batch)
    steps = {
        "given": _given(config, settings, hardware),
        "cut": _cut(config, settings, hardware, windows),
    }
    text = random_text(config, settings, hardware.device)
    taken = interleaved(steps, text, hardware.device, turns, turn_s)
    return taken["cut"] / taken["given"] - 1


def _given(
    config: ModelConfig, settings: TrainConfig, hardware: Hardware
) -> Callable[[Tensor], object]:
    """A training step on a window that is already cut."""
    stepper = stepper_for(CharNetwork(config), settings, hardware)
    text = random_text(config, settings, hardware.device)
    x, y = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    carried = [stepper.network.zero_state(settings.batch)]

    def step(_: Tensor) -> Tensor:
        result = stepper.step(x, y, carried[0], 1e-3)
        carried[0] = result.state
        return result.loss

    return step


def _cut(
    config: ModelConfig, settings: TrainConfig, hardware: Hardware, windows: Windows
) -> Callable[[Tensor], object]:
    """A training step that cuts its window from ``windows``, as in a run."""
    stepper = stepper_for(CharNetwork(config), settings, hardware)
    carried, position = [stepper.network.zero_state(settings.batch)], [Position(1, 0)]

    def step(_: Tensor) -> Tensor:
        result = stepper.step_at(windows, position[0], carried[0], 1e-3)
        carried[0] = result.state
        position[0] = Position(1, (position[0].window + 1) % windows.streams.windows)
        return result.loss

    return step


def _window_seconds(windows: Windows) -> float:
    """Seconds to cut a window on a CPU, the median."""
    seconds = []
    for number in range(min(50, windows.streams.windows)):
        began = time.perf_counter()
        windows.at(Position(1, number))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
