"""What the experiments time computes what training computes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from charrnn.config import TrainConfig
from charrnn.training.hardware.device import choose_hardware, own_torch_settings
from tests.gpu.device import DEVICE, ON_GPU, PRECISIONS, on_device
from tests.gpu.experiments import EXPERIMENTS, QUICK, graph
from tests.gpu.results import Results

pytestmark = on_device


def test_a_captured_step_is_the_usual_one_but_for_the_rounding_of_the_learning_rate(
    tmp_path: Path,
) -> None:
    config = TrainConfig(steps=1, device=DEVICE.type, precision=PRECISIONS[-1])  # type: ignore[arg-type]
    results = Results(tmp_path / "results.jsonl")
    with own_torch_settings():
        graph(results, QUICK, choose_hardware(config))
    (found,) = results.read().values()
    assert found["error"] < 1e-5


@pytest.mark.skipif(ON_GPU, reason="on a GPU, tests.gpu.measure runs them")
def test_every_experiment_runs(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    with own_torch_settings():
        hardware = choose_hardware(TrainConfig(steps=1, device="cpu", precision="float32"))
        for name, (experiment, _) in EXPERIMENTS.items():
            results.measure(name, 60, partial(experiment, results, QUICK, hardware))
    found = results.read()
    assert len(found) >= len(EXPERIMENTS) - 1  # kernels have names on a GPU alone
    assert not [name for name, line in found.items() if "failed" in line]


def test_a_part_that_fails_or_takes_too_long_is_noted_and_loses_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")

    def failing() -> None:
        results.add("before", value=1)
        raise RuntimeError("CUDA error: an illegal memory access")

    def endless() -> None:
        while True:
            pass

    assert results.measure("failing", 5, failing) is None
    assert results.measure("endless", 0.05, endless) is None
    assert results.measure("good", 5, lambda: 3) == 3
    found = results.read()
    assert found["before"] == {"value": 1}
    assert found["failing"]["failed"] == "RuntimeError: CUDA error: an illegal memory access"
    assert "took more than 0.05 s" in found["endless"]["failed"]
