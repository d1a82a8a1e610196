"""Signals set a flag, and the program checks it where it can stop without losing anything.

A second signal ends the work at once: the command line ends its process, and in a Python program
the second signal raises KeyboardInterrupt (SIGINT) or SystemExit wherever the program is. Whatever
was being written then is a temporary file, and the file that it was to replace is still whole. A
signal that was ignored when the program started (``nohup``) stays ignored.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from types import FrameType

from charrnn.errors import Interrupted


def _numbers(*names: str) -> tuple[int, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


SIGNALS = _numbers("SIGINT", "SIGTERM", "SIGHUP")
CONTINUE = _numbers("SIGCONT")
# timeout(1), closing terminals and many wrappers send the same signal twice in a row
SAME_REQUEST_S = 0.2
AGAIN_S = 0.02  # until an exception that was dropped is raised again

_repeated_s: float = SAME_REQUEST_S
_received: int = 0
_received_at: float = -SAME_REQUEST_S
_stopping: bool = False
_raising: bool = False
_lost: bool = False
_continued: bool = False
_own_process: bool = False


def own_process() -> None:
    """From now on a second signal ends the process: it is charrnn's own, not a host program's."""
    global _own_process
    _own_process = True


def expect_repeats(seconds: float) -> None:
    """From now on a signal that comes again within ``seconds`` belongs to the request before it."""
    global _repeated_s
    _repeated_s = seconds


def _remember(signum: int, frame: FrameType | None) -> None:
    global _received, _received_at, _stopping, _lost
    if _lost:
        _lost = False
        if _raising:
            raise Interrupted.by(_received)
    elif _received and _own_process:
        _quit(signum, frame)
    elif _received and not _is_repeated():
        # not Interrupted: whoever catches that may save a run, here in the middle of a step
        raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)
    elif not _received:
        _received, _received_at, _stopping = signum, time.monotonic(), True
        if _raising:
            raise Interrupted.by(_received)


def _note_continued(_signum: int, _frame: FrameType | None) -> None:
    global _continued
    _continued = True


def _is_repeated() -> bool:
    """Whether a signal that comes now belongs to the request before it."""
    return time.monotonic() - _received_at < _repeated_s


def _quit(signum: int, _frame: FrameType | None) -> None:
    if not _is_repeated():
        os._exit(128 + signum)


def received() -> int:
    """The signal received since ``graceful`` was entered; 0 if there was none."""
    return _received


def stopping() -> bool:
    """Whether a signal was received since ``graceful`` was last entered, even if it is left."""
    return _stopping


def check() -> None:
    """Raise ``Interrupted`` if a signal was received since ``graceful`` was entered."""
    if _received:
        raise Interrupted.by(_received)


def was_stopped() -> bool:
    """Whether the process was stopped and continued (SIGCONT) since the last call."""
    global _continued
    asked, _continued = _continued, False
    return asked


@contextmanager
def graceful() -> Iterator[None]:
    """Within this block, INT, TERM and HUP only set the flag that ``check`` looks at.

    Only the main thread can set handlers; in another thread the block changes nothing. Afterwards
    the handlers are those from before.

    Raises:
        Interrupted: a signal was received after the last ``check`` of the block.

    """
    global _received, _continued, _stopping
    if not _is_main_thread():
        yield
        return
    _received, _continued, _stopping = 0, False, False
    try:
        with _handled(SIGNALS, _remember), _handled(CONTINUE, _note_continued):
            yield
        check()
    finally:
        _received = 0


@contextmanager
def at_once() -> Iterator[None]:
    """Within this block inside ``graceful``, a signal raises ``Interrupted`` immediately.

    For long operations that cannot call ``check``, such as compiling or waiting for a reader. If
    the exception is raised where Python can only drop it, in a function that C code calls, it is
    raised again soon after.
    """
    global _raising, _lost
    if not _is_main_thread():  # signals are handled in the main thread
        yield
        return
    timers: list[Timer] = []
    drop = sys.unraisablehook

    def again(dropped: sys.UnraisableHookArgs) -> None:
        global _lost
        if not isinstance(dropped.exc_value, Interrupted):
            drop(dropped)
        elif _raising:
            _lost = True
            timers.append(Timer(AGAIN_S, signal.raise_signal, (_received,)))
            timers[-1].start()

    try:
        _raising, sys.unraisablehook = True, again
        check()
        yield
    finally:
        _raising, sys.unraisablehook = False, drop
        for timer in timers:  # the handlers are still ours, and raise nothing now
            timer.cancel()
            timer.join()
        _lost = False


@contextmanager
def abrupt() -> Iterator[None]:
    """Within this block, except inside ``graceful``, a signal ends the process.

    For a program that is still loading, or that has saved everything.
    """
    if not _is_main_thread():
        yield
        return
    with _handled(SIGNALS, _quit):
        yield


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _handled(
    signums: tuple[int, ...], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    found = {signum: signal.getsignal(signum) for signum in signums}
    # None: one that C code set, which Python could not restore
    before = {n: old for n, old in found.items() if old is not None and old is not signal.SIG_IGN}
    for signum in before:
        signal.signal(signum, handler)
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)
