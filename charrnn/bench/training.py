"""Training speed: our step against plain torch loops and the hardware's limit.

All of them run in one process, in turns, on the same random text; medians are compared, because
machines are noisy.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.kernels.memory import default_memory, keep_memory
from charrnn.model.network import CharNetwork
from charrnn.text.streams import Position, Streams
from charrnn.training.hardware.device import Hardware, choose_hardware
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.optimizer import Stepper

VOCABULARY = 87
TEXT_LENGTH = 1_000_000


@dataclass(frozen=True)
class TrainBench:
    """Speeds in characters per second, medians over the turns.

    ``reference`` is ``nn.LSTM`` in float32, ``autocast`` the same under bfloat16 autocast (None if
    our precision is float32). ``matmul_flops`` is the throughput of one large matmul in our
    precision, ``fraction_of_matmul`` the part of it that our step uses for ``flops_per_char``.
    ``window_overhead`` is the part of a step's time that cutting a window takes.
    """

    cell: str
    layers: int
    hidden: int
    batch: int
    window: int
    place: str
    chars_per_second: float
    reference_chars_per_second: float
    ratio: float
    autocast_chars_per_second: float | None
    autocast_ratio: float | None
    matmul_flops: float
    fraction_of_matmul: float
    window_overhead: float

    def to_dict(self) -> dict[str, object]:
        """The result as JSON values."""
        return dataclasses.asdict(self)


PLAIN: dict[str, Callable[..., nn.Module]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn-tanh": nn.RNN,
    "rnn-relu": partial(nn.RNN, nonlinearity="relu"),
}


class _Plain(nn.Module):
    """The usual network: embedding, torch's recurrent layers, head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding)
        sizes = (config.embedding, config.hidden, config.layers)
        self.rnn: nn.Module
        # for a cell that torch does not have, the simplest one
        plain = PLAIN.get(config.cell, PLAIN["rnn-tanh"])
        self.rnn = plain(*sizes, batch_first=True)
        self.head = nn.Linear(config.hidden, config.vocab_size)

    def forward(self, x: Tensor, state: object) -> tuple[Tensor, object]:
        y, state = self.rnn(self.embedding(x), state)
        return self.head(y), state


def _plain_step(
    config: ModelConfig, hardware: Hardware, autocast: bool
) -> Callable[[Tensor], object]:
    network = _Plain(config).to(hardware.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    carried: list[object] = [None]

    def step(text: Tensor) -> object:
        x, y = text[:, :-1], text[:, 1:]
        with torch.autocast(hardware.device.type, torch.bfloat16, enabled=autocast):
            logits, state = network(x, carried[0])
        loss = F.cross_entropy(logits.float().flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        parts = state if isinstance(state, tuple) else (state,)
        detached = tuple(part.detach() for part in parts)
        carried[0] = detached if isinstance(state, tuple) else detached[0]
        return loss

    return step


def _own_step(
    config: ModelConfig, settings: TrainConfig, hardware: Hardware
) -> Callable[[Tensor], object]:
    stepper = Stepper(CharNetwork(config), settings, hardware)
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
) -> TrainBench:
    """Measure ``config`` at ``settings.batch`` × ``settings.window`` characters per step.

    Each loop gets ``turns`` turns of about ``turn_s`` seconds, one after the other. ``product`` is
    the size of the square matrices whose matmul throughput is the limit (0: chosen for the device).
    """
    hardware = choose_hardware(settings)
    size = (settings.batch, settings.window + 1)
    text = torch.randint(config.vocab_size, size, device=hardware.device)
    steps = {
        "own": _own_step(config, settings, hardware),
        "reference": _plain_step(config, hardware, False),
    }
    if hardware.dtype is not None:
        steps["autocast"] = _plain_step(config, hardware, True)
    taken = _interleave(steps, text, hardware.device, turns, turn_s)
    chars = settings.batch * settings.window
    rate = {name: chars / seconds for name, seconds in taken.items()}
    product = product or (2048 if hardware.device.type == "cpu" else 8192)
    ceiling = matmul_flops(hardware.device, hardware.dtype or torch.float32, product)
    autocast = rate.get("autocast")
    return TrainBench(
        cell=config.cell,
        layers=config.layers,
        hidden=config.hidden,
        batch=settings.batch,
        window=settings.window,
        place=hardware.describe(),
        chars_per_second=round(rate["own"], 1),
        reference_chars_per_second=round(rate["reference"], 1),
        ratio=round(rate["own"] / rate["reference"], 3),
        autocast_chars_per_second=round(autocast, 1) if autocast else None,
        autocast_ratio=round(rate["own"] / autocast, 3) if autocast else None,
        matmul_flops=ceiling,
        fraction_of_matmul=round(rate["own"] * flops_per_char(config) / ceiling, 4),
        window_overhead=round(_window_seconds(settings, hardware.device) / taken["own"], 5),
    )


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


def _interleave(
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


def _window_seconds(settings: TrainConfig, device: torch.device) -> float:
    """Median seconds that the CPU takes to cut a window."""
    ids = np.random.default_rng(0).integers(VOCABULARY, size=TEXT_LENGTH).astype(np.uint8)
    batch = min(settings.batch, TEXT_LENGTH // (settings.window + 1))
    streams = Streams(ids, ((0, TEXT_LENGTH),), batch, settings.window)
    windows, seconds = Windows(streams, device), []
    for number in range(min(50, streams.windows)):
        began = time.perf_counter()
        windows.at(Position(1, number))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
