"""A run's folder: one trainer at a time, checkpoints, the metrics file."""

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
from charrnn.training.rundir.discovery import PREVIOUS, check_free, holds_run, numbered
from charrnn.training.rundir.lock import Lock
from charrnn.training.rundir.metrics import METRICS
from charrnn.training.rundir.rotation import Identity, identity, replace

DAMAGED = "best.damaged"
UNFITTED = "unfitted_val"  # among the losses in a card: that on validation before the fit
FAILED_SAVES = 3


class RunFolder:
    """``path`` while this process trains into it.

    If the folder is taken away in the middle of a run it is made again; if somebody else has put
    a run there meanwhile, ``path`` becomes a free one beside it.

    In a world of several processes the main one alone touches the disk: every rank calls the same
    methods, and all of them return or raise what the main process's call did.
    """

    def __init__(self, path: Path, listener: Listener, world: World = ALONE) -> None:
        self.path, self.world = path, world
        self._listener = listener
        self._lock: Lock | None = None  # the main process's
        self._failed: Counter[str] = Counter()
        self._known: dict[str, Identity | None] = {}
        self._distrusted: Identity | None = None

    def hold(self, or_beside: bool = False) -> None:
        """Make the folder if need be, and keep other trainers out until ``release``.

        ``or_beside``: rather than be refused, take the first free folder beside it.

        Raises:
            FolderBusyError: another trainer holds it; names its host and process.
            SaveError: it cannot be made or written.

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
            message = f"cannot write to {self.path}: {error.strerror}"
            raise SaveError(message, "choose another {out}") from None
        self._known = {file: identity(self.path / file) for file in (BEST, LAST)}
        sweep_temporaries(self.path)
        return self.path

    def release(self) -> None:
        """Let other trainers in."""
        if self._lock is not None:
            self._lock.release()

    @on_main
    def check_free(self) -> None:
        """``discovery.check_free`` of this folder."""
        check_free(self.path)

    @on_main
    def has(self, file: str) -> bool:
        """Whether ``best`` or ``last`` is there."""
        return (self.path / file).exists()

    @on_main
    def best_val(self) -> float | None:
        """Nats a character on the validation part of the best network there; None if unknown.

        Those before its temperature was fitted, as a run that goes on has not fitted its own yet.
        """
        try:
            losses = load(self.path / BEST).about("losses")
        except CheckpointError:
            return None
        value = losses.get(UNFITTED, losses.get("val"))
        return value if isinstance(value, float) else None

    @on_main
    def read_best(self) -> Checkpoint:
        """The best network there.

        Raises:
            CheckpointError: there is none, or it is damaged.

        """
        return load(self.path / BEST)

    @on_main
    def check_best(self) -> None:
        """Move a best network that cannot be read aside: it would stand in a better one's way."""
        best = self.path / BEST
        try:
            if best.exists():
                load(best)
        except CheckpointError as error:
            self._listener.on_note(f"{error.message}; moved to {DAMAGED}")
            with suppress(OSError):
                os.replace(best, self.path / DAMAGED)

    @on_main
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
            self._listener.on_note(f"{error.message}; going back to {PREVIOUS}")
            good = load(self.path / PREVIOUS, extra=True)
            self._distrusted = identity(self.path / LAST)
            return good

    @on_main
    def check_room(self, parameters: int) -> None:
        """See to it that the disk holds what a run of so many weights keeps and rewrites.

        Raises:
            SaveError: it does not.
        """
        # weights, average and two moments, float32: the old file, the previous one and the new;
        # the weights of the best network; a MiB for the rest
        needed = 4 * parameters * (4 * 3 + 1) + (1 << 20)
        disk, there = shutil.disk_usage(self.path), self._size()
        if disk.total and disk.free + there < needed:  # some file systems do not say
            raise SaveError(
                f"{self.path} has room for {disk.free >> 20} MiB and the checkpoints need about "
                f"{((needed - there) >> 20) + 1}",
                "free some space, or choose an {out} on another disk",
            )

    def _size(self) -> int:
        """Bytes of the checkpoints that are there; one with two names counts once."""
        sizes = {}
        for file in (BEST, LAST, PREVIOUS):
            with suppress(OSError):
                found = (self.path / file).stat()
                sizes[found.st_ino] = found.st_size
        return sum(sizes.values())

    @on_main
    def save(self, file: str, checkpoint: Checkpoint) -> bool:
        """Write ``best`` or ``last``; a failure is said aloud and survived twice in a row.

        Raises:
            SaveError: the third failure in a row.

        """
        try:
            self._come_back()
            replace(self.path / file, checkpoint, self._distrusted)
        except (OSError, CheckpointError) as error:
            self._failed[file] += 1
            reason = f"could not save {self.path / file}: {_why(error)}"
            if self._failed[file] >= FAILED_SAVES:
                raise SaveError(f"{reason}; {FAILED_SAVES} in a row, so training stops") from None
            self._listener.on_note(f"{reason}; training goes on, free some room")
            return False
        self._failed[file] = 0
        self._known[file] = identity(self.path / file)
        return True

    @on_main
    def owes(self, file: str) -> bool:
        """Whether the newest ``best`` or ``last`` could not be saved."""
        return self._failed[file] > 0

    @on_main
    def check_saved(self) -> None:
        """At the end of a run: see to it that no save stands out.

        Raises:
            SaveError: one does.

        """
        for file in (BEST, LAST):
            if self._failed[file]:
                raise SaveError(
                    f"the run is over and {self.path / file} could not be saved: what is there is "
                    "older"
                )

    def _come_back(self) -> None:
        """See to it that the folder is there and ours: people remove folders, and move them.

        Raises:
            OSError: it cannot be made again.

        """
        if self._lock is not None and self._lock.held():
            return
        there = self.path.exists()
        try:
            self._take(self.path)
        except FolderBusyError as error:
            self._move(str(error))
            return
        if any(identity(self.path / file) not in (None, self._known[file]) for file in self._known):
            self._move(f"{self.path} holds another run now")
        elif there:
            self._listener.on_note(f"the lock in {self.path} was removed: taken again")
        else:
            self._listener.on_note(f"{self.path} was removed: made again, and saving there")

    def _take(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        lock = Lock(path)
        self.release()
        self._lock = lock

    def _take_first_free(self, paths: Iterator[Path]) -> None:
        for path in filterfalse(holds_run, paths):
            with suppress(FolderBusyError):  # another trainer, which has saved nothing yet
                self._take(path)
                self.path = path
                return

    def _move(self, why: str) -> None:
        """Go on in the first free folder beside the one that is lost."""
        lost = self.path.absolute() if self.path.name in ("", "..") else self.path
        self._take_first_free(islice(numbered(lost), 1, None))
        self._known = dict.fromkeys(self._known)
        self._listener.on_note(f"{why}; this run goes on in {self.path}")

    @on_main
    def append_metrics(self, values: dict[str, Any]) -> None:
        """A line more in ``metrics.jsonl``; a full disk costs the line, not the run."""
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
    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after ``step``: a resumed run logs it again.

        Raises:
            SaveError: the disk does not let us.

        """
        try:
            metrics.cut(self.path / METRICS, step)
        except OSError as error:
            raise SaveError(f"cannot write {self.path / METRICS}: {_why(error)}") from None

    @on_main
    def has_result(self, step: int) -> bool:
        """Whether a run that ended after ``step`` is finished in every respect."""
        return metrics.has_result(self.path / METRICS, step)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def occupied(
    path: Path, listener: Listener, world: World = ALONE, *, or_beside: bool = False
) -> Iterator[RunFolder]:
    """The run folder at ``path``, made if need be, held against other trainers within the block.

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
    """Where a new run goes: ``out``, else a name under ``./checkpoints`` that nobody uses yet.

    Raises:
        ConfigError: ``out`` holds a run already.
        FolderBusyError, SaveError: as ``RunFolder.hold``, of ``out``.

    """
    path = CHECKPOINTS / name if out is None else out
    with occupied(path, listener, world, or_beside=out is None) as folder:
        folder.check_free()  # another trainer may have come and gone meanwhile
        yield folder
