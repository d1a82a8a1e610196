"""Sampling speed: the engine against torch's eager loops and the hardware's limit.

All of them sample in one process with the same random weights, in turns, so that other load on the
machine affects them equally; figures are medians over the rounds.

The limit (``ceiling``) for one stream is the measured read bandwidth, over a working set as large
as the stored weights, divided by the bytes that a step must read. Many streams are bound by
arithmetic: their limit is the measured float32 matmul throughput divided by the operations per
character.
"""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.bench import start
from charrnn.bench.eager import CellLoop, EagerLoop, in_own_process, random_weights
from charrnn.bench.machine import machine_name, read_bandwidth, seconds
from charrnn.bench.neighbors import Beside
from charrnn.bench.neighbors import measure as neighbor_cost
from charrnn.config import ModelConfig, StateDtype, WeightDtype
from charrnn.generation.factory import AnyEngine, cpus, open_engine
from charrnn.generation.sample_config import SampleConfig

CHUNK = 64


@dataclass(frozen=True)
class Case:
    """What to measure: a network of ``layers`` × ``hidden`` that writes ``streams`` texts."""

    layers: int = 3
    hidden: int = 512
    streams: int = 1
    weight_dtype: WeightDtype = "int8"
    state_dtype: StateDtype = "int16"
    vocab: int = 100
    embedding: int = 128

    @property
    def config(self) -> ModelConfig:
        """The network's configuration."""
        return ModelConfig(
            self.vocab, embedding=self.embedding, hidden=self.hidden, layers=self.layers
        )

    def engine(self, weights: Mapping[str, NDArray[Any]], threads: int) -> AnyEngine:
        """The engine that writes them."""
        return open_engine(
            self.config, weights, self.streams,
            weight_dtype=self.weight_dtype, state_dtype=self.state_dtype, threads=threads,
        )  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Characters per second of all streams in total, and comparisons.

    ``reference`` is the loop over ``nn.LSTM``, ``best_eager`` the one over ``nn.LSTMCell``, each
    for one stream, one character at a time; ratios are relative to them. ``reference_alone`` is the
    first in a process of its own. ``products`` says what multiplies in the layers: ``amx`` tiles,
    ``vnni`` or other ``vectors``. ``first_character_s`` is the time of a cold ``charrnn sample``,
    ``import_torch_s`` that of a cold ``import torch``; ``peak_memory_mb`` is that of the former.
    """

    case: str
    weight_dtype: str
    state_dtype: str
    streams: int
    machine: str
    torch: str
    engine: str
    products: str
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
        """The result as JSON values."""
        return dataclasses.asdict(self)


def measure(case: Case, rounds: int = 5, threads: int = 0) -> Result:
    """Run all loops ``rounds`` times in turns; a round takes about two seconds."""
    config = case.config
    weights = random_weights(config)
    engine = case.engine(weights, threads)
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
            # the threads of the previous loop keep spinning for a while
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
    rates["alone"] = in_own_process(config)
    cold = start.measure(config, weights, case.weight_dtype, rounds)
    return _result(case, engine, rates, size, read, flops, ceiling, cold)


def sampling_beside(case: Case, neighbors: int, threads: int = 0) -> Beside:
    """How efficient our engine is beside ``neighbors`` busy loops."""
    engine = case.engine(random_weights(case.config), threads)
    return neighbor_cost(_Sampling(engine), neighbors)


def _result(
    case: Case, engine: AnyEngine, rates: dict[str, float], size: int, read: float, flops: float,
    ceiling: float, cold: start.Start,
) -> Result:  # fmt: skip
    mine = rates["engine"]
    return Result(
        case=f"{case.layers} x {case.hidden}",
        weight_dtype=case.weight_dtype,
        state_dtype=case.state_dtype,
        streams=case.streams,
        machine=machine_name(),
        torch=str(torch.__version__),
        engine=type(engine).__name__,
        products=getattr(engine, "products", "vectors"),
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
    """Bytes of weights that a step must read: layers in ``weight_dtype``, head in float32."""
    stored = {"float32": 4, "float16": 2, "int8": 1}[weight_dtype]
    scale = 4 if weight_dtype == "int8" else 0
    layers = sum(rows * (width * stored + scale) for rows, width in _products(config))
    return layers + 4 * config.vocab_size * config.features


def char_flops(config: ModelConfig) -> int:
    """Multiplications and additions in the matrix products of one character."""
    layers = sum(rows * width for rows, width in _products(config))
    return 2 * (layers + config.vocab_size * config.features)


def _products(config: ModelConfig) -> list[tuple[int, int]]:
    """Shapes of the layers' weights, except the first layer's input weights: these make a table."""
    return [
        (shape[0], shape[1])
        for layer in range(config.layers)
        for name, shape in config.layer_shapes(layer).items()
        if len(shape) == 2 and (layer or name != "weight_ih")
    ]


class _Sampling:
    """Draws ``CHUNK`` characters per call in every stream, with default settings."""

    def __init__(self, engine: AnyEngine) -> None:
        self._engine, self._config = engine, SampleConfig()
        self._last = np.zeros(engine.streams, np.intp)
        self._rng = np.random.default_rng(0)

    def __call__(self) -> None:
        uniforms = self._rng.random((CHUNK, self._engine.streams))
        self._last = self._engine.generate(self._last, uniforms, self._config)[-1].astype(np.intp)


class _Matmul:
    """A layer's matrix product, with one row per stream and at least 64 rows."""

    def __init__(self, hidden: int, streams: int) -> None:
        N, K, M = max(streams, 64), 2 * hidden, 4 * hidden
        self._x, self._w = torch.randn(N, K), torch.randn(K, M)
        self._out, self.flops = torch.empty(N, M), 2 * N * K * M

    def __call__(self) -> None:
        torch.mm(self._x, self._w, out=self._out)
