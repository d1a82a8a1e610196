"""What several commands share: options with an environment variable each, and how values read."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import typer

from charrnn.cli.command import is_from_environment
from charrnn.errors import ConfigError, CorpusError, UnknownCharacterError
from charrnn.paths import bundled_checkpoints, own_checkpoints

DEVICE_BYTES = 1 << 20  # that a device may give before it counts as endless


def whole_variable(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """What may be repeated on the command line is one text in a variable, spaces and all."""
    variable = str(param.envvar)
    return [os.environ[variable]] if is_from_environment(ctx, param) else value


def path(text: str) -> Path:
    """A path; an empty one, which would be the current folder, is a slip."""
    if not text:
        raise typer.BadParameter("the path is empty.")
    return Path(text)


PATH = {"parser": path, "metavar": "PATH"}
_PATHS = ("--out", "--prime-file", "--model", "--corpus")
_CHECKPOINTS = ("--from", "--model")


def runs(incomplete: str) -> list[str]:
    """Names of checkpoints that begin so, for a shell to complete: the user's own, the bundled."""
    found = [path.parent.name for path in (*own_checkpoints(), *bundled_checkpoints())]
    # others would need quotes, which typer does not set: a shell would run what is in them
    plain = [name for name in found if re.fullmatch(r"[\w.][\w.-]*", name)]
    return [name for name in dict.fromkeys(plain) if name.startswith(incomplete)]


def option(
    default: Any, name: str, *more: str, help: str, variable: str = "", **settings: Any
) -> Any:
    """An option ``--name`` that ``CHARRNN_NAME`` sets where the flag does not.

    Args:
        default: what holds where neither does.
        name: the flag; ``--on/--off`` for a switch that has two.
        more: other names.
        help: its meaning.
        variable: NAME, where another command's option of that name means something else.
        settings: further ones of ``typer.Option``.

    """
    variable = variable or name.split("/")[0].removeprefix("--").upper().replace("-", "_")
    settings |= PATH if name in _PATHS else {}
    settings |= {"autocompletion": runs} if name in _CHECKPOINTS else {}
    return typer.Option(default, name, *more, help=help, envvar=f"CHARRNN_{variable}", **settings)


def flag(name: str, *, help: str, short: str = "") -> Any:
    """A switch that is off unless it is named."""
    names = [short] if short else []
    return option(False, name, *names, help=help)


JSON = flag("--json", help="Print JSON.")
CHECKPOINT = typer.Argument(
    None,
    help="A checkpoint, its folder or a run's name. Default: the newest under ./checkpoints, "
    "else the bundled one.",
    parser=path,
    metavar="CHECKPOINT",
    autocompletion=runs,
)
UNKNOWN = option(
    "error",
    "--unknown",
    help="What becomes of characters the vocabulary lacks: error refuses the text, skip leaves "
    "them out, replace puts a space, if it has one.",
)
ENCODING = option(
    None, "--encoding", help="How a text that is read is encoded. Default: as the model's corpus."
)
THREADS = option(None, "--threads", min=1, max=1024, help="Threads. Default: all cores.")

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?[hms])+")


def seconds(text: str | None) -> float | None:
    """``90``, ``90s``, ``10m``, ``1h30m`` in seconds.

    Raises:
        ConfigError: it is not a time, or none at all.

    """
    if text is None:
        return None
    compact = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d*)?", compact):
        compact += "s"
    if not _DURATION.fullmatch(compact):
        raise ConfigError(f"--time {text!r} is not a time: write 90s, 10m or 1h30m")
    parts = re.findall(r"([\d.]+)([hms])", compact)
    whole = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not whole:
        raise ConfigError(f"--time is {text}: it must be above 0")
    return whole


def read_text(path: str | Path) -> bytes:
    """The bytes of a text; ``-`` is standard input.

    Raises:
        CorpusError: it cannot be read, or never ends.

    """
    if str(path) == "-":
        return _whole(sys.stdin.buffer, "standard input")
    if not str(path):
        raise CorpusError("the text's path is empty: name a file, or - for standard input")
    try:
        with open(path, "rb") as file:
            return _whole(file, str(path))
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from None


def _whole(file: IO[bytes], name: str) -> bytes:
    if not _is_device(file):
        return file.read()
    text = file.read(DEVICE_BYTES + 1)
    if len(text) > DEVICE_BYTES:
        raise CorpusError(f"{name} is a device that may never end: take a part of it with head -c")
    return text


def _is_device(file: IO[bytes]) -> bool:
    """Whether ``file`` is something like ``/dev/zero``, not a terminal, where somebody types."""
    try:
        return stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty()
    except (OSError, ValueError):  # not a file of the system's
        return False


@contextmanager
def naming(text: str) -> Iterator[None]:
    """Within this block, errors about a text are ``titled`` with its name."""
    try:
        yield
    except (CorpusError, UnknownCharacterError) as error:
        error.args = (titled(text, error.message),)
        raise


def titled(name: str, message: str) -> str:
    """What is said about the text ``name``, if it has one."""
    return f"{name}: {message}" if name else message
