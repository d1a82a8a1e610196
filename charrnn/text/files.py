"""The files of a corpus: those that are named, those in folders, those that match a pattern.

Files are read in the order in which they, their folders and their patterns are named; within a
folder or a pattern, sorted by path, folder by folder: ``a/z.txt``, ``a.txt``, ``b.txt``. Characters
are ordered by code point, so it is the same order on every machine.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import CorpusError, os_reason

STDIN = "-"
MOST_NAMES = 5000  # characters of file names in the name of a corpus
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Found:
    """A file of a corpus.

    Attributes:
        path: where it is.
        name: its name for the user.
        listed: whether it was found in a folder or by a pattern, and not named itself.

    """

    path: Path
    name: str
    listed: bool = False


def find_files(path: str | Path) -> list[Found]:
    """The files that ``path`` means: itself, or what is in the folder or matches the pattern.

    Hidden files and folders are omitted unless they are named, and so are pipes and devices. Links
    to folders are not followed.

    Raises:
        CorpusError: there are none, or a folder cannot be read.

    """
    if not str(path):
        raise CorpusError("the path of the text is empty: name a file, or - for standard input")
    if is_pattern(path):
        base, pattern = _taken_apart(path)
        return _listed(base, _matching(base, pattern), f"no file matches {path}")
    path = Path(path)
    if not os.path.isdir(path):
        return [Found(path, path.name)]
    return _listed(path, _inside(path), f"the folder {path} has no files")


def is_pattern(path: str | Path) -> bool:
    """Whether ``path`` is a pattern such as ``books/**/*.txt``, and not the name of a file."""
    with suppress(OSError, ValueError):
        return bool(_MAGIC.search(str(path))) and not os.path.lexists(path)
    return False


def names(paths: Sequence[str | Path]) -> str:
    """The name of a corpus after its files; if there are very many, after the first."""
    parts = [_name(path) for path in paths]
    shown, room = list(parts[:1]), MOST_NAMES
    for part in parts[1:]:
        room -= len(part)
        if room < 0:
            return " + ".join([*shown, f"{len(parts) - len(shown)} more"])
        shown.append(part)
    return " + ".join(shown)


def _name(path: str | Path) -> str:
    """The last part of a path; of a pattern all from its last plain folder on."""
    if str(path) == STDIN:
        return "standard input"
    if is_pattern(path):
        base, pattern = _taken_apart(path)
        return str(Path(base.name) / pattern)
    return Path(path).name or Path(path).resolve().name


def _taken_apart(path: str | Path) -> tuple[Path, str]:
    """The plain folder that a pattern begins with, and the rest of it."""
    parts = Path(path).parts
    first = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    rest = [*parts[first:], "*"] if parts[-1] == "**" else parts[first:]
    return Path(*parts[:first]), str(Path(*rest))


def _matching(base: Path, pattern: str) -> Iterator[Path]:
    wants_hidden = any(part.startswith(".") for part in Path(pattern).parts)
    try:
        for path in base.glob(pattern):
            if wants_hidden or not _is_hidden(path.relative_to(base)):
                yield path
    except (ValueError, NotImplementedError) as error:
        raise CorpusError(f"{pattern} is not a pattern: {error}") from None
    except OSError as error:
        raise CorpusError(f"cannot read {base}: {os_reason(error)}") from None


def _inside(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise CorpusError(f"cannot read {error.filename}: {os_reason(error)}") from None

    for where, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where, name) for name in files if not name.startswith("."))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_file(path: Path) -> bool:
    """Whether it is a file, or may be one: whoever reads it is told what is wrong with it."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:  # a link to nothing
        return False
    except OSError:
        return True


def _listed(base: Path, paths: Iterator[Path], if_none: str) -> list[Found]:
    found = sorted({path for path in paths if _is_file(path)}, key=lambda path: path.parts)
    if not found:
        raise CorpusError(if_none, "name a text file")
    above = base.parent if base.name else base
    return [Found(path, str(path.relative_to(above)), listed=True) for path in found]
