"""Sets what the C library does with freed memory; its default costs a third of a step."""

from __future__ import annotations

import ctypes

# glibc's numbers (malloc.h, mallopt(3))
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
# By default glibc raises the mmap threshold to the largest block that was freed, up to 32 MiB, and
# keeps twice as much free memory; once any value is set, it no longer adapts. So set the values
# that a loop over windows ends up with.
_SETTLED = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65536}


def _set(values: dict[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all(mallopt(name, value) for name, value in values.items())


def keep_memory() -> bool:
    """Let the C library keep freed memory instead of returning it to the system.

    A window's work space is tens of megabytes: getting it from the system again costs a page fault
    every 4 KiB, in total a third of a training step. Returns whether glibc accepted the setting.
    """
    return _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 4097})


def default_memory() -> bool:
    """Set what glibc does by default, to measure code that does not change it."""
    return _set(_SETTLED)
