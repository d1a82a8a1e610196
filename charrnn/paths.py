"""Where things lie: the bundled corpus and checkpoint, the user's own runs, the cache."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from charrnn.errors import CheckpointError, CorpusError

CHECKPOINTS = Path("checkpoints")
CORPUS_NAME = "lipyagi.txt"
SUFFIX = ".safetensors"
BEST, LAST = f"best{SUFFIX}", f"last{SUFFIX}"

_PACKAGE = Path(__file__).resolve().parent


def cache_folder() -> Path:
    """Where encoded corpora and compiled kernels are kept: ``CHARRNN_CACHE``, else the user's.

    Raises:
        OSError: this user has no home, as in some containers.

    """
    named = os.environ.get("CHARRNN_CACHE")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charrnn"
    except RuntimeError:
        reason = "no home folder to keep a cache in: name a folder with CHARRNN_CACHE"
        raise FileNotFoundError(errno.ENOENT, reason) from None


def _bundled(folder: str) -> Path:
    """A folder of bundled files: inside an installed package, beside it in a source tree."""
    inside = _PACKAGE / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def bundled_corpus() -> Path:
    """The corpus that comes with charrnn.

    Raises:
        CorpusError: the installation lacks it.

    """
    path = _bundled("data") / CORPUS_NAME
    if not path.is_file():
        raise CorpusError(f"the bundled corpus is missing at {path}: reinstall charrnn")
    return path


def bundled_checkpoints() -> list[Path]:
    """The checkpoints that come with charrnn, by name."""
    return sorted(_bundled("checkpoints").glob(f"*/{BEST}"))


def own_checkpoints(folder: Path = CHECKPOINTS) -> list[Path]:
    """The checkpoint to use of every run in ``folder`` and its folders, newest first.

    That is the best one, and the last one of a run that was stopped before it had any.
    """
    found = [*_files(folder, BEST)]
    found += [path for path in _files(folder, LAST) if path.with_name(BEST) not in found]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _files(folder: Path, name: str) -> Iterator[Path]:
    return (path for path in (folder / name, *folder.glob(f"*/{name}")) if path.is_file())


def find_checkpoint(path: str | Path | None) -> Path:
    """The checkpoint file that ``path`` (a file, its folder, a run's name or nothing) means.

    Without a path: the newest under ``./checkpoints``, else the bundled one.

    Raises:
        CheckpointError: there is none, or the path is empty.

    """
    if path is None:
        for candidate in [*own_checkpoints(), *bundled_checkpoints()]:
            return candidate
        raise CheckpointError("there is no checkpoint yet: charrnn train makes one")
    if not str(path):  # which would be the current folder
        raise CheckpointError("the checkpoint's path is empty: name a file, a folder or a run")
    with suppress(OSError):  # a name that no file can have
        for candidate in _meant_by(Path(path)):
            if candidate.is_file():
                return candidate
    raise CheckpointError(f"no checkpoint at {path}: charrnn ls shows what there is")


def _meant_by(path: Path) -> Iterator[Path]:
    if path.suffix == SUFFIX:
        yield path
    yield path / BEST
    yield path / LAST  # stopped before anything was the best
    if len(path.parts) == 1:
        yield CHECKPOINTS / path / BEST
        yield CHECKPOINTS / path / LAST
        yield _bundled("checkpoints") / path / BEST
    yield path  # last, for it may be the text that the run of that name was trained on
