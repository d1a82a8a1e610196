"""How a checkpoint takes the place of an older one: at no moment is there only a damaged file."""

from __future__ import annotations

import os
from pathlib import Path

from charrnn.atomic_io import sync_folder, temporary_beside
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.paths import LAST
from charrnn.training.rundir.discovery import PREVIOUS

Identity = tuple[int, int, int]  # device, inode, time of the last change in nanoseconds


def identity(path: Path) -> Identity | None:
    """What identifies the file at ``path``, or None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def replace(path: Path, checkpoint: Checkpoint, distrusted: Identity | None = None) -> None:
    """Write beside ``path``, sync and read back; only then does an older file lose its name.

    An older last checkpoint becomes the previous one, unless it is ``distrusted``: one that could
    not be read.

    Raises:
        CheckpointError: what was written cannot be read.
        OSError: it could not be written.

    """
    with temporary_beside(path) as staged:
        checkpoint.save(staged)
        load(staged)
        if path.name == LAST:
            _keep_previous(path, distrusted)
        os.replace(staged, path)
        sync_folder(path.parent)


def _keep_previous(last: Path, distrusted: Identity | None) -> None:
    """Give the last checkpoint a second name, so that one damaged file is never the only one."""
    # a damaged file must not replace the good one
    if identity(last) in (None, distrusted):
        return
    previous = last.with_name(PREVIOUS)
    with temporary_beside(previous) as link:
        try:
            os.link(last, link)
        except OSError:  # a file system without hard links
            os.replace(last, previous)
            return
        os.replace(link, previous)
