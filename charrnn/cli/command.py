"""A command of the program: its help page, and complaints in the words of whoever typed it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand

from charrnn.errors import CharRNNError, UserError

# settings whose option has another name, and functions whose command has
_OPTIONS = {
    "hidden": "--size",
    "is_bytes": "--bytes",
    "seconds": "--time",
    "start_from": "--from",
    "temperature": "--temp",
}
_COMMANDS = {"list_checkpoints": "ls"}
# options of a command of which only one can be given: a flag wins over another's variable too
_RIVALS = {
    "train": (
        ("time", "epochs", "steps"),
        ("resume", "preset"),
        ("resume", "start"),
        ("as_bytes", "encoding"),
    ),
    "sample": (("prime", "prime_file"),),
    "score": (
        ("split", "encoding"),
        ("split", "per_line"),
        ("split", "color"),
        ("adapt", "per_line"),
        ("adapt", "color"),
        ("color", "json"),
    ),
}
_UNBROKEN = "\xa0"  # a space at which no line is broken; the page gets plain ones
_NARROW, _NARROW_COLUMN, _COLUMN = 70, 20, 30


class Command(TyperCommand):
    """A command whose complaints name its options, and the variables that set them."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run it."""
        overruled = self._prefer_flags(ctx)
        try:
            return super().invoke(ctx)
        except CharRNNError as error:
            error.style = OptionStyle(self)
            given = [p for p in self.params if is_from_environment(ctx, p)]
            variables = [str(p.envvar) for p in given if p.name not in overruled]
            if variables and isinstance(error, UserError):
                error.add_note(f"set in the environment: {', '.join(variables)}")
            raise

    def _prefer_flags(self, ctx: typer.Context) -> set[str]:
        """Forget what variables say where a flag says otherwise; the names of those options."""
        overruled = set()
        for rivals in _RIVALS.get(self.name or "", ()):
            group = [param for param in self.params if param.name in rivals]
            for param in group:
                if is_from_environment(ctx, param) and any(_is_typed(ctx, p) for p in group):
                    overruled.add(str(param.name))
        for param in self.params:
            if param.name in overruled:
                ctx.params[str(param.name)] = param.get_default(ctx)
        return overruled

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the tables of arguments and options; ``[env var: X; …]`` breaks after a ``;``."""
        column = _NARROW_COLUMN if formatter.width < _NARROW else _COLUMN
        for title in ("Arguments", "Options"):
            params = [p for p in self.get_params(ctx) if f"{p.param_type_name}s" == title.lower()]
            records = filter(None, (param.get_help_record(ctx) for param in params))
            rows = [(name, _unbroken(text)) for name, text in records]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=column)
        formatter.buffer = [text.replace(_UNBROKEN, " ") for text in formatter.buffer]


class OptionStyle:
    """Settings as the options of ``command`` (None: of whichever has them), calls as commands."""

    def __init__(self, command: TyperCommand | None = None) -> None:
        params = command.params if command else ()
        named = [[*filter(_is_long, [*p.opts, *p.secondary_opts])] for p in params]
        self._spellings = {names[0]: "/".join(names) for names in named if names}
        self._knows_all = command is None

    def setting(self, name: str, value: object = None) -> str:
        """``--lr``, or ``--lr 0.001``; the name itself where the command has no such option."""
        if value is not None:
            return shlex.join(_words(name, value))
        option = _option(name)
        return self._spellings.get(option, option if self._knows_all else name)

    def call(self, function: str, arguments: Mapping[str, object]) -> str:
        """``charrnn train --resume``."""
        words = [word for name, value in arguments.items() for word in _words(name, value)]
        return shlex.join(["charrnn", _COMMANDS.get(function, function), *words])


def _option(setting: str) -> str:
    return _OPTIONS.get(setting, "--" + setting.replace("_", "-"))


def _words(setting: str, value: object) -> list[str]:
    return [_option(setting)] if value is True else [_option(setting), str(value)]


def is_from_environment(ctx: typer.Context, param: Any) -> bool:
    """Whether a variable set ``param``."""
    source = ctx.get_parameter_source(param.name)
    return source is not None and source.name == "ENVIRONMENT"


def _is_typed(ctx: typer.Context, param: Any) -> bool:
    source = ctx.get_parameter_source(param.name)
    return source is not None and source.name == "COMMANDLINE"


def _is_long(name: str) -> bool:
    return name.startswith("--")


def _unbroken(text: str) -> str:
    """``text`` whose last bracket, which lists variable, default and range, keeps parts whole."""
    if not text.endswith("]"):
        return text
    words, bracket, facts = text.rpartition("[")
    return words + bracket + "; ".join(f.replace(" ", _UNBROKEN) for f in facts.split("; "))
