"""Where numba keeps the compiled kernels between processes.

Left to itself it looks only at the file of the function that it compiled, and would go on with old
machine code after a change in the functions called from there.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba

from charrnn.atomic_io import code_cache, is_trusted
from charrnn.paths import cache_folder

COMPLETE = "complete"  # a file that says that nothing is missing


@contextmanager
def kept_code(unit: str, *, alone: bool = False) -> Iterator[Path]:
    """Within the block numba keeps what it compiles in a folder named by all that it comes from.

    ``unit`` names what multiplies: the same sources make other code for other units. ``alone``
    keeps it for this process, elsewhere than in the cache.

    Raises:
        OSError: there is no room for it.

    """
    folder = _own() if alone else _writable(unit)
    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        yield folder
        with suppress(OSError):
            (folder / COMPLETE).touch()
    finally:
        config.CACHE_DIR = before


def is_kept(unit: str) -> bool:
    """Whether all that ``kept_code`` keeps for ``unit`` is there."""
    try:
        folder = cache_folder() / _name(unit)
        return is_trusted(folder) and (folder / COMPLETE).exists()
    except OSError:
        return False


def _name(unit: str) -> str:
    return f"training/{digest(Path(__file__).parent, unit)}"


def digest(sources: Path, unit: str) -> str:
    """A hash of the Python files in ``sources``, of ``unit`` and of all that numba looks at."""
    place, cpu = sources.resolve(), llvm.get_host_cpu_name()
    parts = (numba.__version__, sys.implementation.cache_tag, cpu, unit, place)
    found = hashlib.sha256("\0".join(map(str, parts)).encode())
    for path in sorted(sources.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:32]


def _writable(unit: str) -> Path:
    """The folder in the cache, or one for this process alone if the cache cannot be used."""
    try:
        return code_cache(_name(unit))
    except OSError:
        return _own()


def _own() -> Path:
    own = tempfile.mkdtemp(prefix="charrnn-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)
