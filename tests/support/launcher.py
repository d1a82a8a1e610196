"""A process that has loaded charrnn and torch, and forks a ``charrnn`` for whoever asks.

    python -m tests.support.launcher

Such a child is a process like any other, there in milliseconds in place of seconds: torch and the
compiled kernels are loaded (``tests.support.phases.cold`` forgets these). Requests and
answers are lines of JSON: ``{"start": …}`` is answered by a process id, ``{"wait": …}`` by how it
ended (as ``subprocess`` has it) and how long it took from when the question came.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import signal
import sys
import time
import traceback
from typing import Any

import charrnn.training.api
from charrnn.cli.app import main
from charrnn.model.kernels.fused_lstm import compiled_window
from charrnn.training.loop import preview, schedule
from tests.support import phases

assert charrnn.training.api  # torch is loaded
SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG in linux/prctl.h
schedule.SHORT_SHARE = math.inf  # each step of a run of a few steps is validated and saved
preview.LENGTH = 10  # characters shown at a validation, which is half of a small run's time


def start(args: list[str], folder: str, env: dict[str, str], patches: list[list[Any]]) -> int:
    """A child that runs ``charrnn args`` in ``folder``, its streams in files there."""
    launcher = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    end_with(launcher)
    os.chdir(folder)
    name = f".streams-{os.getpid()}"
    os.makedirs(name)
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        given = env.pop(f"TEST_{stream.upper()}", None)
        place = given or (os.devnull if number == 0 else f"{name}/{stream}")
        os.dup2(os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
        # Python's own streams remember what they lead to
        setattr(sys, stream, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    try:
        for patch, *values in patches:
            getattr(phases, patch)(*values)
    except BaseException:
        traceback.print_exc()
        os._exit(99)
    sys.argv = ["charrnn", *args]
    main()
    raise AssertionError("main leaves by SystemExit")


def end_with(parent: int) -> None:
    """Let this process be killed when ``parent`` ends: who would end a run of ten minutes?"""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(98)


def wait(pid: int, seconds: float) -> tuple[int | None, float]:
    """How a child ended, None if it still runs after ``seconds``; and how long that took."""
    asked = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        passed = time.monotonic() - asked
        if done:
            return os.waitstatus_to_exitcode(status), passed
        if passed > seconds:
            return None, passed
        time.sleep(0.002)


def serve() -> None:
    """Answer until nobody asks any more."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = start(**request["start"]) if "start" in request else wait(**request["wait"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    compiled_window()  # most of the time of a small run
    gc.freeze()  # what is loaded is shared with the children, and not looked through by them
    serve()
