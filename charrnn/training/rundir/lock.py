"""One training process a folder: the operating system's lock on a file in it."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from charrnn.atomic_io import process_lives
from charrnn.errors import FolderBusyError

LOCK = ".lock"
OWNER_WAIT_S = 0.5  # how long to wait for the owner to write its name
OWNER_BYTES = 1000
_OWNER = re.compile(r"process (\d+) on (.+)\n")


class Lock:
    """A lock that is held from ``Lock(folder)`` to ``release``, or until the process ends.

    Raises:
        FolderBusyError: another process holds it; names the process and its host.
        OSError: the file cannot be created.

    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        # one process may lock several folders: the second line tells its locks apart
        self._signature = (
            f"process {os.getpid()} on {socket.gethostname()}\n{os.urandom(8).hex()}\n"
        )
        self._file = self._take(folder)

    def _take(self, folder: Path) -> IO[bytes]:
        tried_until = time.monotonic() + OWNER_WAIT_S
        while True:
            file = open(self.path, "ab+", buffering=0)  # noqa: SIM115
            if _locked(file):
                if _is_at(file, self.path) or time.monotonic() > tried_until:
                    self._sign(file)
                    return file
                file.close()  # removed before it was locked, so that lock protects nothing
                continue
            with file:
                owner = _read(file)
            if _is_living(owner) or time.monotonic() > tried_until:
                message = f"{_name(owner)} is training into {folder}"
                raise FolderBusyError(message, "wait for it, or choose another {out}")
            time.sleep(0.01)

    def held(self) -> bool:
        """Whether the lock still works: its file, or the folder, may have been removed."""
        if _is_at(self._file, self.path):
            return True
        with suppress(OSError), open(self.path, "rb") as file:
            return _read(file) == self._signature  # some file systems change inode numbers
        return False

    def _sign(self, file: IO[bytes]) -> None:
        with suppress(OSError):  # the disk is full; the lock works without a name
            file.truncate(0)
            file.write(self._signature.encode())

    def release(self) -> None:
        """Give the lock up."""
        with suppress(OSError):
            self._file.truncate(0)
        self._file.close()


def _locked(file: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no such locks: there, users must avoid two runs in one folder
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(OWNER_BYTES).decode(errors="replace")


def _name(owner: str) -> str:
    return next(iter(owner.splitlines()), "") or "another process"


def _is_living(owner: str) -> bool:
    """Whether ``owner`` names a living process; the name of a dead one stays in the file.

    Processes of other machines count as living.
    """
    named = _OWNER.match(owner)
    if named is None:
        return False
    return named[2] != socket.gethostname() or process_lives(int(named[1]))
