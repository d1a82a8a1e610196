"""Signals set a flag; the program asks for it where it can leave without losing anything.

The second signal does not wait: it ends the process at once. Whatever was being written then is a
temporary file, and the file that it was to replace is whole.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from charrnn.errors import Interrupted

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_received: int = 0


def _remember(signum: int, _frame: FrameType | None) -> None:
    global _received
    if _received:
        os._exit(128 + signum)
    _received = signum


def check() -> None:
    """Raise ``Interrupted`` if a signal has come since ``graceful`` was entered."""
    if _received:
        raise Interrupted(_received)


@contextmanager
def graceful() -> Iterator[None]:
    """Within this block, INT, TERM and HUP only set the flag that ``check`` looks at.

    Handlers can be set in the main thread alone; in another thread the block changes nothing.
    """
    global _received
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received = 0
    before = {signum: signal.signal(signum, _remember) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _received = 0
