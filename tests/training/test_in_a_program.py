"""``charrnn.train`` in somebody else's program: signals, threads, and the traces that it leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from charrnn.checkpoint.file import load
from charrnn.errors import Cancelled
from charrnn.training.events import Result
from tests.support.checkpoints import environment, python
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
