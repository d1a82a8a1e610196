"""Signals set a flag; the program asks for it where it can leave without losing anything.

The second signal does not wait: it ends the process at once. Whatever was being written then is a
temporary file, and the file that it was to replace is whole. A signal that was ignored when the
program began (``nohup``) stays ignored.
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
# timeout(1), a terminal that closes and many wrappers deliver one request twice in a row
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
    """The signal that has come since ``graceful`` was entered; 0 for none."""
    return _received


def check() -> None:
    """Raise ``Interrupted`` if a signal has come since ``graceful`` was entered."""
    if _received:
        raise Interrupted(_received)


def was_stopped() -> bool:
    """Whether the process was continued (SIGCONT), so stopped before, since this was last asked."""
    global _continued
    asked, _continued = _continued, False
    return asked


@contextmanager
def graceful() -> Iterator[None]:
    """Within this block, INT, TERM and HUP only set the flag that ``check`` looks at.

    Handlers can be set in the main thread alone; in another thread the block changes nothing.
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
    """Within this block of ``graceful`` a signal raises ``Interrupted`` where it comes.

    For what takes long and asks nobody, such as compiling or waiting for a reader.
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
    """Within this block, outside of ``graceful``, a signal ends the process.

    For a program that is loading still, or that has saved all.
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
