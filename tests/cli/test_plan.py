"""``charrnn train --plan``: what a run would take, before anything runs."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.training import planning, trial
from charrnn.training.hardware.device import Hardware
from charrnn.training.loop.optimizer import Stepper, StepResult
from tests.support.checkpoints import tiny
from tests.support.command_line import Call

SMALL = ["text.txt", "--size", "16", "--layers", "1", "--batch", "4", "--window", "10"]


@pytest.fixture(autouse=True)
def text(bare_environment: None) -> None:
    Path("text.txt").write_text("the quick brown fox\n" * 200)


def test_a_plan_is_a_table_and_nothing_runs(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "step_seconds", lambda *_: 0.01)
    code, out, err = call("train", *SMALL, "--steps", "5", "--plan")
    assert code == 0, err
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["memory", "time", "disk", ""]
    assert "the program" in rows[0][2]
    assert rows[1][2].startswith("5 steps, 200 characters, 0.0556 epochs at ")
    assert "checkpoints/text" in rows[2][2]
    assert "text.txt: 3,600 to train on, 400 to validate; 17 symbols" in err
    assert "seed" not in err
    assert "charrnn: planned: 5 steps on cpu" in err
    assert "training for" not in err
    assert rows[1][1] == "under 1s"
    assert not Path("checkpoints").exists()
    assert call("train", *SMALL, "--steps", "5", "--plan", "-q")[2] == ""


def test_a_plan_as_json_adds_up(call: Call) -> None:
    code, out, err = call("train", *SMALL, "--epochs", "3", "--seed", "7", "--plan", "--json")
    assert code == 0, err
    found = json.loads(out)
    memory, time = found["memory"], found["time"]
    parts = [memory[name] for name in ("program", "weights", "work", "saving")]
    assert memory["total"] == sum(parts)
    assert memory["weights"] == 16 * found["parameters"]
    assert (time["chars"], time["epochs"], time["steps"]) == (10_800, 3, 270)
    assert time["seconds"] == pytest.approx(time["chars"] / time["chars_per_second"])
    assert found["disk"]["encoded"] == 4000
    assert found["training"]["seed"] == 7
    assert "seed 7" in err


def test_a_seed_that_will_be_drawn_is_null(call: Call) -> None:
    assert (
        json.loads(call("train", *SMALL, "--steps", "1", "--plan", "--json").out)["training"][
            "seed"
        ]
        is None
    )


def test_a_plan_counts_in_the_singular(call: Call) -> None:
    rows = call("train", *SMALL, "--steps", "1", "--plan").out.splitlines()
    assert rows[1].split("\t")[2].startswith("1 step, 40 characters, ")
    rows = call("train", *SMALL, "--epochs", "1", "--plan").out.splitlines()
    assert ", 1 epoch at " in rows[1]


def test_a_plan_says_what_the_machine_lacks(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    large = "text.txt", "--size", "16384", "--layers", "8", "--steps", "50", "--plan"
    monkeypatch.setattr(planning, "memory_of", lambda device: 23 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 63 << 30))
    for quiet in ([], ["-q"]):
        code, out, err = call("train", *large, *quiet)
        assert (code, len(out.splitlines())) == (0, 4)
        said = [line for line in err.splitlines() if "a run of this size needs about" in line]
        assert len(said) == 2, err
        assert said[0].endswith("of memory, and this machine has 23.0 GiB")
        assert said[1].endswith("of disk, and 63.0 GiB are free for checkpoints/text")
    assert " G weights" in call("train", *large).err
    monkeypatch.setattr(planning, "memory_of", lambda device: 0)  # nobody knows
    assert "of memory," not in call("train", *large).err


@pytest.mark.parametrize(("size", "is_bound"), [(16, True), (2048, False)])
def test_a_step_of_a_small_network_is_estimated_to_take_a_while(size: int, is_bound: bool) -> None:
    model = ModelConfig(vocab_size=20, hidden=size, layers=1)
    training = TrainConfig(steps=5, batch=4, window=10)
    here = Hardware(torch.device("cpu"), None, 2)
    floor = planning.least_seconds(model, training, here)
    step_s = planning.estimated_seconds(model, training, here, 1e11)
    assert step_s == floor if is_bound else step_s > floor


# layers, units, streams and characters of a step, and million characters a second on an H200, in
# float16 by our kernels
ON_H200 = [
    (2, 256, 128, 128, 10.8),
    (3, 256, 128, 100, 6.55),
    (2, 512, 128, 128, 5.57),
    (3, 512, 128, 100, 4.07),
    (3, 512, 256, 100, 4.17),
]


@pytest.mark.parametrize(("layers", "hidden", "batch", "window", "speed"), ON_H200)
def test_the_speed_of_our_kernels_on_a_gpu_is_estimated_to_a_fifth(
    layers: int, hidden: int, batch: int, window: int, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def clusters(*about: Any) -> str:
        asked.append(about)
        return "clusters"

    monkeypatch.setattr(planning, "kernels", clusters)
    model = ModelConfig(vocab_size=87, embedding=128, hidden=hidden, layers=layers)
    training = TrainConfig(steps=5, batch=batch, window=window)
    there = Hardware(torch.device("cuda"), torch.float16, 2)
    step_s = planning.estimated_seconds(model, training, there, flops=134e12)
    assert batch * window / step_s == pytest.approx(1e6 * speed, rel=0.2)
    assert asked == [(model.definition, hidden, there.device, torch.float16)]
    monkeypatch.setattr(planning, "kernels", lambda *_: "torch")
    assert planning.least_seconds(model, training, there) == 0


@pytest.mark.parametrize("cell", ["lstm", "scrn"])
def test_the_time_of_a_small_network_is_that_of_its_steps(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Stepper] = []
    step = Stepper.step

    def slow_step(stepper: Stepper, *args: Any) -> StepResult:
        seen.append(stepper)
        time.sleep(0.01)
        return step(stepper, *args)

    monkeypatch.setattr(Stepper, "step", slow_step)
    monkeypatch.setattr(trial, "MOST_STEPS", 3)
    settings: dict[str, Any] = {"cell": cell, "hidden": 16, "layers": 1, "batch": 4, "window": 10}
    found = charrnn.plan("text.txt", steps=50, precision="float32", threads=1, **settings)
    assert (len(seen), found.time.measured) == (3, True)
    assert found.plan.model == seen[0].network.config
    assert 0.01 <= found.time.seconds / 50 < 1
    assert found.time.chars_per_second == pytest.approx(50 * 40 / found.time.seconds)


@pytest.mark.parametrize("why", ["long", "large", "compiled", "gpu"])
def test_steps_are_not_timed_where_that_takes_long_or_is_too_much(
    why: str, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    def timed(*_: Any) -> float:
        raise AssertionError("a step was timed")

    monkeypatch.setattr(planning, "step_seconds", timed)
    if why == "long":
        monkeypatch.setattr(planning, "LONG_S", 1e-6)
    elif why == "large":
        monkeypatch.setattr(planning, "memory_of", lambda device: 1 << 20)
    elif why == "compiled":
        monkeypatch.setattr(planning, "must_compile", lambda *_: True)
    else:
        monkeypatch.setattr(planning, "_is_quick", functools.partial(elsewhere, planning._is_quick))
    found = charrnn.plan("text.txt", steps=5, hidden=16, layers=1, precision="float32")
    assert not found.time.measured
    said = call("train", *SMALL, "--steps", "5", "--plan", "--precision", "float32").out
    assert "estimated from the speed of matrix products on this machine" in said


def elsewhere(is_quick: Any, model: ModelConfig, hardware: Hardware, step_s: float) -> bool:
    """What ``is_quick`` says of a GPU."""
    gpu = dataclasses.replace(hardware, device=torch.device("cuda"))
    found: bool = is_quick(model, gpu, step_s)
    return found


def test_a_plan_says_that_it_has_timed_steps_and_leaves_nothing(call: Call) -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    out = call("train", *SMALL, "--steps", "5", "--plan", "--precision", "float32").out
    assert "char/s, estimated from steps timed on this machine; excludes validation" in out
    assert [path.name for path in Path().iterdir()] == ["text.txt"]
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.get_num_threads() == before[1]


def test_a_plan_for_a_time_says_how_far_it_comes() -> None:
    found = charrnn.plan("text.txt", seconds=60, hidden=16, layers=1)
    assert found.time.seconds == 60
    assert found.time.chars == int(60 * found.time.chars_per_second)
    assert found.plan.training.seconds == 60
    assert not Path("checkpoints").exists()


def test_a_plan_refuses_what_a_run_would_refuse(call: Call) -> None:
    assert call("train", *SMALL, "--plan", "--resume")[0] == 2
    assert call("train", "missing.txt", "--plan")[0] == 2
    tiny().save(Path("run/best.safetensors"))
    code, out, err = call("train", *SMALL, "--plan", "--out", "run")
    assert (code, out) == (2, ""), err
    with pytest.raises(ConfigError, match="unknown setting"):
        charrnn.plan("text.txt", nonsense=1)
    with pytest.raises(ConfigError, match="resume continues a run: only new ones are planned"):
        charrnn.plan("text.txt", resume=True)
    tiny().save(Path("checkpoints/text/best.safetensors"))
    assert charrnn.plan("text.txt", steps=1).plan.folder == Path("checkpoints/text-2")
