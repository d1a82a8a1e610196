"""Which folder holds a run, and which a new one can use; nothing here creates a folder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from charrnn.atomic_io import check_folder
from charrnn.checkpoint.file import load
from charrnn.errors import CheckpointError, ConfigError, SaveError, os_reason
from charrnn.paths import BEST, CHECKPOINTS, LAST
from charrnn.training.rundir.lock import LOCK, Lock

PREVIOUS = "previous.safetensors"
LAUNCH = "launch"  # the key, in a last checkpoint, of what started the run


def holds_run(folder: Path) -> bool:
    """Whether a run has saved a checkpoint in ``folder``."""
    return any((folder / file).exists() for file in (BEST, LAST))


def numbered(path: Path) -> Iterator[Path]:
    """``path``, then ``path-2``, ``path-3`` and so on, without end."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


def vacant(path: Path) -> Path:
    """The first of ``numbered(path)`` that holds no run, where a new one will be kept."""
    return next(itertools.filterfalse(holds_run, numbered(path)))


def check_free(folder: Path) -> None:
    """Check that a new run in ``folder`` would overwrite no other.

    Raises:
        ConfigError: it would.

    """
    if not holds_run(folder):
        return
    message = f"{folder} holds a run"
    if _resumable(folder):
        hint = "continue it with {resume}, or choose another {out}"
        raise ConfigError(message, hint, resume=True)
    hint = "start from it with {start_from}, or choose another {out}"
    raise ConfigError(message, hint, start_from=folder)


def _resumable(folder: Path) -> bool:
    return any((folder / file).exists() for file in (LAST, PREVIOUS))


def check_vacant(out: Path | None) -> None:
    """Check before any work that a new run can begin in ``out`` (None: under ``./checkpoints``).

    Raises:
        ConfigError: it holds a run, or is a file.
        FolderBusyError: another process is training into it.
        SaveError: nothing can be written there.

    """
    folder = CHECKPOINTS if out is None else out
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder", "choose another {out}")
        if out is not None:
            check_free(out)
            if (out / LOCK).exists():
                Lock(out).release()
        check_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from None


def unwritable(folder: Path, error: OSError) -> SaveError:
    """What to raise if ``folder`` cannot be created or written."""
    message = f"cannot write to {folder}: {os_reason(error)}"
    return SaveError(message, "choose another {out}")


def begun_by(launch: str | None, out: Path | None) -> Path | None:
    """Where the run is that ``launch`` has begun: in ``out``, or anywhere under ``./checkpoints``.

    None if it has saved nothing yet.
    """
    places = CHECKPOINTS.glob("*") if out is None else (out,)
    files = [
        path for place in places for file in (LAST, PREVIOUS) if (path := place / file).exists()
    ]
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        with suppress(CheckpointError):
            if launch is not None and load(path).about("resume").get(LAUNCH) == launch:
                return path.parent
    return None


def old_folder(name: str | None, out: Path | None) -> Path:
    """The run to resume: ``out``, or the newest one (named ``name``) under ``./checkpoints``.

    Raises:
        CheckpointError: no run was found.

    """
    if out is not None:
        if _resumable(out):
            return out
        message = f"{out} holds no run to resume"
        if holds_run(out):
            raise CheckpointError(message, "start a new one with {start_from}", start_from=out)
        raise CheckpointError(message, "omit {resume}")
    pattern = re.compile(r".*" if name is None else re.escape(name) + r"(-\d+)?")
    runs = [
        path
        for file in (LAST, PREVIOUS)
        for path in CHECKPOINTS.glob(f"*/{file}")
        if pattern.fullmatch(path.parent.name)
    ]
    if not runs:
        which = "run to resume" if name is None else f"run named {name}"
        raise CheckpointError(f"no {which} under {CHECKPOINTS}/", "set {out} to its folder")
    return max(runs, key=lambda path: path.stat().st_mtime_ns).parent
