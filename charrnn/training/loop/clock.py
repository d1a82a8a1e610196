"""The time of a run, which is not always the wall's."""

from __future__ import annotations

import time

from charrnn import interrupts


class Clock:
    """Seconds since a run began, ``seconds`` of them before now.

    The time in which the process was stopped (Ctrl-Z, SIGSTOP) or the machine slept is not the
    run's: a budget of eight hours is eight hours of training. Of an interval in which it was
    stopped only what this thread computed counts. Setting the system's clock changes nothing.
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
