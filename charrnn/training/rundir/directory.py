"""A run's folder, while it is trained into: its checkpoints and its metrics file."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import filterfalse, islice
from pathlib import Path
from typing import Any

from charrnn.atomic_io import sweep_temporaries
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.errors import CheckpointError, FolderBusyError, SaveError
from charrnn.paths import BEST, CHECKPOINTS, LAST
from charrnn.training.distributed import ALONE, World, on_main
from charrnn.training.events import Listener
from charrnn.training.rundir import metrics
from charrnn.training.rundir.discovery import (
    PREVIOUS,
    check_free,
    holds_run,
    numbered,
    unwritable,
)
from charrnn.training.rundir.lock import Lock
from charrnn.training.rundir.metrics import METRICS
from charrnn.training.rundir.rotation import Identity, identity, replace

DAMAGED = "best.damaged"
# keys of the losses: the validation loss by which a network was chosen, before its calibration; and
# how many characters the validation loss is that of, if not of the whole validation part
UNFITTED, SAMPLE = "unfitted_val", "val_chars"
FAILED_SAVES = 3  # in a row, after which training stops


def room_needed(parameters: int) -> int:
    """The bytes that the checkpoints of a network of so many parameters may take.

    Weights, average and two moments in float32, in the last file, the one before and the one being
    written; the weights of the best network; a MiB for the rest.
    """
    return 4 * parameters * (4 * 3 + 1) + (1 << 20)


class RunFolder:
    """The folder ``path``, which no other process can train into.

    If the folder is removed during the run, it is created again. If another run has taken its place
    by then, ``path`` changes to a free folder beside it.

    Of several processes only the main one uses the disk: all ranks call the same methods, which
    return or raise on all of them what they do on the main process.
    """

    def __init__(self, path: Path, listener: Listener, world: World = ALONE) -> None:
        self.path, self.world = path, world
        self._listener = listener
        self._lock: Lock | None = None  # held by the main process
        self._failed: Counter[str] = Counter()
        self._known: dict[str, Identity | None] = {}
        self._distrusted: Identity | None = None

    def hold(self, or_beside: bool = False) -> None:
        """Create the folder if necessary, and lock it until ``release``.

        ``or_beside``: if it is not free, lock the first free folder beside it instead.

        Raises:
            FolderBusyError: another process is training into it; names its host and process.
            SaveError: the folder cannot be created or written.

        """
        self.path = self._hold(or_beside)

    @on_main
    def _hold(self, or_beside: bool) -> Path:
        try:
            if or_beside:
                self._take_first_free(numbered(self.path))
            else:
                self._take(self.path)
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._known = {file: identity(self.path / file) for file in (BEST, LAST)}
        sweep_temporaries(self.path)
        return self.path

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release()

    @on_main
    def check_free(self) -> None:
        """``discovery.check_free`` of this folder."""
        check_free(self.path)

    @on_main
    def has(self, file: str) -> bool:
        """Whether there is a file ``BEST`` or ``LAST``."""
        return (self.path / file).exists()

    @on_main
    def best_val(self) -> float | None:
        """The validation loss of the best network in the folder; None if unknown.

        In nats a character, before calibration: a resumed run compares networks that are not
        calibrated yet.
        """
        try:
            losses = load(self.path / BEST).about("losses")
        except CheckpointError:
            return None
        value = losses.get(UNFITTED, losses.get("val"))
        return value if isinstance(value, float) else None

    @on_main
    def read_best(self) -> Checkpoint:
        """The checkpoint with the best network.

        Raises:
            CheckpointError: it is missing or damaged.

        """
        return load(self.path / BEST)

    @on_main
    def check_best(self) -> None:
        """Rename a best network that is damaged: no other would replace it."""
        best = self.path / BEST
        try:
            if best.exists():
                load(best)
        except CheckpointError as error:
            self._listener.on_note(f"{error.message}; renamed to {DAMAGED}")
            with suppress(OSError):
                os.replace(best, self.path / DAMAGED)

    @on_main
    def read_last(self) -> Checkpoint:
        """The checkpoint to resume from: the last one, or the one before if that is damaged.

        Raises:
            CheckpointError: both are missing or damaged.

        """
        try:
            return load(self.path / LAST, extra=True)
        except CheckpointError as error:
            if not (self.path / PREVIOUS).exists():
                raise
            self._listener.on_note(f"{error.message}; resuming from {PREVIOUS}")
            good = load(self.path / PREVIOUS, extra=True)
            self._distrusted = identity(self.path / LAST)
            return good

    @on_main
    def check_room(self, parameters: int) -> None:
        """Check that the disk has room for the checkpoints of a network of so many parameters.

        Raises:
            SaveError: the disk has less room than that.

        """
        needed = room_needed(parameters)
        disk, there = shutil.disk_usage(self.path), self._size()
        if disk.total and disk.free + there < needed:  # some file systems report 0
            raise SaveError(
                f"{self.path} has room for {disk.free >> 20} MiB, but the checkpoints need about "
                f"{((needed - there) >> 20) + 1}",
                "free some space, or choose an {out} on another disk",
            )

    def _size(self) -> int:
        """Bytes of the checkpoints in the folder; a file with two names counts once."""
        sizes = {}
        for file in (BEST, LAST, PREVIOUS):
            with suppress(OSError):
                found = (self.path / file).stat()
                sizes[found.st_ino] = found.st_size
        return sum(sizes.values())

    @on_main
    def save(self, file: str, checkpoint: Checkpoint) -> bool:
        """Write the file ``BEST`` or ``LAST``; False if that failed, which is noted.

        Raises:
            SaveError: it failed for the third time in a row.

        """
        try:
            self._come_back()
            replace(self.path / file, checkpoint, self._distrusted)
        except (OSError, CheckpointError) as error:
            self._failed[file] += 1
            reason = f"could not save {self.path / file}: {_why(error)}"
            if self._failed[file] >= FAILED_SAVES:
                raise SaveError(f"{reason}; {FAILED_SAVES} in a row, so training stops") from None
            self._listener.on_note(f"{reason}; training continues: free some space")
            return False
        self._failed[file] = 0
        self._known[file] = identity(self.path / file)
        return True

    @on_main
    def owes(self, file: str) -> bool:
        """Whether the newest ``BEST`` or ``LAST`` could not be saved."""
        return self._failed[file] > 0

    @on_main
    def check_saved(self) -> None:
        """Check at the end of a run that the newest checkpoints are saved.

        Raises:
            SaveError: one of them is not.

        """
        for file in (BEST, LAST):
            if self._failed[file]:
                raise SaveError(
                    f"the run is over, but {self.path / file} could not be saved: the file there "
                    "is older"
                )

    def _come_back(self) -> None:
        """Make sure that the folder exists and is ours: it may have been removed or moved.

        Raises:
            OSError: it cannot be created again.

        """
        if self._lock is not None and self._lock.held():
            return
        there = self.path.exists()
        try:
            self._take(self.path)
        except FolderBusyError as error:
            self._move(error.message)
            return
        if any(identity(self.path / file) not in (None, self._known[file]) for file in self._known):
            self._move(f"{self.path} holds another run now")
        elif there:
            self._listener.on_note(f"the lock in {self.path} was removed, and is locked again")
        else:
            self._listener.on_note(f"{self.path} was removed, and is created again")

    def _take(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        lock = Lock(path)
        self.release()
        self._lock = lock

    def _take_first_free(self, paths: Iterator[Path]) -> None:
        for path in filterfalse(holds_run, paths):
            with suppress(FolderBusyError):  # another process that has saved nothing yet
                self._take(path)
                self.path = path
                return

    def _move(self, why: str) -> None:
        """Continue in the first free folder beside the one that is lost."""
        lost = self.path.absolute() if self.path.name in ("", "..") else self.path
        self._take_first_free(islice(numbered(lost), 1, None))
        self._known = dict.fromkeys(self._known)
        self._listener.on_note(f"{why}; this run continues in {self.path}")

    @on_main
    def append_metrics(self, values: dict[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``; if that fails, the line is lost; the run continues."""
        try:
            self._come_back()
            metrics.append(self.path / METRICS, values)
        except OSError as error:
            if not self._failed[METRICS]:  # once, not every few seconds
                self._listener.on_note(f"could not write {METRICS}: {_why(error)}")
            self._failed[METRICS] += 1
            return
        self._failed[METRICS] = 0

    @on_main
    def drop_metrics_after(self, step: int) -> None:
        """Remove what was logged after ``step``: a resumed run logs it again.

        Raises:
            SaveError: the file cannot be written.

        """
        try:
            metrics.drop_after(self.path / METRICS, step)
        except OSError as error:
            raise SaveError(f"cannot write {self.path / METRICS}: {_why(error)}") from None

    @on_main
    def has_result(self, step: int) -> bool:
        """Whether the result of a run that ended after ``step`` is written."""
        return metrics.has_result(self.path / METRICS, step)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def occupied(
    path: Path, listener: Listener, world: World = ALONE, *, or_beside: bool = False
) -> Iterator[RunFolder]:
    """The run folder at ``path``, created if necessary, and locked within the block.

    Raises:
        FolderBusyError, SaveError: as ``RunFolder.hold``.

    """
    folder = RunFolder(path, listener, world)
    try:
        folder.hold(or_beside)
        yield folder
    finally:
        folder.release()


@contextmanager
def new_folder(
    name: str, out: Path | None, listener: Listener, world: World = ALONE
) -> Iterator[RunFolder]:
    """The folder of a new run: ``out``, or a free one under ``./checkpoints``.

    Raises:
        ConfigError: ``out`` holds a run already.
        FolderBusyError, SaveError: as ``RunFolder.hold``, of ``out``.

    """
    path = CHECKPOINTS / name if out is None else out
    with occupied(path, listener, world, or_beside=out is None) as folder:
        folder.check_free()  # another run may have ended there in the meantime
        yield folder
