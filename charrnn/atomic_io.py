"""Atomic writing: a file appears whole or not at all.

A file is written under a temporary name in its folder, synced and renamed over the old file; then
the folder is synced. Readers see the old file or the new one, never a part of either.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import IO, Any

from charrnn.paths import cache_folder

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a disk that is full
ABANDONED_S = 3600.0  # no process pauses this long between two writes
# target's name, process number, nanoseconds: unique, and recognized by the sweep
_TEMPORARY = re.compile(r"^\..+\.tmp-(\d+)-\d+$")
_ours: set[str] = set()  # names in use by this process
_folders: list[tuple[int, Path]] = []  # temporary ones, and the processes that made them


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of ``path`` (a rename cannot cross file systems).

    A file that still has this name after the block is removed. Errors name ``path`` instead.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{time.monotonic_ns()}")
    _ours.add(temporary.name)
    try:
        yield temporary
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) == temporary:
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _ours.discard(temporary.name)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable, if the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at ``path`` if the block succeeds, and not at all otherwise.

    Raises:
        OSError: a write, sync or rename failed; ``path`` is then the old file or, if only the
            folder could not be synced, the complete new one.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)


def write_atomic(path: Path, chunks: Iterable[bytes | memoryview[Any]]) -> None:
    """Write ``chunks`` to ``path``, atomically.

    Raises:
        OSError: as for ``atomic_file``.

    """
    with atomic_file(path) as file:
        for chunk in chunks:
            file.write(chunk)


def check_folder(folder: Path, size: int = 0) -> None:
    """Check before any work that a file of ``size`` bytes can be created in ``folder``.

    A folder that does not exist yet would be created: its nearest parent counts.

    Raises:
        OSError: it cannot; names ``folder``.

    """
    try:
        place = folder.resolve()
        there = next(path for path in (place, *place.parents) if path.exists())
        with TemporaryFile(dir=there):
            pass
        disk = shutil.disk_usage(there)
        if disk.total and disk.free < size:  # some file systems report 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        error.filename = str(folder)
        raise


def is_trusted(folder: Path) -> bool:
    """Whether nobody but this user and the administrator can have written into ``folder``.

    Raises:
        OSError: there is no such folder.

    """
    found = folder.stat()
    if not hasattr(os, "geteuid"):
        return True
    others = stat.S_IWGRP | stat.S_IWOTH
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & others


def code_cache(name: str) -> Path:
    """The subfolder ``name`` of the cache for machine code that will be run; created if missing.

    Raises:
        OSError: it cannot be created or written, or other users could have written into it.

    """
    folder = cache_folder() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (os.access(folder, os.W_OK) and is_trusted(folder)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return folder


def temporary_folder() -> Path:
    """A new folder that is removed when the process ends (``remove_temporary_folders``)."""
    folder = Path(mkdtemp(prefix="charrnn-"))
    _folders.append((os.getpid(), folder))
    return folder


def remove_temporary_folders() -> None:
    """Remove the folders of ``temporary_folder``: before ``os._exit``, which would leave them."""
    while _folders:
        pid, folder = _folders.pop()
        if pid == os.getpid():  # else a forked process ends before the one that uses it
            shutil.rmtree(folder, ignore_errors=True)


atexit.register(remove_temporary_folders)


def process_lives(pid: int) -> bool:
    """Whether a process with this number is running on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # no system has such a number
        return False
    except OSError:  # it is running, as another user
        return True
    return True


def _in_use(name: str, pid: int) -> bool:
    """Whether the process ``pid`` still uses the temporary ``name``."""
    # in containers numbers start from 1 every time, so a dead process often had our own number
    return name in _ours if pid == os.getpid() else process_lives(pid)


def sweep_temporaries(folder: Path, least_age_s: float = 0.0) -> list[Path]:
    """Remove half-written files that killed processes left in ``folder``.

    Args:
        folder: the folder.
        least_age_s: the age from which files are removed. If other machines may be writing into
            the folder, their files look abandoned here, so choose ``ABANDONED_S``.

    Returns:
        The paths of the files removed.

    """
    if not folder.is_dir():
        return []
    found = [(path, _TEMPORARY.match(path.name)) for path in folder.iterdir()]
    left = [path for path, match in found if match and not _in_use(path.name, int(match[1]))]
    swept = []
    for path in left:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= least_age_s:
                path.unlink()
                swept.append(path)
    return swept
