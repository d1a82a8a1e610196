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
from torch.nn import functional as F

from charrnn import cells
from charrnn.bench.step_time import profile_kernels
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.dropout import Dropout
from charrnn.model.layers import Parameters, contiguous, torch_layer
from charrnn.model.network import CharNetwork, RecurrentLayer, State
from charrnn.training.hardware.device import Hardware, choose_hardware
from charrnn.training.loop.optimizer import Stepper
from tests.gpu.captured import Capture, CapturedStepper, captured, repeated
from tests.gpu.results import Results
from tests.gpu.wavefront import Streams, stacked

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
    """One layer of each shape, forward, and forward and back.

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


def wave(layers: Layers, dtype: torch.dtype, chunks: int, streams: Streams | None) -> Tensor:
    """A window through all layers, and back."""
    y, _ = stacked("lstm", layers.x, layers.state, layers.weights, dtype, chunks, streams)
    layers.backward(y)
    return y.detach()


def overlap(results: Results, scale: Scale, hardware: Hardware) -> None:
    """Three layers in turn, beside the same in chunks on a stream each: the wavefront."""
    device, dtype = hardware.device, hardware.dtype or torch.float32
    for H in scale.hidden:
        layers = Layers(3, H, scale.B, scale, device)
        streams = Streams(3, device)
        wanted = wave(layers, dtype, 1, None), layers.gradient()
        for chunks in (1, 2, 4, 5, 10):
            work = partial(wave, layers, dtype, chunks, streams if chunks > 1 else None)
            took = milliseconds(work, device, scale.repeats)
            found = work(), layers.gradient()
            values, grads = (error(a, b) for a, b in zip(found, wanted, strict=True))
            name = f"wavefront {H} in {chunks}"
            results.add(name, ms=took, error=values, gradient_error=grads)


def beside(both: list[Layers], dtype: torch.dtype, streams: Streams) -> None:
    """Independent layers on a stream each."""
    with streams.forked():
        for number, layers in enumerate(both):
            with streams.on(number):
                one_layer_and_back(layers, dtype)


def in_turn(both: list[Layers], dtype: torch.dtype) -> None:
    """The same layers one after the other."""
    for layers in both:
        one_layer_and_back(layers, dtype)


def halves(results: Results, scale: Scale, hardware: Hardware) -> None:
    """A batch of 2 B: as one call, as two in turn, and as two on streams of their own."""
    device, dtype = hardware.device, hardware.dtype or torch.float32
    for H in scale.hidden:
        both = [Layers(1, H, scale.B, scale, device) for _ in range(2)]
        whole = Layers(1, H, 2 * scale.B, scale, device)
        works = {
            "one_call_ms": partial(one_layer_and_back, whole, dtype),
            "in_turn_ms": partial(in_turn, both, dtype),
            "beside_ms": partial(beside, both, dtype, Streams(2, device)),
        }
        took = {name: milliseconds(work, device, scale.repeats) for name, work in works.items()}
        results.add(f"twice {scale.B} streams, {H}", **took)


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


def masked(weight: Tensor, rate: float, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """``weight`` in ``dtype``, dropped there: a mask of two bytes a weight in place of four."""
    typed = weight.to(dtype)
    return typed * torch.empty_like(typed).bernoulli_(1 - rate, generator=generator).div_(1 - rate)


def dropped_layer(
    weights: Parameters, dtype: torch.dtype, generator: torch.Generator, typed: bool
) -> None:
    """A layer's weights made ready for cuDNN with weight dropout, and back.

    As training does it, or ``typed``: dropped in the type of the products.
    """
    if typed:
        hh = masked(weights["weight_hh"], 0.5, dtype, generator)
        ready = {name: w.to(dtype) for name, w in weights.items()} | {"weight_hh": hh}
    else:
        ready = Dropout(weight_rate=0.5, generator=generator).recurrent(LSTM, weights)
    whole = torch.cat([piece.flatten() for piece in contiguous(ready, dtype)])
    torch.autograd.grad(whole, list(weights.values()), torch.ones_like(whole))


def weight_dropout(results: Results, scale: Scale, hardware: Hardware) -> None:
    """A step without weight dropout and with it; the weights of a layer dropped in two ways."""
    device, dtype = hardware.device, hardware.dtype or torch.float32
    generator = torch.Generator(device).manual_seed(1)
    for H in scale.hidden:
        took = {}
        for rate in (0.0, 0.5):
            config = settings_of(scale, hardware, weight_dropout=rate)
            stepper = Stepper(network_of(H, scale), config, hardware)
            took[f"step_{rate}_ms"] = Steps(stepper, scale).milliseconds()
        weights = Layers(2, H, scale.B, scale, device).weights[1]
        for typed in (False, True):
            work = partial(dropped_layer, weights, dtype, generator, typed)
            name = "layer_typed_ms" if typed else "layer_float32_ms"
            took[name] = milliseconds(work, device, scale.repeats)
        results.add(f"weight dropout, {H}", **took)


def head_and_back(features: Tensor, weight: Tensor, y: Tensor) -> None:
    """Logits, of which the first ``V`` count, their loss, and back."""
    logits = F.linear(features, weight.to(features.dtype)).float()[:, :V]
    torch.autograd.grad(F.cross_entropy(logits, y), [features, weight])


def head(results: Results, scale: Scale, hardware: Hardware) -> None:
    """The output layer for a vocabulary as it is, and padded to what tensor cores like."""
    device, dtype = hardware.device, hardware.dtype or torch.float32
    rows = scale.B * scale.T
    y = torch.randint(V, (rows,), device=device)
    for H in scale.hidden:
        took = {}
        features = torch.randn(rows, H, device=device).to(dtype).requires_grad_()
        for width in (V, 88, 96, 128):
            weight = torch.randn(width, H, device=device, requires_grad=True)
            work = partial(head_and_back, features, weight, y)
            took[f"ms_{width}"] = milliseconds(work, device, scale.repeats)
        results.add(f"head, {H}", **took)


def precisions(results: Results, scale: Scale, hardware: Hardware) -> None:
    """A whole step in each precision."""
    names = ("float32", "bfloat16", *(("float16",) if hardware.device.type == "cuda" else ()))
    for H in scale.hidden:
        took = {}
        for name in names:
            config = settings_of(scale, hardware, precision=name)
            stepper = Stepper(network_of(H, scale), config, choose_hardware(config))
            took[f"{name}_ms"] = Steps(stepper, scale).milliseconds()
        results.add(f"precision of a step, {H}", **took)


Experiment = Callable[[Results, Scale, Hardware], None]
# those that matter most first, each with the most seconds that it may take
EXPERIMENTS: dict[str, tuple[Experiment, float]] = {
    "graph": (graph, 15),
    "overlap": (overlap, 20),
    "shapes": (shapes, 15),
    "weight dropout": (weight_dropout, 10),
    "head": (head, 5),
    "halves": (halves, 10),
    "precisions": (precisions, 10),
    # last, because a profiler may slow down what comes after it
    "persistent": (persistent, 20),
}
