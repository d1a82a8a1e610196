"""charrnn as processes that are signalled, stopped, killed and raced.

``start`` is ``python -m charrnn`` itself; ``fork`` the same from a process that has loaded
already (``tests.support.launcher``), with changes from ``tests.support.phases`` if need be.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn.checkpoint.file import Checkpoint, load
from tests.support.checkpoints import environment
from tests.support.phases import PHASE

TEXT = "".join(
    f"{who} {what} the {where} in the {when}.\n"
    for who in ("Anna", "Pierre", "The old prince", "Nikita")
    for what in ("left", "saw", "remembered", "sold")
    for where in ("house", "road", "mill", "regiment")
    for when in ("morning", "winter", "year of the comet")
)
# the least network that trains; a step is a millisecond
TINY = (
    "--size", "8", "--embedding", "6", "--layers", "1", "--batch", "4", "--window", "10",
    "--dropout", "0.2", "--ema", "0.9", "--patience", "0", "--seed", "7", "--threads", "1",
)  # fmt: skip
ENDLESS = ("--time", "600s")
PATIENCE_S = 60.0  # for what takes a moment; nothing is judged by it

_launchers: list[subprocess.Popen[str]] = []
_begun: list[Process] = []


def _ask(**request: Any) -> Any:
    if not _launchers:
        command = [sys.executable, "-m", "tests.support.launcher"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        _launchers.append(
            subprocess.Popen(command, env=environment(), text=True, start_new_session=True, **pipes)
        )
        atexit.register(_close)
    launcher = _launchers[0]
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    launcher.stdin.write(json.dumps(request) + "\n")
    launcher.stdin.flush()
    return json.loads(launcher.stdout.readline())


def _close() -> None:
    with _launchers.pop() as launcher:
        assert launcher.stdin is not None
        launcher.stdin.close()


class Process:
    """A charrnn that runs in the folder ``place``."""

    def __init__(self, pid: int, place: Path, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.pid, self.place = pid, place
        self._popen = popen
        self.code: int | None = None
        _begun.append(self)

    @property
    def streams(self) -> Path:
        return self.place / f".streams-{self.pid}"

    @property
    def stderr(self) -> str:
        """What it has written there; nothing if that went elsewhere (``TEST_STDERR``)."""
        path = self.streams / "stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def lines(self) -> list[str]:
        return self.stderr.splitlines()

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def ended(self, seconds: float) -> int | None:
        """The exit code; None if it still runs after ``seconds``."""
        if self.code is None:
            if self._popen is None:
                self.code, _ = _ask(wait={"pid": self.pid, "seconds": seconds})
            else:
                try:
                    self.code = self._popen.wait(seconds)
                except subprocess.TimeoutExpired:
                    self.code = None
        return self.code

    def wait(self, seconds: float = PATIENCE_S) -> int:
        """The exit code, which must come within ``seconds``."""
        code = self.ended(seconds)
        if code is None:
            told = self.stderr
            self.kill()
            raise AssertionError(f"it still runs after {seconds} s: {told}")
        return code

    def kill(self) -> None:
        """End it, if it runs."""
        if self.code is None:
            self.signal(signal.SIGKILL)
            self.ended(PATIENCE_S)

    def until(self, reached: Callable[[], object]) -> None:
        """Wait until ``reached`` says yes; the process must not end before."""
        end = time.monotonic() + PATIENCE_S
        while not reached():
            assert self.ended(0.0) is None or reached(), f"it left with {self.code}: {self.stderr}"
            assert time.monotonic() < end, self.stderr
            time.sleep(0.005)

    def until_phase(self) -> None:
        """Wait until it says that it has come to the place that it was asked to name."""
        self.until((self.place / PHASE).exists)


def start(*args: str, place: Path, **env: str) -> Process:
    """``python -m charrnn args`` in ``place``."""
    place.mkdir(exist_ok=True)
    first = place / ".streams-new"
    first.mkdir()
    with open(first / "stdout", "wb") as out, open(first / "stderr", "wb") as err:
        popen = subprocess.Popen(
            [sys.executable, "-m", "charrnn", *args],
            cwd=place,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    first.rename(place / f".streams-{popen.pid}")
    return Process(popen.pid, place, popen)


def fork(*args: str, place: Path, patches: Sequence[Sequence[Any]] = (), **env: str) -> Process:
    """The same without the time to load."""
    place.mkdir(exist_ok=True)
    (place / PHASE).unlink(missing_ok=True)
    asked = {"args": args, "folder": str(place), "env": environment(**env), "patches": patches}
    return Process(_ask(start=asked), place)


def end_all() -> None:
    """End whatever the test has left running, as one does that fails."""
    while _begun:
        process = _begun.pop()
        with suppress(ProcessLookupError):
            process.kill()


def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def corpus_in(place: Path, times: int = 1) -> Path:
    """A small text file in ``place``."""
    path = place / "novel.txt"
    path.write_text(TEXT * times)
    return path


def has_trained(folder: Path, lines: int = 1) -> Callable[[], bool]:
    """Whether so many lines of metrics are written."""
    path = folder / "metrics.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= lines


def last_of(folder: Path) -> Checkpoint:
    """The last checkpoint, which must be whole."""
    return load(folder / "last.safetensors", extra=True)


def step_of(checkpoint: Checkpoint) -> int:
    """At which step it was saved."""
    step: int = checkpoint.meta["progress"]["step"]
    return step


def left_over(folder: Path) -> list[str]:
    """What is in a run's folder and should not be."""
    known = {".lock", "metrics.jsonl", *(f"{n}.safetensors" for n in ("best", "last", "previous"))}
    return sorted({path.name for path in folder.iterdir()} - known)
