"""Caches the machine code of the kernels between processes.

By default numba checks only the file of the function that it compiled, and would use stale machine
code after a change in the functions that it calls.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import llvmlite.binding as llvm
import numba

from charrnn.atomic_io import code_cache, is_trusted, temporary_folder
from charrnn.paths import cache_folder

COMPLETE = "complete"  # an empty file; it exists once all code is in the cache
# numba's settings that change the code, apart from the processor
_SHAPING = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK")


@contextmanager
def numba_cache(unit: str, *, private: bool = False) -> Iterator[Path]:
    """Let numba cache what it compiles in the block, in a folder named by a hash of its sources.

    ``unit`` is the unit that multiplies; the code depends on it, too. With ``private`` the folder
    is a temporary one of this process.

    Raises:
        OSError: the disk is full.

    """
    folder = temporary_folder() if private else _cache_or_temporary_folder(unit)
    ours = {"CACHE_DIR": str(folder), "CACHE_LOCATOR_CLASSES": ""}
    before = {name: getattr(numba.config, name, "") for name in ours}
    vars(numba.config).update(ours)
    try:
        yield folder
        with suppress(OSError):
            (folder / COMPLETE).touch()
    finally:
        vars(numba.config).update(before)


def is_cached(unit: str) -> bool:
    """Whether the cache has all code for ``unit``."""
    try:
        folder = cache_folder() / _name(unit)
        return is_trusted(folder) and (folder / COMPLETE).exists()
    except OSError:
        return False


def _name(unit: str) -> str:
    return f"training/{digest(Path(__file__).parent, unit)}"


def digest(sources: Path, unit: str) -> str:
    """A hash of the Python files in ``sources``, of ``unit`` and of what else code depends on."""
    folder, cpu = sources.resolve(), llvm.get_host_cpu_name()
    shaping = [getattr(numba.config, name, None) for name in _SHAPING]
    parts = (numba.__version__, sys.implementation.cache_tag, cpu, unit, folder, shaping)
    found = hashlib.sha256("\0".join(map(str, parts)).encode())
    for path in sorted(sources.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:32]


def _cache_or_temporary_folder(unit: str) -> Path:
    """The folder in the cache, or a temporary one if the cache cannot be used."""
    try:
        return code_cache(_name(unit))
    except OSError:
        return temporary_folder()
