"""Sets what the C library does with freed memory; its default costs a third of a step."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# glibc's numbers (malloc.h, mallopt(3))
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
# By default glibc raises the mmap threshold to the largest block that was freed, up to 32 MiB, and
# keeps twice as much free memory; once any value is set, it no longer adapts. So set the values
# that a loop over windows ends up with.
_SETTLED = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65536}
# what glibc begins with, and stays with if the environment sets one of these
_FIRST = {_TRIM_THRESHOLD: 128 << 10, _MMAP_THRESHOLD: 128 << 10, _MMAP_MAX: 65536}
_NAMES = {
    "trim_threshold": _TRIM_THRESHOLD,
    "mmap_threshold": _MMAP_THRESHOLD,
    "mmap_max": _MMAP_MAX,
}
_kept = False


def _library() -> Any:
    """The C library, or None if it is not glibc."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return library if hasattr(library, "mallopt") else None


def _set(values: dict[int, int]) -> bool:
    library = _library()
    return library is not None and all(library.mallopt(*value) for value in values.items())


def keep_memory() -> bool:
    """Let the C library keep freed memory instead of returning it to the system.

    A window's work space is tens of megabytes: getting it from the system again costs a page fault
    every 4 KiB, in total a third of a training step. Returns whether glibc accepted the setting.
    """
    global _kept
    _kept = _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 4097})
    return _kept


def default_memory() -> bool:
    """Set what glibc does by default, to measure code that does not change it."""
    global _kept
    _kept = False
    asked = _asked_for()
    return _set(_FIRST | asked if asked else _SETTLED)


def _asked_for() -> dict[int, int]:
    """The values that the environment sets (mallopt(3), and the tunables of newer glibc)."""
    tunables = re.findall(r"glibc\.malloc\.(\w+)=(\w+)", os.environ.get("GLIBC_TUNABLES", ""))
    variables = ((name, os.environ.get(f"MALLOC_{name.upper()}_")) for name in _NAMES)
    asked: dict[int, int] = {}
    for name, text in (*variables, *tunables):
        if text is not None and name in _NAMES:
            with suppress(ValueError):
                asked[_NAMES[name]] = int(text, 0)
    return asked


@contextmanager
def returning_memory() -> Iterator[None]:
    """After the block, if ``keep_memory`` was called in it, the C library keeps nothing more."""
    try:
        yield
    finally:
        if _kept:
            default_memory()
            _library().malloc_trim(0)
