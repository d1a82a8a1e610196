"""``charrnn bench sample``: the engine beside torch's eager loops and the machine's ceiling.

All contestants sample in the same process from the same random weights, in turns, so that
whatever else the machine does meets them alike; figures are medians over the rounds.

The ceiling of one stream is the measured read bandwidth over a working set as large as the
weights as stored, divided by the bytes that a step must read. For many streams, which are bound
by arithmetic, it is the measured float32 matrix-product rate divided by a character's products.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from charrnn.bench import start
from charrnn.bench.eager import CellLoop, EagerLoop, alone, random_weights
from charrnn.bench.machine import machine_name, read_bandwidth, seconds
from charrnn.config import ModelConfig, WeightDtype
from charrnn.generation.factory import AnyEngine, cpus, open_engine
from charrnn.generation.sample_config import SampleConfig

CHUNK = 64


@dataclass(frozen=True)
class Case:
    """What is measured: a network of ``layers`` × ``hidden`` that writes ``streams`` texts."""

    layers: int = 3
    hidden: int = 512
    streams: int = 1
    weight_dtype: WeightDtype = "int8"
    vocab: int = 100
    embedding: int = 128

    @property
    def config(self) -> ModelConfig:
        """The network."""
        return ModelConfig(
            self.vocab, embedding=self.embedding, hidden=self.hidden, layers=self.layers
        )


@dataclass(frozen=True)
class Result:
    """Characters a second of all streams together, and how they compare.

    ``reference`` is the loop over ``nn.LSTM``, ``best_eager`` the one over ``nn.LSTMCell``, both a
    character at a time for one stream; ratios are to them. ``reference_alone`` is the first in a
    process of its own. ``first_character_s`` is a whole cold ``charrnn sample``, beside a cold
    ``import torch``; ``peak_memory_mb`` is that process's.
    """

    case: str
    weight_dtype: str
    streams: int
    machine: str
    torch: str
    engine: str
    threads: int
    reference_chars_per_second: float
    reference_alone_chars_per_second: float
    best_eager_chars_per_second: float
    chars_per_second: float
    ratio: float
    ratio_alone: float
    best_eager_ratio: float
    bytes_per_step: int
    read_bytes_per_second: float
    matmul_flops_per_second: float
    ceiling_chars_per_second: float
    fraction_of_ceiling: float
    first_character_s: float
    import_torch_s: float
    first_character_of_import_torch: float
    peak_memory_mb: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def measure(case: Case, rounds: int = 5, threads: int = 0) -> Result:
    """Run all contestants ``rounds`` times in turns; about two seconds a round."""
    config = case.config
    weights = random_weights(config)
    engine = open_engine(
        config, weights, case.streams, weight_dtype=case.weight_dtype, threads=threads
    )
    size = step_bytes(config, case.weight_dtype)
    matmul = _Matmul(case.hidden, case.streams)
    runs: dict[str, Callable[[], object]] = {
        "reference": EagerLoop(config, weights),
        "best_eager": CellLoop(config, weights),
        "engine": _Sampling(engine),
        "matmul": matmul,
    }
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    reads = []
    for _ in range(rounds):
        for name, run in runs.items():
            # the threads of the one before go on spinning for a while
            time.sleep(0.05)
            run()
            times[name].append(seconds(run, 0.2))
        reads.append(read_bandwidth(size, cpus()))
    spent = {name: statistics.median(values) for name, values in times.items()}
    rates = {
        "reference": EagerLoop.chars / spent["reference"],
        "best_eager": CellLoop.chars / spent["best_eager"],
        "engine": CHUNK * case.streams / spent["engine"],
    }
    flops, read = matmul.flops / spent["matmul"], statistics.median(reads)
    ceiling = read / size if case.streams == 1 else flops / char_flops(config)
    rates["alone"] = alone(config)
    cold = start.measure(config, weights, case.weight_dtype, rounds)
    return _result(case, engine, rates, size, read, flops, ceiling, cold)


def _result(
    case: Case, engine: AnyEngine, rates: dict[str, float], size: int, read: float, flops: float,
    ceiling: float, cold: start.Start,
) -> Result:  # fmt: skip
    mine = rates["engine"]
    return Result(
        case=f"{case.layers} x {case.hidden}",
        weight_dtype=case.weight_dtype,
        streams=case.streams,
        machine=machine_name(),
        torch=str(torch.__version__),
        engine=type(engine).__name__,
        threads=getattr(engine, "threads", torch.get_num_threads()),
        reference_chars_per_second=rates["reference"],
        reference_alone_chars_per_second=rates["alone"],
        best_eager_chars_per_second=rates["best_eager"],
        chars_per_second=mine,
        ratio=mine / rates["reference"],
        ratio_alone=mine / rates["alone"],
        best_eager_ratio=mine / rates["best_eager"],
        bytes_per_step=size,
        read_bytes_per_second=read,
        matmul_flops_per_second=flops,
        ceiling_chars_per_second=ceiling,
        fraction_of_ceiling=mine / ceiling,
        first_character_s=cold.first_character_s,
        import_torch_s=cold.import_torch_s,
        first_character_of_import_torch=cold.first_character_s / cold.import_torch_s,
        peak_memory_mb=cold.peak_memory_mb,
    )


def step_bytes(config: ModelConfig, weight_dtype: str) -> int:
    """Bytes of weights that a step must read: the layers' as stored, and the float32 head."""
    stored = {"float32": 4, "float16": 2, "int8": 1}[weight_dtype]
    scale = 4 if weight_dtype == "int8" else 0
    layers = sum(rows * (width * stored + scale) for rows, width in _products(config))
    return layers + 4 * config.vocab_size * config.features


def char_flops(config: ModelConfig) -> int:
    """Multiplications and additions of a character's matrix products."""
    layers = sum(rows * width for rows, width in _products(config))
    return 2 * (layers + config.vocab_size * config.features)


def _products(config: ModelConfig) -> list[tuple[int, int]]:
    """Shapes of the layers' weights but the first one's input: that product is a table."""
    return [
        (shape[0], shape[1])
        for layer in range(config.layers)
        for name, shape in config.layer_shapes(layer).items()
        if len(shape) == 2 and (layer or name != "weight_ih")
    ]


class _Sampling:
    """Draws ``CHUNK`` characters a call in every stream, at temperature 1."""

    def __init__(self, engine: AnyEngine) -> None:
        self._engine, self._how = engine, SampleConfig()
        self._last = np.zeros(engine.streams, np.intp)
        self._rng = np.random.default_rng(0)

    def __call__(self) -> None:
        uniforms = self._rng.random((CHUNK, self._engine.streams))
        self._last = self._engine.generate(self._last, uniforms, self._how)[-1].astype(np.intp)


class _Matmul:
    """The matrix product of one layer for as many rows as there are streams, at least 64."""

    def __init__(self, hidden: int, streams: int) -> None:
        N, K, M = max(streams, 64), 2 * hidden, 4 * hidden
        self._x, self._w = torch.randn(N, K), torch.randn(K, M)
        self._out, self.flops = torch.empty(N, M), 2 * N * K * M

    def __call__(self) -> None:
        torch.mm(self._x, self._w, out=self._out)
