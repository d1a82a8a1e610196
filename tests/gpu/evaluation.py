"""Evaluation on a GPU in halves of float16, beside cuDNN's float32 layers.

On a processor, a loop in plain torch stands in for that of ``lstm_exact.cu``: it tries the program.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn import cells
from charrnn.bench.step_time import longest, profile_kernels
from charrnn.bench.training import window_overhead
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.kernels.cuda import exact_lstm
from charrnn.model.kernels.cuda.cluster_lstm import Loop
from charrnn.model.kernels.cuda.exact_lstm import exact_layer, product_of_halves
from charrnn.model.layers import readable_layer, torch_layer
from charrnn.model.network import CharNetwork
from charrnn.text.streams import Position, Streams
from charrnn.text.vocab import Ids
from charrnn.training.evaluation import loss
from charrnn.training.hardware.device import choose_hardware, exact_products, own_torch_settings
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.captured import stepper_for
from tests.gpu.results import Results
from tests.model.kernels.test_exact_lstm import forward

LSTM = cells.get("lstm")
V, E = 87, 128
BOUNDED = ("-DBOUNDED",)  # loops that stop with an error instead of waiting forever


class Evaluation:
    """Errors, speeds and losses; ``quick`` is in tiny sizes."""

    def __init__(self, results: Results, device: str, novel: Path, quick: bool) -> None:
        self.results, self.device, self.quick = results, torch.device(device), quick
        self.novel = novel
        self.H, self.chars = (32, 100) if quick else (512, 320_000)
        self.lanes = (4, 8) if quick else (112, 128, 168, 224)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def run(self) -> None:
        """What must be right first."""
        with self._loops():
            for work in (self.layers, self.speeds, self.losses, self.steps, self.division):
                name = f"eval {work.__name__}"
                self.results.measure(name, 14, partial(work, name))

    @contextmanager
    def _loops(self) -> Iterator[None]:
        """Complains if the loops do not compile; on a processor, others stand in for them."""
        before = exact_lstm.every_loop
        if self.on_gpu:
            self.results.measure("eval compiled", 15, self._compile)
        else:
            stand_in = tuple(
                Loop(_call, S, 7, step)  # type: ignore[arg-type]
                for S, step in exact_lstm.STREAMS.items()
            )
            exact_lstm.every_loop = lambda *args: stand_in  # type: ignore[assignment]
        try:
            yield
        finally:
            exact_lstm.every_loop = before

    def _compile(self) -> None:
        found = exact_lstm.loops(self.H, BOUNDED)
        clusters = {str(loop.streams): loop.at_once for loop in found}
        self.results.add("eval compiled", clusters_at_once_by_streams=clusters)

    def layers(self, name: str) -> None:
        """Errors of a layer against float64, ours and cuDNN's; equal calls give equal bytes."""
        B, T = (9, 5) if self.quick else (168, 64)
        given = _layer(self.H, self.H, B, T, self.device)
        exact = {key: t.double() for key, t in given.items()}
        w = {key: t for key, t in exact.items() if "_" in key}
        y, state = readable_layer(LSTM, exact["x"], (exact["h"], exact["c"]), w, torch.float64)
        wanted, errors = [y, *state], {}
        ours = self._ours(given)
        for key, found in (("ours", ours), ("cudnn", _cudnn(given))):
            pairs = zip(found, wanted, strict=True)
            errors[key] = [float(f"{float((a - b).norm() / b.norm()):.2e}") for a, b in pairs]
        again = self._ours(given)
        same = all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
        self.results.add(name, **{f"{key}_y_h_c": e for key, e in errors.items()}, repeats=same)

    def _ours(self, given: dict[str, Tensor]) -> list[Tensor]:
        x, bias = given["x"].transpose(0, 1), given["bias_ih"] + given["bias_hh"]
        rest = given["weight_ih"], given["weight_hh"], bias, given["h"], given["c"]
        y, h, c = exact_layer(x, *rest)
        return [y.transpose(0, 1), h, c]

    def speeds(self, name: str) -> None:
        """Characters per second: cuDNN as before, then ours by lanes, windows and overlap."""
        network = CharNetwork(ModelConfig(V, hidden=self.H, embedding=E, layers=3))
        network = network.to(self.device)
        ids = np.random.default_rng(0).integers(V, size=self.chars).astype(np.uint8)
        found = {
            "before": self._speed(network, ids, 128, ours=False, ahead=False),
            "cudnn_128_lanes": self._speed(network, ids, 128, ours=False),
        }
        for lanes in self.lanes:
            found[f"{lanes}_lanes"] = self._speed(network, ids, lanes)
            self.results.add(name, **found)
        best = self.lanes[0] if self.quick else 168
        more: dict[str, Changes] = {
            "window_256": {"window": 256},
            "pieces_of_1024": {"least": 1024},
            "window_256_pieces_of_1024": {"window": 256, "least": 1024},
            "one_by_one": {"ahead": False},
        }
        for key, changes in more.items():
            found[f"{best}_lanes_{key}"] = self._speed(network, ids, best, **changes)
            self.results.add(name, **found)
        found[f"cudnn_{best}_lanes"] = self._speed(network, ids, best, ours=False)
        self.results.add(name, **found)

    def _speed(
        self,
        network: CharNetwork,
        ids: Ids,
        lanes: int,
        ours: bool = True,
        **changes: Unpack[Changes],
    ) -> int:
        seconds = []
        with _using(ours, **changes):
            for _ in range(4):  # the first warms up
                began = time.perf_counter()
                self._score(network, ids, lanes)
                seconds.append(time.perf_counter() - began)
        return round(len(ids) / statistics.median(seconds[1:]))

    def _score(self, network: CharNetwork, ids: Ids, lanes: int) -> float:
        device = self.device if self.on_gpu else None
        return loss.evaluate(
            network, ids, ((0, len(ids)),), device=device, lanes=lanes
        ).nats_per_char

    def losses(self, name: str) -> None:
        """The loss of a network that has learned something, beside that in float64."""
        text = np.frombuffer(self.novel.read_bytes(), np.uint8) if self.novel.exists() else None
        if text is None:
            text = np.random.default_rng(0).integers(V, size=10**6).astype(np.uint8)
        ids = np.unique(text, return_inverse=True)[1].reshape(-1).astype(np.uint8)
        network = self._trained(ids, 5 if self.quick else 600)
        part = ids[-(100 if self.quick else 60_000) :]
        found = {}
        for key, ours in (("ours", True), ("cudnn", False)):
            with _using(ours):
                found[key] = self._score(network, part, 128)
        wanted = self._score(network.double(), part, 128)
        relative = {f"{key}_relative": f"{value / wanted - 1:+.2e}" for key, value in found.items()}
        self.results.add(name, float64=wanted, **relative)

    def _trained(self, ids: Ids, steps: int) -> CharNetwork:
        B, T = (4, 10) if self.quick else (128, 100)
        config = TrainConfig(steps=steps, batch=B, window=T, device=self.device.type)  # type: ignore[arg-type]
        model = ModelConfig(int(ids.max()) + 1, hidden=self.H, embedding=E, layers=3)
        stepper = stepper_for(CharNetwork(model), config, choose_hardware(config))
        streams = Streams(ids, ((0, len(ids) * 9 // 10),), B, T)
        windows, position = Windows(streams, self.device), Position()
        state = stepper.network.zero_state(B)
        for _ in range(steps):
            state = stepper.step_at(windows, position, state, 4e-3).state
            position = streams.after(position)
        return stepper.network

    def steps(self, name: str) -> None:
        """Microseconds for a time step by streams of a cluster; milliseconds for input products."""
        T, found = (4 if self.quick else 256), {}
        for loop in exact_lstm.every_loop(self.H, self.device, BOUNDED):
            B = loop.streams * (1 if self.quick else max(1, loop.at_once))
            given = _layer(self.H, self.H, B, T, self.device)
            z = torch.zeros(T * B, 4 * self.H, device=self.device)
            w = exact_lstm.halves(given["weight_hh"])[0]
            y, cells = z.new_empty(T, B, self.H), z.new_empty(B, self.H)
            scales = z.new_full((2,), 1e-5)
            rest = (y, given["h"], given["c"], cells, T, B)
            bias = given["bias_hh"]
            ms = self._milliseconds(lambda: loop(z, w, bias, scales, *rest))  # noqa: B023
            found[f"us_{loop.streams}_streams_of_{B}"] = round(1e3 * ms / T, 3)
        x = torch.rand(64 if self.quick else 128 * 168, self.H, device=self.device)
        w = torch.rand(4 * self.H, self.H, device=self.device)
        found["ms_product_of_halves"] = self._milliseconds(lambda: product_of_halves(x, w))
        found["ms_product_in_float32"] = self._milliseconds(lambda: x @ w.t())
        self.results.add(name, **found)

    def _milliseconds(self, work: Callable[[], object]) -> float:
        seconds = []
        for _ in range(6):
            began = time.perf_counter()
            work()
            if self.on_gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        return round(1e3 * statistics.median(seconds[1:]), 4)

    def division(self, name: str) -> None:
        """Where an evaluation's time goes; last, because a profiler slows down what follows."""
        if not self.on_gpu:
            return
        network = CharNetwork(ModelConfig(V, hidden=self.H, embedding=E, layers=3))
        network = network.to(self.device)
        ids = np.random.default_rng(0).integers(V, size=self.chars).astype(np.uint8)
        with _using(ours=True):
            kernels = profile_kernels(lambda: self._score(network, ids, 168), 1)
        busy = sum(end - start for _, (start, end) in kernels)
        top = {key[:60]: value for key, value in longest(kernels, 1, 8).items()}
        self.results.add(name, busy_ms=round(1e3 * busy, 2), kernels=len(kernels), longest=top)


def every(results: Results, device: str, novel: Path, quick: bool) -> None:
    """Measure evaluation and windows, each in a process of its own, so that both are tried.

    They are forked, because importing torch takes longer than most of them.
    """
    whole = Evaluation(results, device, novel, quick).run
    apart: list[tuple[str, Callable[[], None], int]] = [
        ("evaluation", whole, 45),
        ("window", partial(window, results, device, quick), 20),
    ]
    for name, work, seconds in apart:
        if code := _apart(work, seconds):
            results.add(f"eval {name} ended", failed=f"exit status {code} (-9: took {seconds} s)")


def _apart(work: Callable[[], object], seconds: float) -> int:
    """Run ``work`` in a child process, for at most so long; its exit status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            with own_torch_settings():
                if not torch.cuda.is_available():
                    torch.set_num_threads(1)  # this is a trial, maybe on a busy machine
                work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def window(results: Results, device: str, quick: bool) -> None:
    """By how much longer a training step takes that cuts its window."""
    B, T, H = (8, 20, 32) if quick else (128, 100, 512)
    settings = TrainConfig(steps=1, batch=B, window=T, device=device)  # type: ignore[arg-type]
    hardware = choose_hardware(settings)
    model = ModelConfig(V, hidden=H, embedding=E, layers=3)
    turns, turn_s = (2, 0.02) if quick else (7, 0.25)
    overhead = window_overhead(model, settings, hardware, 3.15e-3, turns, turn_s)
    results.add("eval window", overhead_percent=round(100 * overhead, 3))


class Changes(TypedDict, total=False):
    """What of an evaluation is another than usual: its window, its pieces, whether it is ahead."""

    window: int
    least: int
    ahead: bool


@contextmanager
def _using(ours: bool, **changes: Unpack[Changes]) -> Iterator[None]:
    """Within the block evaluations are computed this way, by our loops or by cuDNN."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_lstm, "ENABLED", ours)
        patch.setattr(exact_lstm, "OPTIONS", BOUNDED)
        for kind in ("", "GPU_"):  # the first for a trial on a processor
            for name, value in (("WINDOW", "window"), ("LEAST", "least")):
                if value in changes:
                    patch.setattr(loss, kind + name, changes[value])  # type: ignore[literal-required]
        if not changes.get("ahead", True):
            patch.setattr(loss.TorchReader, "start", _waiting)
        yield


_STARTED = loss.TorchReader.start


def _waiting(self: loss.TorchReader, *args: Any) -> Any:
    """``TorchReader.start`` that waits for the result."""
    nats, states = _STARTED(self, *args)()
    return lambda: (nats, states)


def _call(clusters: int, *arguments: Any) -> None:
    forward(*arguments)


def _layer(inputs: int, H: int, B: int, T: int, device: torch.device) -> dict[str, Tensor]:
    """A layer's input ``x (B, T, I)``, state and weights."""
    rng = torch.Generator().manual_seed(1)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=rng)

    bound = H**-0.5
    drawn = {
        "x": normal(B, T, inputs, scale=0.4).tanh(),
        "h": normal(B, H, scale=0.4).tanh(),
        "c": normal(B, H),
        "weight_ih": normal(4 * H, inputs, scale=bound),
        "weight_hh": normal(4 * H, H, scale=bound),
        "bias_ih": normal(4 * H),
        "bias_hh": normal(4 * H),
    }
    return {name: t.to(device) for name, t in drawn.items()}


def _cudnn(given: dict[str, Tensor]) -> list[Tensor]:
    """The layer as torch computes it in float32."""
    w = {name: t for name, t in given.items() if "_" in name}
    with exact_products(), torch.no_grad():
        y, state = torch_layer(LSTM, given["x"], (given["h"], given["c"]), w, torch.float32)
    return [y, *state]
