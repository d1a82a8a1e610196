"""``charrnn.train`` in somebody else's program: signals, threads, and the traces that it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn.checkpoint.file import load
from charrnn.errors import Cancelled
from charrnn.training.events import Result
from tests.support.checkpoints import environment, python
from tests.support.processes import TEXT
from tests.support.runs import StopAt, run, same, tensors


def test_a_sweep_that_skips_failures_is_ended_by_control_c(corpus: Path, tmp_path: Path) -> None:
    tried = []

    def sweep() -> None:
        for hidden in (8, 16, 24):
            tried.append(hidden)
            try:
                run(corpus, tmp_path / str(hidden), hidden=hidden, listener=StopAt(3))
            except Exception:
                continue

    with pytest.raises(KeyboardInterrupt) as stopped:
        sweep()
    assert tried == [8]
    assert isinstance(stopped.value, Cancelled)
    assert load(tmp_path / "8/last.safetensors").meta["progress"]["step"] == 3
    assert "stopped and saved at step 3" in str(stopped.value)


# a run that is told to stop twice, the second time while it saves
_TWICE = """
import signal, sys, time
from pathlib import Path
from charrnn.training.loop.trainer import Trainer
from tests.support.processes import TEXT
from tests.support.runs import StopAt, run

corpus, name = Path(sys.argv[1]), sys.argv[2]
handlers = [signal.getsignal(n) for n in (2, 15, 1)]
run(corpus, Path("run"), steps=10)

def stuck(self):
    time.sleep(0.3)
    try:
        signal.raise_signal(signal.Signals[name])
    finally:
        print("cleaned", flush=True)

Trainer._keep = stuck
try:
    run(corpus, Path("other"), listener=StopAt(5), steps=1000)
except BaseException as error:
    print(type(error).__name__, getattr(error, "code", ""))
finally:
    print([signal.getsignal(n) for n in (2, 15, 1)] == handlers)
print(run(corpus, Path("third"), steps=5).steps)
"""


@pytest.mark.parametrize(
    ("name", "raised"), [("SIGINT", "KeyboardInterrupt "), ("SIGTERM", "SystemExit 143")]
)
def test_a_second_signal_ends_the_work_but_not_the_program(
    corpus: Path, name: str, raised: str
) -> None:
    assert python(_TWICE, str(corpus), name).splitlines() == ["cleaned", raised, "True", "5"]
    assert not list(Path("other").glob("*.safetensors"))  # nothing half a step old


_TERMINATED = """
import signal, sys
from pathlib import Path
from tests.support.processes import TEXT
from tests.support.runs import Notes, run

try:
    run(Path(sys.argv[1]), Path("run"), listener=Notes(5, lambda: signal.raise_signal(15)))
finally:
    print("cleaned", flush=True)
"""


def test_a_program_that_is_terminated_saves_cleans_up_and_says_so_in_its_status(
    corpus: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TERMINATED, str(corpus)], env=environment(), capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, b"cleaned\n", b"")
    assert load(Path("run/last.safetensors")).meta["progress"]["step"] == 5


def test_a_run_in_another_thread_is_the_same_run(corpus: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(run(corpus, tmp_path / "thread")))
    thread.start()
    while thread.is_alive():
        assert signal.getsignal(signal.SIGINT) is before
        thread.join(0.01)
    run(corpus, tmp_path / "main")
    assert results[0].steps == 60
    assert same(tensors(tmp_path / "thread"), tensors(tmp_path / "main"))


def left_behind(corpus: Path, settings: dict[str, Any], **env: str) -> dict[str, Any]:
    """What a first run leaves behind in its process."""
    program = "from tests.support.traces import main; main()"
    found: dict[str, Any] = json.loads(python(program, str(corpus), json.dumps(settings), **env))
    return found


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize(
    "settings",
    [{"precision": "float32", "threads": 1}, {"precision": "bfloat16"}, {"dropout": 0.5}],
    ids=str,
)
def test_a_run_leaves_no_traces(corpus: Path, settings: dict[str, Any]) -> None:
    shape = {"hidden": 64, "layers": 2, "batch": 64, "window": 64, "steps": 3, "test_frac": 0.1}
    found = left_behind(corpus, shape | settings)
    assert found["changed"] == []
    # glibc itself keeps this much once blocks of 32 MiB were freed
    assert max(found["kept"]) <= 66


@needs_proc
@pytest.mark.parametrize(
    "asked",
    [
        {"MALLOC_TRIM_THRESHOLD_": "65536"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2:glibc.malloc.trim_threshold=0x10000"},
    ],
    ids=str,
)
def test_a_run_leaves_the_c_library_as_the_environment_wants_it(
    corpus: Path, asked: dict[str, str]
) -> None:
    assert max(left_behind(corpus, {"hidden": 64, "steps": 3}, **asked)["kept"]) <= 16


def with_defaults(dtype: torch.dtype, device: str) -> AbstractContextManager[object]:
    """Other defaults for new tensors."""
    stack = ExitStack()
    stack.callback(torch.set_default_dtype, torch.get_default_dtype())
    torch.set_default_dtype(dtype)
    stack.enter_context(torch.device(device))
    return stack


@pytest.mark.parametrize(
    "host",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: with_defaults(torch.float64, "meta"),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: np.errstate(all="raise"),
    ],
    ids=["no_grad", "inference_mode", "float64 on meta", "autocast", "numpy raises"],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("error")
def test_a_program_s_settings_do_not_change_a_run(
    corpus: Path, tmp_path: Path, precision: str, host: Callable[[], AbstractContextManager[object]]
) -> None:
    def trained(name: str) -> tuple[dict[str, Any], float]:
        result = run(corpus, tmp_path / name, precision=precision, steps=10, eval_every=5)
        model = charrnn.load(result.best)
        adapted = charrnn.score_adapting(model, model.vocab.encode(TEXT[:200]))
        return tensors(tmp_path / name), adapted.nats

    plain, nats = trained("plain")
    with host():
        hosted, same_nats = trained("hosted")
    assert same(plain, hosted)
    assert nats == same_nats
