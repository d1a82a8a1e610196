"""Where files are: the bundled corpus and checkpoints, the user's own runs, the cache."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from charrnn.arguments import checked
from charrnn.errors import CheckpointError, CorpusError

CHECKPOINTS = Path("checkpoints")
CORPUS_NAME = "lipyagi.txt"
# the checkpoints that pyproject.toml puts into the package; the first is used without a run
BUNDLED = ("tolstoy", "war-and-peace")
NEARBY = ".charrnn-cache"  # what serves as a cache in or beside a run's folder
SUFFIX = ".safetensors"
BEST, LAST = f"best{SUFFIX}", f"last{SUFFIX}"

_PACKAGE = Path(__file__).resolve().parent


def home_folder() -> Path | None:
    """The user's home folder, or None if there is none, as in some containers."""
    with suppress(RuntimeError):  # the system has no entry for this user
        if (home := Path.home()).is_dir():
            return home
    return None


def cache_folder() -> Path:
    """The folder for encoded corpora and compiled kernels: ``CHARRNN_CACHE``, else the user's own.

    Raises:
        OSError: the user has no home folder.

    """
    if named := os.environ.get("CHARRNN_CACHE"):
        return Path(named)
    if common := os.environ.get("XDG_CACHE_HOME"):
        return Path(common) / "charrnn"
    if (home := home_folder()) is not None:
        return home / ".cache" / "charrnn"
    reason = "there is no home folder for the cache: set CHARRNN_CACHE to a folder"
    raise FileNotFoundError(errno.ENOENT, reason)


def usable_cache() -> Path | None:
    """The folder of the cache if it can be written; the one that ``CHARRNN_CACHE`` names always."""
    if named := os.environ.get("CHARRNN_CACHE"):
        return Path(named)
    try:
        folder = cache_folder()
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    except OSError:  # there is no home folder, or the path is invalid
        return None
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return folder if writable else None


def cache_of_run(out: Path | None) -> Path:
    """Where a run into the folder ``out`` keeps its encoded text; None: a new one's.

    That is the cache, or if it cannot be written a folder in ``out`` or beside it.
    """
    if (usual := usable_cache()) is not None:
        return usual
    beside = CHECKPOINTS / NEARBY if out is None else out.parent / NEARBY
    return beside if out is None or beside.is_dir() else out / NEARBY


def caches(run: Path | None) -> Iterator[Path]:
    """Where the encoded text of the run in the folder ``run`` may be."""
    with suppress(OSError):
        yield cache_folder()
    if run is not None:
        yield from (run.parent / NEARBY, run / NEARBY)


def _bundled(folder: str) -> Path:
    """A folder of bundled files: inside an installed package, beside the package in a checkout."""
    inside = _PACKAGE / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def bundled_corpus() -> Path:
    """The corpus that comes with charrnn.

    Raises:
        CorpusError: it is missing from this installation.

    """
    path = _bundled("data") / CORPUS_NAME
    if not path.is_file():
        raise CorpusError(f"the bundled corpus is missing at {path}: reinstall charrnn")
    return path


def bundled_checkpoints() -> list[Path]:
    """The checkpoints that come with charrnn, the default first.

    Only those: in a checkout, the runs of whoever works there are in the same folder.
    """
    folder = _bundled("checkpoints")
    return [path for name in BUNDLED if (path := folder / name / BEST).is_file()]


def own_checkpoints(folder: str | Path = CHECKPOINTS) -> list[Path]:
    """The checkpoint to use of each run in ``folder`` and its subfolders, newest first.

    It is the run's best checkpoint, or its last one if the run was stopped before it had a best.
    The bundled checkpoints, which a checkout has in such a folder, are nobody's run.
    """
    folder = Path(folder)
    found = [*_files(folder, BEST)]
    found += [path for path in _files(folder, LAST) if path.with_name(BEST) not in found]
    bundled = {path.resolve() for path in bundled_checkpoints()}
    own = [path for path in found if path.resolve() not in bundled]
    return sorted(own, key=lambda path: path.stat().st_mtime_ns, reverse=True)


@checked
def list_checkpoints(folder: str | Path = CHECKPOINTS) -> list[Path]:
    """The checkpoints of the runs in ``folder``, newest first, followed by the bundled ones."""
    return own_checkpoints(folder) + bundled_checkpoints()


def _files(folder: Path, name: str) -> Iterator[Path]:
    return (path for path in (folder / name, *folder.glob(f"*/{name}")) if path.is_file())


def find_checkpoint(path: str | Path | None) -> Path:
    """The checkpoint file for ``path``: a file, its folder or the name of a run.

    None means the newest one under ``./checkpoints``, else the first bundled one.

    Raises:
        CheckpointError: there is no such checkpoint, or the path is empty.

    """
    if path is None:
        for candidate in list_checkpoints():
            return candidate
        raise CheckpointError("there is no checkpoint yet", "make one with {train()}")
    if not str(path):  # it would mean the current folder
        raise CheckpointError("the checkpoint's path is empty: name a file, a folder or a run")
    with suppress(OSError):  # not a valid file name
        for candidate in _meant_by(Path(path)):
            if candidate.is_file():
                return candidate
    message = f"no checkpoint at {path}{near(Path(path))}"
    raise CheckpointError(message, "{list_checkpoints()} lists the checkpoints")


def near(path: Path) -> str:
    """Ask in parentheses for a run or bundled checkpoint of a name like ``path``; "" if none."""
    import difflib  # not needed unless something is wrong

    if len(path.parts) != 1:
        return ""
    names: list[str] = []
    with suppress(OSError):  # a run that is removed meanwhile
        names = [found.parent.name for found in list_checkpoints()]
    found = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def _meant_by(path: Path) -> Iterator[Path]:
    if path.suffix == SUFFIX:
        yield path
    yield path / BEST
    yield path / LAST  # the run was stopped before it had a best checkpoint
    if len(path.parts) == 1:
        yield CHECKPOINTS / path / BEST
        yield CHECKPOINTS / path / LAST
        yield from (found for found in bundled_checkpoints() if found.parent.name == str(path))
    yield path  # last, because it may be the text that the run of that name was trained on
