"""Memory that runs out ends a run in one line that says what to make smaller; what was trained is
saved.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import TrainingError
from charrnn.training import machinery
from charrnn.training.hardware.memory import naming_what_is_too_large, out_of_memory
from charrnn.training.loop import trainer as loop
from charrnn.training.loop.checkpointing import last_checkpoint
from charrnn.training.loop.optimizer import Stepper, StepResult
from tests.support.runs import metrics, run, same, tensors

# what torch, cuDNN, cuBLAS and Python say
FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has …"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:126] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


class Full:
    """Steps that find no memory from the ``step``-th on."""

    def __init__(self, step: int, failure: Exception) -> None:
        self.left, self.failure, self.real = step, failure, Stepper.step

    def __call__(self, *args: Any) -> StepResult:
        self.left -= 1
        if self.left <= 0:
            raise self.failure
        return self.real(*args)


def patched(monkeypatch: pytest.MonkeyPatch, full: Full) -> None:
    monkeypatch.setattr(Stepper, "step", lambda *args: full(*args))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: str(failure)[:12])
def test_a_first_step_that_does_not_fit_names_the_sizes_to_lower(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    patched(monkeypatch, Full(1, failure))
    said = "out of memory: a step of 64 x 10 characters does not fit; "
    with pytest.raises(TrainingError) as stopped:
        run(corpus, tmp_path / "run", batch=64)
    assert str(stopped.value) == f"{said}try batch=32, or a smaller window or hidden"
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_what_does_not_fit_is_counted_in_symbols(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = "out of memory: a step of 4 x 10 symbols does not fit; "
    patched(monkeypatch, Full(1, FAILURES[-1]))
    with pytest.raises(TrainingError, match=begun):
        run(corpus, tmp_path / "run", symbols="words")
    monkeypatch.setattr(machinery, "stepper_for", Full(1, FAILURES[-1]))
    with pytest.raises(TrainingError, match=begun):
        run(corpus, tmp_path / "run", symbols="words")


def test_a_later_step_that_does_not_fit_is_saved_before_and_resumed_exactly(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    with monkeypatch.context() as patch:
        patched(patch, Full(13, FAILURES[0]))
        with pytest.raises(TrainingError, match="stopped and saved at step 12 in") as stopped:
            run(corpus, parts)
    assert f"charrnn.train(resume=True, out={str(parts)!r})" in str(stopped.value)
    charrnn.train(out=parts, resume=True)
    run(corpus, whole)
    assert same(tensors(parts), tensors(whole))
    assert metrics(parts) == metrics(whole)


def test_a_run_that_has_no_memory_to_be_saved_says_so(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = list[int]()

    def once(*args: Any) -> checkpoint.Checkpoint:
        saves.append(1)
        if len(saves) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return last_checkpoint(*args)

    monkeypatch.setattr(loop, "last_checkpoint", once)
    patched(monkeypatch, Full(13, FAILURES[0]))
    lost = "stopped at step 12, which could not be saved: the last checkpoint is older"
    with pytest.raises(TrainingError, match=lost):
        run(corpus, tmp_path / "run", eval_every=10)


def test_a_network_that_does_not_fit_names_its_size(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*args: object) -> Stepper:
        raise FAILURES[0]

    monkeypatch.setattr(machinery, "stepper_for", no_room)
    said = re.escape("M weights does not fit; try hidden=128, or fewer layers")
    with pytest.raises(TrainingError, match=said):
        run(corpus, tmp_path / "run", hidden=256)


def test_the_hint_lowers_what_takes_the_most() -> None:
    gpu, full = torch.device("cuda"), MemoryError()

    def hint(batch: int, window: int, hidden: int = 64) -> str:
        config = TrainConfig(steps=1, batch=batch, window=window)
        return str(out_of_memory(full, ModelConfig(50, hidden=hidden), config, gpu))

    assert hint(128, 128).startswith("out of GPU memory: a step of 128 x 128 characters")
    assert "try batch=64" in hint(128, 128)
    assert "a step of 128 x 1 character does not fit" in hint(128, 1)
    assert "try window=5000" in hint(1, 10_000)
    assert "try hidden=4096" in hint(1, 10, hidden=8192)


def test_other_errors_pass() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes differ"),
        naming_what_is_too_large(ModelConfig(5), TrainConfig(steps=1), torch.device("cpu")),
    ):
        raise RuntimeError("shapes differ")
