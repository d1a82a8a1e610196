"""Runs on the device: stopped, resumed, moved, saved, interrupted, and out of memory."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import charrnn
from charrnn.checkpoint.file import load
from charrnn.errors import Interrupted, TrainingError
from charrnn.training.loop.optimizer import Stepper, StepResult
from tests.gpu.device import DEVICE, ON_GPU, PRECISIONS, on_device
from tests.support.processes import TEXT, corpus_in, has_trained, last_of, start
from tests.support.runs import Notes, StopAt, metrics, run, same, tensors

pytestmark = on_device

# sizes that cuDNN's persistent kernels take
RUN: dict[str, Any] = {"device": DEVICE.type, "hidden": 128, "embedding": 128, "batch": 16}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropped": {"input_dropout": 0.1, "weight_dropout": 0.2},
    "lines": {"lines": True},
    "gru": {"cell": "gru"},
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "novel.txt"
    path.write_text(TEXT)
    return path


Arrays = dict[str, NDArray[np.generic]]


def difference(one: Arrays, other: Arrays) -> float:
    """The largest relative difference of two tensors of the same name."""
    assert one.keys() == other.keys()
    pairs = [(one[name].astype(np.float64), other[name].astype(np.float64)) for name in one]
    return max(float(np.linalg.norm(a - b) / (np.linalg.norm(a) or 1.0)) for a, b in pairs)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(
    precision: str, variant: str, corpus: Path, tmp_path: Path, record_property: Any
) -> None:
    """Byte for byte, if the device repeats a run byte for byte; else it differs no more than that.

    How much two equal runs differ is recorded.
    """
    settings = RUN | {"precision": precision, "steps": 40} | VARIANTS[variant]
    for name in ("whole", "again"):
        run(corpus, tmp_path / name, **settings)
    with pytest.raises(Interrupted):
        run(corpus, tmp_path / "parts", listener=StopAt(17), **settings)
    charrnn.train(out=tmp_path / "parts", resume=True)
    whole, again, parts = (tensors(tmp_path / name) for name in ("whole", "again", "parts"))
    repeats = difference(whole, again)
    record_property("two_equal_runs_differ_by", repeats)
    print(f"{precision} {variant}: two equal runs differ by {repeats:.2e}")
    if same(whole, again):
        assert same(whole, parts)
        assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    else:
        assert difference(whole, parts) <= 10 * repeats < 0.1


def test_a_save_in_the_middle_disturbs_nothing(corpus: Path, tmp_path: Path) -> None:
    settings = RUN | {"steps": 40, "precision": PRECISIONS[-1]}
    run(corpus, tmp_path / "seldom", eval_every=1000, **settings)
    run(corpus, tmp_path / "often", eval_every=7, **settings)
    run(corpus, tmp_path / "again", eval_every=1000, **settings)
    seldom, often, again = (tensors(tmp_path / name) for name in ("seldom", "often", "again"))
    assert difference(seldom, often) <= 10 * difference(seldom, again)


def test_a_run_moves_to_the_processor_and_back(corpus: Path, tmp_path: Path) -> None:
    """Without dropout, whose masks each kind of device draws in its own way."""
    settings = RUN | {"steps": 45, "precision": "float32", "dropout": 0.0, "ema": 0.0}
    run(corpus, tmp_path / "whole", **settings)
    moved, notes = tmp_path / "moved", list[str]()
    with pytest.raises(Interrupted):
        run(corpus, moved, listener=StopAt(15), **settings)
    for device, stop in (("cpu", 15), (DEVICE.type, 0)):
        listener = StopAt(stop) if stop else Notes()
        try:
            charrnn.train(out=moved, resume=True, device=device, listener=listener)
        except Interrupted:
            assert stop
        notes += listener.said
    assert len([note for note in notes if "device" in note]) == (2 if ON_GPU else 0)
    whole, parts = (tensors(folder, "best.safetensors") for folder in (tmp_path / "whole", moved))
    assert difference(whole, parts) < 1e-3
    for one, other in zip(metrics(tmp_path / "whole"), metrics(moved), strict=True):
        assert one["train_nats"] == pytest.approx(other["train_nats"], abs=1e-4)


def test_ctrl_c_saves_and_leaves_within_five_seconds(tmp_path: Path) -> None:
    large, small = ("--size", "1024", "--embedding", "128"), ("--size", "16")
    # in float32 a processor has no kernels to compile
    size = large if ON_GPU else (*small, "--precision", "float32")
    text = corpus_in(tmp_path, 30)
    args = ("--layers", "3", *size, "--batch", "128", "--window", "64", "--time", "600s")
    process = start("train", str(text), "--out", "run", "--device", DEVICE.type, *args,
                    place=tmp_path)  # fmt: skip
    try:
        process.until(has_trained(tmp_path / "run"))
        process.signal(signal.SIGINT)
        assert process.ended(5.0) == 130, process.stderr
    finally:
        process.kill()
    assert last_of(tmp_path / "run").meta["progress"]["step"] > 0


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU gives this process a GiB more than it has; a processor refuses large steps."""
    if not ON_GPU:
        step, full = Stepper.step, torch.OutOfMemoryError("CUDA out of memory.")

        def refused(self: Stepper, x: Tensor, *rest: Any) -> StepResult:
            if x.numel() > 10_000:
                raise full
            return step(self, x, *rest)

        monkeypatch.setattr(Stepper, "step", refused)
        yield
        return
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.empty_cache()
    limit = torch.cuda.memory_reserved(DEVICE) + (1 << 30)
    torch.cuda.set_per_process_memory_fraction(limit / total)  # it refuses a device without index
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_out_of_memory_says_which_size_to_lower(tmp_path: Path) -> None:
    text = corpus_in(tmp_path, 60)
    sizes = {"hidden": 512, "embedding": 128, "batch": 512, "window": 256}
    with pytest.raises(TrainingError) as stopped:
        run(text, tmp_path / "run", steps=3, **(RUN | sizes))
    where = "out of GPU memory" if ON_GPU else "out of memory"
    said = "a step of 512 x 256 characters does not fit; try batch=256, or a smaller window or "
    assert str(stopped.value) == f"{where}: {said}hidden"
    run(text, tmp_path / "smaller", steps=3, **(RUN | {"window": 16}))  # what was held is free
    assert load(tmp_path / "smaller" / "last.safetensors").meta["progress"]["step"] == 3
