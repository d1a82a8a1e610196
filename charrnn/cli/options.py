"""What several commands share: options with an environment variable each, and how values read."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer

from charrnn.errors import ConfigError, CorpusError


def option(default: Any, name: str, *more: str, help: str, **settings: Any) -> Any:
    """An option ``--name`` that ``CHARRNN_NAME`` sets where the flag does not."""
    variable = "CHARRNN_" + name.split("/")[0].removeprefix("--").upper().replace("-", "_")
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
    metavar="[CHECKPOINT]",
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
        CorpusError: it cannot be read.

    """
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from None


def draw_seed() -> int:
    """A fresh seed, short enough to be typed again."""
    import secrets

    return secrets.randbelow(2**31)
