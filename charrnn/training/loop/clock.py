"""The time of a run, which is not always wall time."""

from __future__ import annotations

import time

from charrnn import interrupts


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
