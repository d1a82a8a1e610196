"""Signals set a flag, and the program checks it where it can stop without losing anything.

A second signal ends the process at once. Whatever was being written then is a temporary file, and
the file that it was to replace is still whole. A signal that was ignored when the program started
(``nohup``) stays ignored.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from charrnn.errors import Interrupted


def _numbers(*names: str) -> tuple[int, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


SIGNALS = _numbers("SIGINT", "SIGTERM", "SIGHUP")
CONTINUE = _numbers("SIGCONT")
# timeout(1), closing terminals and many wrappers send the same signal twice in a row
SAME_REQUEST_S = 0.2

_received: int = 0
_received_at: float = -SAME_REQUEST_S
_raising: bool = False
_continued: bool = False


def _remember(signum: int, _frame: FrameType | None) -> None:
    global _received, _received_at
    if _received:
        _quit(signum, _frame)
        return
    _received, _received_at = signum, time.monotonic()
    if _raising:
        raise Interrupted(_received)


def _note_continued(_signum: int, _frame: FrameType | None) -> None:
    global _continued
    _continued = True


def _quit(signum: int, _frame: FrameType | None) -> None:
    if time.monotonic() - _received_at >= SAME_REQUEST_S:
        os._exit(128 + signum)


def received() -> int:
    """The signal received since ``graceful`` was entered; 0 if there was none."""
    return _received


def check() -> None:
    """Raise ``Interrupted`` if a signal was received since ``graceful`` was entered."""
    if _received:
        raise Interrupted(_received)


def was_stopped() -> bool:
    """Whether the process was stopped and continued (SIGCONT) since the last call."""
    global _continued
    asked, _continued = _continued, False
    return asked


@contextmanager
def graceful() -> Iterator[None]:
    """Within this block, INT, TERM and HUP only set the flag that ``check`` looks at.

    Only the main thread can set handlers; in another thread the block changes nothing.
    """
    global _received, _continued
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received, _continued = 0, False
    try:
        with _handled(SIGNALS, _remember), _handled(CONTINUE, _note_continued):
            yield
    finally:
        _received = 0


@contextmanager
def at_once() -> Iterator[None]:
    """Within this block inside ``graceful``, a signal raises ``Interrupted`` immediately.

    For long operations that cannot call ``check``, such as compiling or waiting for a reader.
    """
    global _raising
    _raising = threading.current_thread() is threading.main_thread()
    try:
        if _raising:
            check()
        yield
    finally:
        _raising = False


@contextmanager
def abrupt() -> Iterator[None]:
    """Within this block, except inside ``graceful``, a signal ends the process.

    For a program that is still loading, or that has saved everything.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled(SIGNALS, _quit):
        yield


@contextmanager
def _handled(
    signums: tuple[int, ...], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    found = {signum: signal.getsignal(signum) for signum in signums}
    before = {signum: old for signum, old in found.items() if old is not signal.SIG_IGN}
    for signum in before:
        signal.signal(signum, handler)
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, signal.SIG_DFL if old is None else old)
