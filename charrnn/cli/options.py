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
from typer.core import TyperCommand

from charrnn.errors import ConfigError, CorpusError, UnknownCharacterError, UserError

DEVICE_BYTES = 1 << 20  # that a device may give before it counts as endless


class Command(TyperCommand):
    """A command whose complaints name the variables that set its options: nobody sees those."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run it."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            variables = [p.envvar for p in self.params if _is_from_environment(ctx, p)]
            if variables:
                error.add_note(f"set in the environment: {', '.join(map(str, variables))}")
            raise


def _is_from_environment(ctx: typer.Context, param: Any) -> bool:
    source = ctx.get_parameter_source(param.name)
    return source is not None and source.name == "ENVIRONMENT"


def whole_variable(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """What may be repeated on the command line is one text in a variable, spaces and all."""
    variable = str(param.envvar)
    return [os.environ[variable]] if _is_from_environment(ctx, param) else value


def path(text: str) -> Path:
    """A path; an empty one, which would be the current folder, is a slip."""
    if not text:
        raise typer.BadParameter("the path is empty.")
    return Path(text)


PATH = {"parser": path, "metavar": "PATH"}
_PATHS = ("--out", "--prime-file", "--model")


def option(default: Any, name: str, *more: str, help: str, **settings: Any) -> Any:
    """An option ``--name`` that ``CHARRNN_NAME`` sets where the flag does not."""
    variable = "CHARRNN_" + name.split("/")[0].removeprefix("--").upper().replace("-", "_")
    settings |= PATH if name in _PATHS else {}
    return typer.Option(default, name, *more, help=help, envvar=variable, **settings)


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
)
UNKNOWN = option(
    "error",
    "--unknown",
    help="Characters the vocabulary lacks; replace puts a space, if it has one.",
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
        ConfigError: it is not a time.

    """
    if text is None:
        return None
    compact = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d*)?", compact):
        return float(compact)
    if not _DURATION.fullmatch(compact):
        raise ConfigError(f"--time {text!r} is not a time: write 90s, 10m or 1h30m")
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)([hms])", compact))


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
        error.args = (titled(text, str(error)),)
        raise


def titled(name: str, message: str) -> str:
    """What is said about the text ``name``, if it has one."""
    return f"{name}: {message}" if name else message
