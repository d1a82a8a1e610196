"""The program: its commands, and how errors become messages and exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

import charrnn
from charrnn.atomic_io import FULL, remove_temporary_folders
from charrnn.cli import completion
from charrnn.cli.command import Command, Stopped, naming_context
from charrnn.cli.usage import explain
from charrnn.errors import CharRNNError, UserError, is_out_of_memory, os_message
from charrnn.interrupts import SIGNALS, own_process
from charrnn.outlet import whole
from charrnn.training.distributed import is_launched, is_said_by_main

SIGINT_EXIT, PIPE_EXIT = 130, 141
TO_STDOUT = "cannot write to standard output"
# how to get what an installation may lack
INSTALL = {
    "torch": "pip install torch",
    "matplotlib": "pip install 'charrnn-cli[plot]'",
    "onnx": "pip install 'charrnn-cli[onnx]'",
}
STOPPED = {128 + signum for signum in SIGNALS}

# each with a summary short enough for a terminal of 60 columns
COMMANDS = {
    "train": "Train on a text and keep the best network.",
    "sample": "Generate text in the style of a corpus.",
    "fill": "Fill the gaps in a text.",
    "score": "Score how well a checkpoint predicts a text.",
    "next": "List the likeliest next characters.",
    "likely": "List the most probable records, best first.",
    "info": "Describe a checkpoint.",
    "ls": "List all checkpoints.",
    "insight": "Make a page of what a network learned.",
    "plot": "Draw the learning curves of runs.",
    "export": "Write a model for use elsewhere.",
    "lab": "Run the experiments of the lecture notes.",
    "bench": "Measure the speed of this machine.",
    "data": "Download corpora to train on.",
}

IN_SEVERAL = "train"  # the command that several processes can run together


class Loader(Mapping[str, Any]):
    """The commands by name. Each is imported when it is looked up: none waits for the others.

    The command NAME is the function NAME of ``charrnn.cli.NAME``, a group of commands its ``app``.
    """

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _load(name: str) -> Any:
    module = importlib.import_module(f"charrnn.cli.{name}")
    group: typer.Typer | None = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False, rich_markup_mode=None)
        group.command(name, cls=Command)(getattr(module, name))
    return typer.main.get_command(group)


class Program(TyperGroup):
    """``charrnn`` itself, whose commands are loaded one by one."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Loader()  # type: ignore[assignment]  # nobody adds to it

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments up to the name of the command."""
        with naming_context(ctx):
            return super().parse_args(ctx, completion.with_shell(args))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that ``args`` begin with.

        Raises:
            UserError: torchrun has started several processes, which would all do its work.

        """
        found = super().resolve_command(ctx, args)
        if is_launched() and found[0] != IN_SEVERAL:
            raise UserError(
                f"torchrun starts several processes, and charrnn {found[0]} runs in one: start it "
                f"without torchrun, which is for charrnn {IN_SEVERAL}"
            )
        return found

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    name="charrnn",
    cls=Program,
    help="Train a character-level recurrent network on a text, and generate more of it.",
    rich_markup_mode=None,  # rich would double the time to --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,  # ours takes the name of a shell
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"charrnn {charrnn.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
    install_completion: str = completion.option(
        completion.INSTALL, completion.set_up, "Install completion for a shell."
    ),
    show_completion: str = completion.option(
        completion.SHOW, completion.show, "Print the completion script for a shell."
    ),
) -> None:
    """Train a character-level recurrent network on a text, and generate more of it."""


def main(args: list[str] | None = None) -> None:
    """Run the program and exit with its code."""
    if args is None:
        own_process()
    _replace_closed_streams()
    if args is None:
        sys.stdout, sys.stderr = whole(sys.stdout), whole(sys.stderr)
    _speak_utf8()
    try:
        code = _flushed(_run(args))
    except KeyboardInterrupt:  # somebody waited for a reader
        code = SIGINT_EXIT
    if code and args is None:
        # nothing is left to do, and nobody may ever read what is left in the buffer of stdout;
        # unloading torch takes time in which another signal could strike
        remove_temporary_folders()
        os._exit(code)
    if code == PIPE_EXIT:
        _let_go(sys.stdout)
    sys.exit(code)


def _flushed(code: int) -> int:
    """Write what is left in the buffers; returns the exit code, ``code`` unless that fails."""
    if code in STOPPED:
        return code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = PIPE_EXIT
    except OSError as error:
        code = code or _fail(os_message(error, TO_STDOUT), 1)
    try:
        sys.stderr.flush()
    except OSError:
        _let_go(sys.stderr)
    return code


def _let_go(stream: TextIO) -> None:
    """Discard what is left in the buffer of ``stream``, so that it causes no error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(args: list[str] | None) -> int:
    streams = sys.stdout, sys.stderr
    try:
        result: Any = app(args, prog_name="charrnn", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except typer.TyperException as error:
        return _usage(error)
    except (typer.Abort, KeyboardInterrupt):
        return SIGINT_EXIT
    except BrokenPipeError:
        return PIPE_EXIT
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        sys.stdout, sys.stderr = streams  # typer has wrapped them, and would exit with 1
        return PIPE_EXIT
    except Exception as error:
        if os.environ.get("CHARRNN_DEBUG") == "1":
            _trace()
        return _report(error)


def _usage(error: typer.TyperException) -> int:
    if is_said_by_main(error):
        return error.exit_code
    text = explain(error)
    if text.startswith("Usage: "):  # a group without a command
        with suppress(OSError):
            sys.stderr.write(text + "\n")
        return error.exit_code
    return _fail(text, error.exit_code)


def _report(error: Exception) -> int:
    if isinstance(error, Stopped):
        code = error.signal.exit_code
        return code if is_said_by_main(error.signal) else _fail(str(error.signal), code)
    if isinstance(error, CharRNNError):
        if is_said_by_main(error):
            return error.exit_code
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        return _fail(f"{error}{notes}", error.exit_code)
    if isinstance(error, ModuleNotFoundError) and error.name in INSTALL:
        name = error.name
        return _fail(f"this needs {name}, which is not installed: {INSTALL[name]}", 1)
    if isinstance(error, OSError):
        path = TO_STDOUT if error.errno in (*FULL, errno.EBADF) else ""
        return _fail(os_message(error, path), 1)
    if is_out_of_memory(error):
        return _fail("out of memory: train with a smaller --size, --batch or --window", 1)
    kind = type(error).__name__
    return _fail(f"{kind}: {error} (a bug: CHARRNN_DEBUG=1 shows where)", 1)


def _trace() -> None:
    import traceback

    from charrnn.console import harmless

    with suppress(OSError):
        sys.stderr.write(harmless(traceback.format_exc()))  # it quotes files and arguments


def _fail(text: str, code: int) -> int:
    from charrnn.console import note

    note(text)
    return code


def _replace_closed_streams() -> None:
    """Open the null device for closed streams (``>&-``), lest a file take their numbers.

    Reading from a closed stdin or writing to a closed stdout still fails: the device is opened in
    the other direction. Notes for a closed stderr are discarded.
    """
    streams = (
        ("stdin", "r", os.O_WRONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    )
    for name, mode, flags in streams:
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode))  # noqa: SIM115


def _speak_utf8() -> None:
    """Use UTF-8 on stdout and stderr, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
