"""What might make a step on a GPU faster, each measured by itself; ``measure.py`` calls them.

Each experiment writes lines of figures: milliseconds are medians, errors are relative norms.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from charrnn import cells
from charrnn.bench.step_time import profile_kernels
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.layers import Parameters, torch_layer
from charrnn.model.network import CharNetwork, RecurrentLayer, State
from charrnn.training.hardware.device import Hardware, choose_hardware
from charrnn.training.loop.captured import Capture, CapturedStepper, captured, repeated, stepper_for
from charrnn.training.loop.optimizer import Stepper
from tests.gpu.results import Results

LSTM = cells.get("lstm")
V = 87
IN_A_ROW = 5


@dataclass(frozen=True)
class Scale:
    """How large the experiments are: those of the issue, or so small that a processor does them."""

    hidden: tuple[int, ...] = (512, 1024)
    shapes: tuple[int, ...] = (512, 640, 768, 1024)
    batches: tuple[int, ...] = (64, 128, 256)
    B: int = 128
    T: int = 100
    E: int = 128
    repeats: int = 10


QUICK = Scale((32,), (32,), (4, 8), B=8, T=20, E=32, repeats=2)


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median time of ``work``: on a GPU of several in a row, as in training."""
    if device.type != "cuda":
        return round(1e3 * statistics.median(_seconds(work) for _ in range(repeats)), 4)
    spent = []
    for _ in range(repeats + 2):
        begin, end = (_event() for _ in range(2))
        begin.record()
        for _ in range(IN_A_ROW):
            work()
        end.record()
        end.synchronize()
        spent.append(begin.elapsed_time(end) / IN_A_ROW)
    return float(round(statistics.median(spent[2:]), 4))  # the first two warm up


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def error(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    gap = (found.double() - wanted.double()).norm() / wanted.double().norm()
    return float(f"{gap.item():.3g}")


class Layers:
    """Inputs, states and weights of LSTM layers on ``device``, and one window through them."""

    def __init__(self, count: int, H: int, B: int, scale: Scale, device: torch.device) -> None:
        config = ModelConfig(V, hidden=H, embedding=scale.E, layers=count)
        self.network = CharNetwork(config).to(device)
        self.x = torch.randn(B, scale.T, scale.E, device=device)
        self.state = self.network.zero_state(B)
        self.grad = torch.randn(B, scale.T, H, device=device)

    @property
    def weights(self) -> list[Parameters]:
        layers = [layer for layer in self.network.layers if isinstance(layer, RecurrentLayer)]
        return [layer.weights for layer in layers]

    def backward(self, y: Tensor) -> None:
        self.network.zero_grad()
        torch.autograd.backward(y, self.grad.to(y.dtype))

    def gradient(self) -> Tensor:
        grads = [p.grad.flatten() for p in self.network.parameters() if p.grad is not None]
        return torch.cat(grads)


def one_layer(layers: Layers, dtype: torch.dtype) -> Tensor:
    """The outputs of the first layer."""
    return torch_layer(LSTM, layers.x, layers.state[0], layers.weights[0], dtype)[0]


def one_layer_and_back(layers: Layers, dtype: torch.dtype) -> None:
    """The same, and the gradients of its weights."""
    layers.backward(one_layer(layers, dtype))


def shaped(scale: Scale, hardware: Hardware) -> Iterator[tuple[str, Layers, torch.dtype]]:
    """A layer of each shape in each type, with its name."""
    on_gpu = hardware.device.type == "cuda"
    for H in scale.shapes:
        for B in scale.batches:
            for dtype in (torch.bfloat16, *((torch.float16,) if on_gpu else ())):
                yield f"{H} x {B} {str(dtype)[6:]}", Layers(1, H, B, scale, hardware.device), dtype


def shapes(results: Results, scale: Scale, hardware: Hardware) -> None:
    """One layer of each shape by cuDNN, forward, and forward and back.

    torch asks for cuDNN's persistent kernels in float16 alone, and for up to 128 streams
    (``get_algo`` in its RNN.cpp); so B = 256 and bfloat16 show the other algorithm.
    """
    for name, layers, dtype in shaped(scale, hardware):
        forward, both = (partial(f, layers, dtype) for f in (one_layer, one_layer_and_back))
        with torch.no_grad():
            forward_ms = milliseconds(forward, hardware.device, scale.repeats)
        both_ms = milliseconds(both, hardware.device, scale.repeats)
        results.add(
            f"shape {name}",
            forward_ms=forward_ms,
            both_ms=both_ms,
            us_per_time_step=round(1e3 * both_ms / scale.T, 3),
        )


def persistent(results: Results, scale: Scale, hardware: Hardware) -> None:
    """Which shapes run in persistent kernels, by the names of the kernels."""
    if hardware.device.type != "cuda":
        return
    for name, layers, dtype in shaped(scale, hardware):
        kernels = profile_kernels(partial(one_layer_and_back, layers, dtype), 1)
        names = sorted({kernel for kernel, _ in kernels if "persist" in kernel.lower()})
        results.add(f"persistent {name}", launches=len(kernels), kernels=[n[:80] for n in names])


def settings_of(scale: Scale, hardware: Hardware, **more: Any) -> TrainConfig:
    """The settings of a step with every dropout, unless ``more`` says otherwise."""
    settings: dict[str, Any] = {"dropout": 0.25, "input_dropout": 0.1, "weight_dropout": 0.5}
    settings |= {"batch": scale.B, "window": scale.T, "device": hardware.device.type}
    return TrainConfig(steps=1, **settings | more)


class Steps:
    """A stepper of a network of three layers, and a window of random ids."""

    def __init__(self, stepper: Stepper, scale: Scale) -> None:
        self.stepper, self.repeats = stepper, scale.repeats
        rng = torch.Generator().manual_seed(1)
        text = torch.randint(V, (scale.B, scale.T + 1), generator=rng)
        text = text.to(stepper.hardware.device)
        self.x, self.y = text[:, :-1].contiguous(), text[:, 1:].contiguous()
        self.state: State = stepper.network.zero_state(scale.B)

    def take(self, lr: float = 1e-3) -> None:
        self.state = self.stepper.step(self.x, self.y, self.state, lr).state

    def milliseconds(self) -> float:
        return milliseconds(self.take, self.stepper.hardware.device, self.repeats)


def network_of(H: int, scale: Scale) -> CharNetwork:
    """Three layers of ``H`` units."""
    return CharNetwork(ModelConfig(V, hidden=H, embedding=scale.E, layers=3), seed=1)


def graph(results: Results, scale: Scale, hardware: Hardware) -> None:
    """The whole step as a CUDA graph, beside the usual one: the same numbers, and its time."""
    capture: Capture = captured if hardware.device.type == "cuda" else repeated
    for H in scale.hidden:
        config = settings_of(scale, hardware, ema=0.9)
        usual = Steps(Stepper(network_of(H, scale), config, hardware), scale)
        replayed = CapturedStepper(network_of(H, scale), config, hardware, capture)
        both = [usual, Steps(replayed, scale)]
        for steps in both:
            for number in range(8):
                steps.take(1e-3 / (number + 1))
        one, other = ([s.stepper.flat.values.clone(), s.stepper.averaged.clone()] for s in both)
        eager_ms, graph_ms = (steps.milliseconds() for steps in both)
        results.add(
            f"graph of a step, {H}",
            eager_ms=eager_ms,
            graph_ms=graph_ms,
            identical=all(torch.equal(a, b) for a, b in zip(one, other, strict=True)),
            error=error(other[0], one[0]),
        )


def precisions(results: Results, scale: Scale, hardware: Hardware) -> None:
    """A whole step in each precision."""
    names = ("float32", "bfloat16", *(("float16",) if hardware.device.type == "cuda" else ()))
    for H in scale.hidden:
        took = {}
        for name in names:
            config = settings_of(scale, hardware, precision=name)
            stepper = stepper_for(network_of(H, scale), config, choose_hardware(config))
            took[f"{name}_ms"] = Steps(stepper, scale).milliseconds()
        results.add(f"precision of a step, {H}", **took)


Experiment = Callable[[Results, Scale, Hardware], None]
# those that matter most first, each with the most seconds that it may take
EXPERIMENTS: dict[str, tuple[Experiment, float]] = {
    "graph": (graph, 15),
    "shapes": (shapes, 15),
    "precisions": (precisions, 10),
    # last, because a profiler may slow down what comes after it
    "persistent": (persistent, 20),
}
