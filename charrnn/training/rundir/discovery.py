"""Which folder a run is in, or can go into; nothing here makes one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from charrnn.errors import CheckpointError, ConfigError
from charrnn.paths import BEST, CHECKPOINTS, LAST
from charrnn.training.rundir.lock import LOCK, Lock

PREVIOUS = "previous.safetensors"


def holds_run(folder: Path) -> bool:
    """Whether a run has saved something there."""
    return any((folder / file).exists() for file in (BEST, LAST))


def numbered(path: Path) -> Iterator[Path]:
    """``path``, and then those beside it with numbers, without end."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


def check_free(folder: Path) -> None:
    """See to it that a new run in ``folder`` writes over no other.

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


def check_vacant(folder: Path) -> None:
    """``check_free``, and that nobody trains into it now.

    Raises:
        ConfigError: it holds a run, or is a file.
        FolderBusyError: another trainer holds it.

    """
    check_free(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder", "choose another {out}")
    with suppress(OSError):  # what cannot be written is said when it is written
        if (folder / LOCK).exists():
            Lock(folder).release()


def old_folder(name: str | None, out: Path | None) -> Path:
    """The run to resume: ``out``, else the newest under ``./checkpoints`` (called ``name``).

    Raises:
        CheckpointError: there is none.

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
        which = "run to resume" if name is None else f"run called {name}"
        raise CheckpointError(f"no {which} under {CHECKPOINTS}/", "set {out} to its folder")
    return max(runs, key=lambda path: path.stat().st_mtime_ns).parent
