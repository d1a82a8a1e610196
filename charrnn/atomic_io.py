"""How files that others read are written: atomically, or not at all.

A file is written beside its place under a temporary name, synced, renamed over the old one, and
its folder is synced. Whoever reads sees the old file or the new one, never a part of either.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from charrnn.paths import cache_folder

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk says that has no room
ABANDONED_S = 3600.0  # nothing takes so long between two writes
# name of the target, process, nanoseconds: unique, and recognised by the sweep
_TEMPORARY = re.compile(r"^\..+\.tmp-(\d+)-\d+$")
_ours: set[str] = set()  # names that this process is using


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A name for the file to be, in the same folder (a rename must not cross file systems).

    What is still called so after the block is removed.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{time.monotonic_ns()}")
    _ours.add(temporary.name)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _ours.discard(temporary.name)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at ``path`` when the block ends well, and not at all otherwise.

    Raises:
        OSError: a write, sync or rename failed; ``path`` is then the old file or, where only the
            folder could not be synced, the new one, and whole.

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
    """Write ``chunks`` one after the other to ``path``, atomically.

    Raises:
        OSError: as ``atomic_file``.

    """
    with atomic_file(path) as file:
        for chunk in chunks:
            file.write(chunk)


def is_trusted(folder: Path) -> bool:
    """Whether only we, or the machine's administrator, can have put what lies in ``folder`` there.

    Raises:
        OSError: there is no such folder.

    """
    found = folder.stat()
    if not hasattr(os, "geteuid"):
        return True
    others = stat.S_IWGRP | stat.S_IWOTH
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & others


def code_cache(name: str) -> Path:
    """The folder ``name`` of the cache, for machine code that will be run; made if need be.

    Raises:
        OSError: it cannot be made or written, or other users could have put something there.

    """
    folder = cache_folder() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (os.access(folder, os.W_OK) and is_trusted(folder)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return folder


def process_lives(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # no system has such numbers
        return False
    except OSError:  # it lives, and is somebody else's
        return True
    return True


def _in_use(name: str, pid: int) -> bool:
    """A process with our own number that died is common in containers: every one begins at 1."""
    return name in _ours if pid == os.getpid() else process_lives(pid)


def sweep_temporaries(folder: Path, least_age_s: float = 0.0) -> list[Path]:
    """Remove what killed processes left half written in ``folder``; say what that was.

    In a folder that nobody else can be writing into age does not matter; elsewhere a process of
    another machine may own what looks abandoned here, so that only old files go.
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
