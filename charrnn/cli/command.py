"""A command of the program: its help page, and errors that name options as they are typed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand

from charrnn.errors import CharRNNError, ConfigError, Interrupted, UserError
from charrnn.settings import Option

_COMMANDS = {"list_checkpoints": "ls"}  # functions whose command has another name
_UNBROKEN = "\xa0"  # a space at which no line breaks; the page gets plain ones
_NARROW, _NARROW_COLUMN, _COLUMN = 70, 18, 30


class Stopped(Exception):
    """Carries an ``Interrupted`` through typer, which keeps a KeyboardInterrupt for itself."""

    def __init__(self, signal: Interrupted) -> None:
        super().__init__(signal)
        self.signal = signal


@contextmanager
def naming_context(ctx: typer.Context) -> Iterator[None]:
    """Put the command into complaints about its arguments that do not name it."""
    try:
        yield
    except typer.TyperException as error:
        if getattr(error, "ctx", ctx) is None:
            error.ctx = ctx  # type: ignore[attr-defined]
        raise


class Command(TyperCommand):
    """A command whose errors name its options, and the environment variables that set them."""

    @property
    def options(self) -> dict[str, Option]:
        """Its declared options by their Python names."""
        return options_of(self.callback)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse its arguments."""
        with naming_context(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command.

        Raises:
            Stopped: instead of ``Interrupted``.

        """
        overruled = self._prefer_flags(ctx)
        try:
            self._check_needs(ctx)
            return super().invoke(ctx)
        except Interrupted as signal:
            signal.style = OptionStyle(self.options)
            raise Stopped(signal) from signal
        except CharRNNError as error:
            error.style = OptionStyle(self.options)
            given = [p for p in self.params if is_from_environment(ctx, p)]
            variables = [variable_of(p) for p in given if p.name not in overruled]
            if variables and isinstance(error, UserError):
                error.add_note(f"set in the environment: {', '.join(variables)}")
            raise

    def _prefer_flags(self, ctx: typer.Context) -> set[str]:
        """Ignore the variables of options that a typed option excludes; return their names."""
        typed = {str(p.name) for p in self.params if _is_typed(ctx, p)}
        overruled = {
            str(param.name)
            for param in self.params
            if is_from_environment(ctx, param) and typed & self._rivals(str(param.name))
        }
        ctx.params.update(dict.fromkeys(overruled))  # as if they were not given
        return overruled

    def _check_needs(self, ctx: typer.Context) -> None:
        """Check that no typed option does nothing because another is missing.

        Raises:
            ConfigError: one does.

        """
        for param in self.params:
            needs = self.options[str(param.name)].needs if param.name in self.options else ()
            if needs and _is_typed(ctx, param) and not any(map(ctx.params.get, needs)):
                needed = " or ".join(self.options[other].flag for other in needs)
                raise ConfigError(f"needs {needed}", setting=str(param.name))

    def _rivals(self, name: str) -> set[str]:
        """The options that exclude ``name`` or are excluded by it."""
        own = self.options[name].excludes if name in self.options else ()
        return {*own, *(other for other, o in self.options.items() if name in o.excludes)}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the tables of arguments and options; ``[env var: X; …]`` breaks after a ``;``."""
        column = _NARROW_COLUMN if formatter.width < _NARROW else _COLUMN
        for title in ("Arguments", "Options"):
            params = [p for p in self.get_params(ctx) if f"{p.param_type_name}s" == title.lower()]
            records = filter(None, (self._record(ctx, param) for param in params))
            rows = [(name, _unbroken(text)) for name, text in records]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=column)
        formatter.buffer = [text.replace(_UNBROKEN, " ") for text in formatter.buffer]

    def _record(self, ctx: Any, param: Any) -> tuple[str, str] | None:
        """Names and help of ``param``, with the range of its values."""
        record: tuple[str, str] | None = param.get_help_record(ctx)
        limits = self.options[param.name].limits if param.name in self.options else ""
        if record and limits:
            return record[0], f"{record[1].removesuffix(']')}; {limits}]"
        return record


class OptionStyle:
    """Settings as ``options``, calls as commands."""

    def __init__(self, options: Mapping[str, Option]) -> None:
        self._flags = {name: option.flag for name, option in options.items()}

    def setting(self, name: str, value: object = None) -> str:
        """``--lr``, or ``--lr 0.001``; the name itself where there is no such option."""
        return self._flags.get(name, name) if value is None else shlex.join(self._set(name, value))

    def call(self, function: str, arguments: Mapping[str, object]) -> str:
        """``charrnn train --resume``."""
        words = [word for name, value in arguments.items() for word in self._set(name, value)]
        return shlex.join(["charrnn", _COMMANDS.get(function, function), *words])

    def _set(self, name: str, value: object) -> list[str]:
        """The words that give a setting a value."""
        flag = self._flags.get(name, "--" + name.replace("_", "-"))
        return [flag] if value is True else [flag, str(value)]


def options_of(command: Any) -> dict[str, Option]:
    """The options of a command's function (``charrnn.cli.options.takes``), by Python names."""
    options: dict[str, Option] = getattr(command, "options", {})
    return options


def is_from_environment(ctx: typer.Context, param: Any) -> bool:
    """Whether an environment variable set ``param``."""
    source = ctx.get_parameter_source(param.name)
    return source is not None and source.name == "ENVIRONMENT"


def variable_of(param: Any) -> str:
    """The environment variable that sets ``param``: of several the first that is not empty."""
    names = [param.envvar] if isinstance(param.envvar, str) else param.envvar
    return next(str(name) for name in names if os.environ.get(name))


def _is_typed(ctx: typer.Context, param: Any) -> bool:
    source = ctx.get_parameter_source(param.name)
    return source is not None and source.name == "COMMANDLINE"


def _unbroken(text: str) -> str:
    """``text`` with unbreakable parts in its last bracket, which lists variable and range."""
    if not text.endswith("]"):
        return text
    words, bracket, facts = text.rpartition("[")
    # two variables may be too long for one line
    unbroken = (re.sub(r"(?<!,) ", _UNBROKEN, fact) for fact in facts.split("; "))
    return words + bracket + "; ".join(unbroken)
