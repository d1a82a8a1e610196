"""The time of a run, which is not always wall time."""

from __future__ import annotations

import time

from charrnn import interrupts
from charrnn.training.distributed import World

PULSE_S = 0.2  # between two agreements of the processes
BUDGET_SHARE = 0.005  # of a time budget, the most that lies between them


class Clock:
    """Seconds that a run has been training, starting from ``seconds``.

    Time during which the process is stopped (Ctrl-Z, SIGSTOP) or the machine sleeps does not count:
    a budget of eight hours is eight hours of training. Of an interval in which the process was
    stopped, only the CPU time of this thread counts. Setting the system's clock has no effect.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._wall, self._busy = time.monotonic(), time.thread_time()

    def now(self) -> float:
        """Seconds so far."""
        wall, busy = time.monotonic(), time.thread_time()
        stopped = interrupts.was_stopped()
        self._seconds += busy - self._busy if stopped else wall - self._wall
        self._wall, self._busy = wall, busy
        return self._seconds


class SharedClock:
    """The main process's ``clock``, which several processes read together every now and then.

    Each reading is an agreement of all of them, also on signals (``World.pulse``). ``at`` asks for
    one after as many steps as took ``PULSE_S`` so far; all count them from the same readings, so
    that all ask before the same step. A single process looks at its clock each time.
    """

    def __init__(self, world: World, clock: Clock, budget_s: float = 0.0) -> None:
        self._world, self._clock = world, clock
        self._pause_s = min(PULSE_S, BUDGET_SHARE * budget_s) if budget_s else PULSE_S
        self._step, self._seconds = 0, 0.0  # of the last reading
        self._pause, self._next = 1, 0  # in steps

    def at(self, step: int) -> float:
        """Seconds until ``step``, as they were when the processes last agreed."""
        return self.now(step) if self._world.size == 1 or step >= self._next else self._seconds

    def now(self, step: int) -> float:
        """Seconds until now, which is before ``step`` (from 0); all processes agree."""
        seconds = self._world.pulse(self._clock.now())
        if (steps := step - self._step) > 0:
            passed_s = max(seconds - self._seconds, 1e-9)
            # a GPU's steps take no time until it is waited for
            self._pause = max(1, min(2 * self._pause, int(self._pause_s * steps / passed_s)))
        self._step, self._seconds, self._next = step, seconds, step + self._pause
        return seconds
