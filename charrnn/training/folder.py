"""A run's folder: one trainer at a time, checkpoints, the metrics file."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from charrnn.checkpoint import Checkpoint, load
from charrnn.errors import CheckpointError, ConfigError, FolderBusyError, SaveError
from charrnn.files import sweep_temporaries, write_atomic
from charrnn.library import BEST, CHECKPOINTS, LAST
from charrnn.training.records import Listener

METRICS = "metrics.jsonl"
LOCK = ".lock"
PREVIOUS = "previous.safetensors"
FAILED_SAVES = 3


def new_folder(name: str, out: Path | None) -> Path:
    """Where a new run goes: ``out``, else a name under ``./checkpoints`` that nobody uses yet.

    Raises:
        ConfigError: ``out`` holds a run already.

    """
    if out is not None:
        if any((out / file).exists() for file in (BEST, LAST)):
            raise ConfigError(f"{out} holds a run: --resume continues it, or name another --out")
        return out
    folder, number = CHECKPOINTS / name, 1
    while any((folder / file).exists() for file in (BEST, LAST)):
        number += 1
        folder = CHECKPOINTS / f"{name}-{number}"
    return folder


def old_folder(name: str | None, out: Path | None) -> Path:
    """The run to resume: ``out``, else the newest under ``./checkpoints`` (of corpus ``name``).

    Raises:
        CheckpointError: there is none.

    """
    if out is not None:
        if not any((out / file).exists() for file in (LAST, PREVIOUS)):
            raise CheckpointError(f"{out} holds no run to resume: leave --resume away to start one")
        return out
    numbered = re.compile(r".*" if name is None else re.escape(name) + r"(-\d+)?")
    runs = [
        path
        for file in (LAST, PREVIOUS)
        for path in CHECKPOINTS.glob(f"*/{file}")
        if numbered.fullmatch(path.parent.name)
    ]
    if not runs:
        raise CheckpointError(f"no run to resume under {CHECKPOINTS}/: --out names its folder")
    return max(runs, key=lambda path: path.stat().st_mtime_ns).parent


class RunFolder:
    """``path`` while this process trains into it."""

    def __init__(self, path: Path, listener: Listener) -> None:
        self.path = path
        self._listener = listener
        self._failed: Counter[str] = Counter()

    def read_last(self) -> Checkpoint:
        """What resuming starts from: the last checkpoint, or the one before if it is damaged.

        Raises:
            CheckpointError: neither is whole.

        """
        try:
            return load(self.path / LAST, extra=True)
        except CheckpointError as error:
            if not (self.path / PREVIOUS).exists():
                raise
            self._listener.on_note(f"{error}; going back to {PREVIOUS}")
            good = load(self.path / PREVIOUS, extra=True)
            with suppress(OSError):  # or the next save would make it the previous one
                (self.path / LAST).unlink(missing_ok=True)
            return good

    def check_room(self, parameters: int) -> None:
        """See to it that the disk holds what a run of so many weights keeps and rewrites.

        Raises:
            SaveError: it does not.
        """
        # weights, average and two moments, float32: the old file, the previous one and the new
        needed = 4 * 4 * parameters * 3
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise SaveError(
                f"{self.path} has room for {free >> 20} MiB and the checkpoints need about "
                f"{(needed >> 20) + 1}: free some, or name an --out on another disk"
            )

    def save(self, file: str, checkpoint: Checkpoint) -> bool:
        """Write ``best`` or ``last``; a failure is said aloud and survived twice in a row.

        Raises:
            SaveError: the third failure in a row.

        """
        try:
            if file == LAST:
                self._keep_previous()
            checkpoint.save(self.path / file)
        except OSError as error:
            self._failed[file] += 1
            reason = f"could not save {self.path / file}: {error.strerror or error}"
            if self._failed[file] >= FAILED_SAVES:
                raise SaveError(f"{reason}; {FAILED_SAVES} in a row, so training stops") from None
            self._listener.on_note(f"{reason}; training goes on, free some room")
            return False
        self._failed[file] = 0
        return True

    def _keep_previous(self) -> None:
        """A second name for the last checkpoint, so that one damaged file is never the only one."""
        last, previous = self.path / LAST, self.path / PREVIOUS
        if last.exists():
            link = previous.with_name(f".{PREVIOUS}.tmp-{os.getpid()}-0")
            with suppress(OSError):
                link.unlink(missing_ok=True)
                os.link(last, link)
                os.replace(link, previous)

    def append_metrics(self, values: dict[str, Any]) -> None:
        """A line more in ``metrics.jsonl``; a full disk costs the line, not the run."""
        try:
            with open(self.path / METRICS, "a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            self._listener.on_note(f"could not write {METRICS}: {error.strerror or error}")

    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after ``step``: a resumed run logs it again."""
        path = self.path / METRICS
        if not path.exists():
            return
        kept = [line for line in path.read_bytes().splitlines(True) if _step_of(line) <= step]
        write_atomic(path, kept)


def _step_of(line: bytes) -> float:
    try:
        values = json.loads(line)
        return float("inf") if values.get("final") else float(values["step"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return float("inf")  # a line cut short by a crash


@contextmanager
def occupied(path: Path, listener: Listener) -> Iterator[RunFolder]:
    """The run folder at ``path``, made if need be, held against other trainers within the block.

    The lock is the operating system's: it ends with the process, however that ends.

    Raises:
        FolderBusyError: another trainer holds it; names its host and process.
        SaveError: the folder cannot be made or written.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / LOCK, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise SaveError(f"cannot write to {path}: {error.strerror}; name another --out") from None
    with lock:
        _take(lock, path)
        sweep_temporaries(path)
        yield RunFolder(path, listener)


def _take(lock: IO[str], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: two trainers there are the user's to avoid
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise FolderBusyError(
            f"{path} is being trained into by {lock.read().strip() or 'another process'}: "
            "wait for it, or name another --out"
        ) from None
    except OSError:  # a file system without locks
        return
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
