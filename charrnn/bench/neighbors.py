"""What a busy computer costs: speed beside other programs, against the processor time that is left.

A program that shares the processor is slower, of course; it should not be slower than its share of
the processor's time accounts for. Its efficiency is the work that it did per second of processor
time, beside the others, divided by the same when it is alone. Turns alternate, medians are taken.
"""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# how long neighbors run before a measurement, so that the scheduler has seen them
SETTLE_S = 0.3


@dataclass(frozen=True)
class Turn:
    """Calls per second, and seconds of processor time per second, of all threads."""

    speed: float
    processors: float


@dataclass(frozen=True)
class Beside:
    """How fast work is beside ``neighbors`` busy loops.

    Attributes:
        neighbors: how many there are.
        speed: its speed as a part of that when it is alone.
        processor_share: its processor time as a part of that when it is alone.
        efficiency: ``speed / processor_share``.

    """

    neighbors: int
    speed: float
    processor_share: float
    efficiency: float

    def to_dict(self) -> dict[str, object]:
        """The result as JSON values."""
        return dataclasses.asdict(self)


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run ``count`` processes that do nothing but compute."""
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        time.sleep(SETTLE_S)
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def measure(
    work: Callable[[], object], neighbors: int, *, turns: int = 3, turn_s: float = 1.5
) -> Beside:
    """Measure ``work`` alone and beside ``neighbors`` busy loops, ``turns`` times each."""
    alone, beside = [], []
    _turn(work, turn_s)
    for _ in range(turns):
        alone.append(_turn(work, turn_s))
        with busy_loops(neighbors):
            beside.append(_turn(work, turn_s))
    speed, share = (
        statistics.median(getattr(turn, name) for turn in beside)
        / statistics.median(getattr(turn, name) for turn in alone)
        for name in ("speed", "processors")
    )
    return Beside(neighbors, round(speed, 3), round(share, 3), round(speed / share, 3))


def _turn(work: Callable[[], object], seconds: float) -> Turn:
    calls, wall, busy = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - wall) < seconds or not calls:
        work()
        calls += 1
    return Turn(calls / spent, (time.process_time() - busy) / spent)
