"""What the C library does with freed memory: the difference is a third of a training step."""

from __future__ import annotations

import ctypes

# glibc's numbers (malloc.h, mallopt(3))
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
# Unasked, its threshold rises to the largest piece that was given back, up to 32 MiB, and twice
# that is kept; but once anything is set it stands still. So this is where a loop over windows
# settles, at the latest.
_SETTLED = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65536}


def _set(values: dict[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all(mallopt(name, value) for name, value in values.items())


def keep_memory() -> bool:
    """Let the C library keep freed memory in the process instead of giving it back.

    A window's work space is tens of megabytes: fetching it anew from the system costs a page fault
    every 4 KiB, a third of a training step in all.  True where glibc took the setting.
    """
    return _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 4097})


def default_memory() -> bool:
    """What glibc comes to do unasked; for measuring what others would see."""
    return _set(_SETTLED)
