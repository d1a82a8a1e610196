"""The command line in this process, and the commands and options that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from charrnn.cli.app import app, main

RUN = Path("checkpoints/novel")
BEST = RUN / "best.safetensors"


class Left(NamedTuple):
    """How the program left, and what it wrote to standard output and standard error."""

    code: int
    out: str
    err: str


Call = Callable[..., Left]


def leave(args: Sequence[str], capfd: pytest.CaptureFixture[str]) -> Left:
    """``charrnn args`` in this process."""
    with pytest.raises(SystemExit) as left:
        main(list(args))
    return Left(int(left.value.code or 0), *capfd.readouterr())


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of the program with its name; the program itself has none."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield name, command
        for inner, child in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {inner}".strip(), child)

    return walk("", typer.main.get_command(app))


def options() -> Iterator[tuple[str, str, str]]:
    """Every option: its command, the option as it is typed, and its help."""
    for name, command in commands():
        for param in command.params:
            for option in param.opts:
                if option.startswith("--"):
                    yield name, option, getattr(param, "help", None) or ""


def variables(param: Any) -> tuple[str, ...]:
    """The environment variables that set a parameter of a command; most have one."""
    found = param.envvar or ()
    return (found,) if isinstance(found, str) else tuple(found)


def without_home(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder is missing, or the system does not know the user."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    if how == "unknown":
        monkeypatch.setattr(Path, "home", homeless)
