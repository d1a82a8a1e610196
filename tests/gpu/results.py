"""Figures of a measurement: each is written at once, so that what fails later loses none."""

from __future__ import annotations

import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class TookTooLongError(Exception):
    """A part has used up its seconds."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise ``TookTooLongError`` in a block that takes longer than ``seconds``."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise TookTooLongError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Results:
    """Appends lines ``{"name": …, …}`` to a file, from several processes one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, name: str, **values: Any) -> None:
        """Write a line, and show it."""
        line = json.dumps({"name": name} | values)
        with open(self.path, "a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def measure(self, name: str, seconds: float, work: Callable[[], T]) -> T | None:
        """What ``work`` returns; None, with a line and a traceback, if it fails or takes longer."""
        began = time.perf_counter()
        try:
            with at_most(seconds):
                return work()
        except Exception as error:
            traceback.print_exc()
            self.add(name, failed=f"{type(error).__name__}: {error}".splitlines()[0][:300])
            return None
        finally:
            print(f"-- {name}: {time.perf_counter() - began:.1f} s", flush=True)

    def read(self) -> dict[str, dict[str, Any]]:
        """The last line of each name."""
        if not self.path.exists():
            return {}
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return {line.pop("name"): line for line in lines}
