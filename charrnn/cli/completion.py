"""Shell completion: the script that a shell loads, printed or installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.completion import (  # type: ignore[attr-defined]  # it has them from a private module
    Shells,
    completion_init,
    get_completion_script,
    install,
)

from charrnn.errors import ConfigError
from charrnn.paths import home_folder

PROGRAM, VARIABLE = "charrnn", "_CHARRNN_COMPLETE"
SHELLS = tuple(shell.value for shell in Shells)
INSTALL, SHOW = "--install-completion", "--show-completion"


def with_shell(args: list[str]) -> list[str]:
    """``args`` with an empty shell after a bare ``--show-completion`` or ``--install-completion``.

    It stands for the current shell.
    """
    bare = args[:1] in ([INSTALL], [SHOW]) and (len(args) == 1 or args[1].startswith("-"))
    return [*args[:1], "", *args[1:]] if bare else args


def show(ctx: typer.Context, value: str | None) -> None:
    """Print the script for the shell ``value``."""
    if value is not None and not ctx.resilient_parsing:
        shell = _shell(value, SHOW)
        print(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell))
        raise typer.Exit


def set_up(ctx: typer.Context, value: str | None) -> None:
    """Install the script for the shell ``value`` where it looks for such scripts.

    Raises:
        ConfigError: the user has no home folder.

    """
    from charrnn.console import note

    if value is not None and not ctx.resilient_parsing:
        shell = _shell(value, INSTALL)
        if home_folder() is None:
            raise ConfigError(
                "there is no home folder to install completion in: load in your shell what "
                f"charrnn {SHOW} {shell} prints"
            )
        _, path = install(shell, PROGRAM, VARIABLE)
        note(f"completion is installed in {path}; it works in the next shell that you open")
        raise typer.Exit


def option(flag: str, act: Callable[..., None], help: str) -> Any:
    """An option of the program whose value, the shell, may be missing (``with_shell``)."""
    completion_init()  # the shells ask for completions in a variable
    return typer.Option(
        None,
        flag,
        callback=act,
        is_eager=True,
        metavar="[SHELL]",
        autocompletion=lambda: list(SHELLS),
        help=f"{help} SHELL is {', '.join(SHELLS[:-1])} or {SHELLS[-1]}; default: the current one.",
    )


def _shell(named: str, flag: str) -> str:
    """The shell called ``named``; if that is empty, the current one.

    Raises:
        ConfigError: it cannot be told, or there is no completion for it.

    """
    shell = named or _current()
    if not shell:
        raise ConfigError(f"cannot tell which shell this is: name it, as in charrnn {flag} bash")
    if shell not in SHELLS:
        raise ConfigError(f"there is no completion for {shell!r}, only for {', '.join(SHELLS)}")
    return shell


def _current() -> str:
    """The shell that started the program; empty if it cannot be found."""
    import shellingham

    try:
        return str(shellingham.detect_shell()[0])
    except (shellingham.ShellDetectionFailure, OSError):
        return ""
