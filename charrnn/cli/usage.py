"""What is wrong with a command line: typer's complaints in words for people."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from typing import Any

import typer

from charrnn.cli.command import is_from_environment, options_of, variable_of

LIKENESS = 0.75  # of 1, from which on a word is taken for a misspelled option
_SHORTEST, _LONGEST = 3, 60  # characters of a word that may stand for an option
_ELSEWHERE = {"model": "checkpoint"}  # what is an option of one command, an argument of another
_BOOLEAN = "true or false, yes or no, on or off, 1 or 0"


def explain(error: typer.TyperException) -> str:
    """The complaint in one line, without a full stop; a group's help page if there is no command.

    What typer says in words of its own is taken as it is.
    """
    describe = getattr(error, "format_message", error.__str__)
    text = str(describe())
    if text.startswith("Usage: "):
        return text
    context = getattr(error, "ctx", None)
    if context is None:
        return _plain(text)
    said = _of_option(error, context) or _plain(text)
    return _of_value(error, context) or f"{said}; {context.command_path} -h shows the usage"


def _of_option(error: Any, context: Any) -> str:
    """What is wrong with the name of an option, or with its lack of a value."""
    name = getattr(error, "option_name", None)
    if name is None:
        return ""
    if "No such option" in str(error):
        near = " or ".join(_near(str(name), context))
        if not near and (place := _argument(str(name), context)):
            return f"No such option: {name} (write {context.command_path} {place})"
        if not near and (command := _whose(str(name), context)):
            return f"No such option: {name} (write it after the command: {command} {name})"
        return f"No such option: {name}" + (f" (did you mean {near}?)" if near else "")
    if "does not take a value" in str(error):
        return f"{name} takes no value"
    option = options_of(context.command.callback).get(_name_of(str(name), context))
    values = f" ({option.placeholder})" if option else ""
    return f"{name} needs a value{values}"


def _of_value(error: Any, context: Any) -> str:
    """What is wrong with the value of an option or argument."""
    param, value = getattr(error, "param", None), str(getattr(error, "message", ""))
    if param is None or not value:
        return ""
    name = param.opts[0] if param.param_type_name == "option" else param.metavar or param.name
    option = options_of(context.command.callback).get(param.name)
    if option and option.kind is bool and is_from_environment(context, param):
        variable = variable_of(param)
        value = f"is {os.environ[variable]!r}: it must be {_BOOLEAN}"
        return f"{name} {value} (set in the environment: {variable})"
    if choice := re.fullmatch(r"(.*) is not one of (.*?)\.?", value, re.DOTALL):
        return f"{name} is {choice[1]}: it must be one of {choice[2].replace(chr(39), '')}"
    return f"{name}: {value.rstrip('.')}"


def _plain(text: str) -> str:
    """Typer's own words."""
    if many := re.fullmatch(r"Got unexpected extra argument\S* \((.*)\)", text, re.DOTALL):
        return f"too many arguments: {many[1]}"
    text = re.sub(r"\. Did you mean (.*)\?$", r" (did you mean \1?)", text)
    return text.replace("\n\t", " ").rstrip(".")  # choices come on lines of their own


def _near(typed: str, context: Any) -> list[str]:
    """The options that ``typed`` may stand for, by their names in Python or on the command line."""
    word, known = typed.lstrip("-").replace("_", "-"), dict(_known(context))
    if word in known:
        return [known[word]]
    if not _SHORTEST <= len(word) <= _LONGEST:
        return []
    alike = [name for name in known if len(name) >= _SHORTEST]
    begun = [name for name in alike if name.startswith(word) or word.startswith(name)]
    close = begun or difflib.get_close_matches(word, known, n=1, cutoff=LIKENESS)
    return list(dict.fromkeys(known[name] for name in close))


def _argument(typed: str, context: Any) -> str:
    """The argument that stands for an option ``typed``, such as ``CORPUS...``; empty if none."""
    word = typed.lstrip("-").lower()
    word = _ELSEWHERE.get(word, word)
    for param in context.command.get_params(context):
        place = param.metavar or ""
        if param.param_type_name == "argument" and word in (param.name, place.strip(".").lower()):
            return place
    return ""


def _whose(typed: str, context: Any) -> str:
    """The first command of the group ``context`` with an option ``typed``; empty if none."""
    group = context.command
    for name in getattr(group, "commands", ()):
        if any(typed in (*p.opts, *p.secondary_opts) for p in group.commands[name].params):
            return f"{context.command_path} {name}"
    return ""


def _known(context: Any) -> Iterator[tuple[str, str]]:
    """What an option of the command may be called, and the option."""
    for param in context.command.get_params(context):
        flags = [o for o in (*param.opts, *param.secondary_opts) if o.startswith("--")]
        if param.param_type_name == "option" and flags:
            yield str(param.name).replace("_", "-"), flags[0]
            yield from ((flag[2:], flag) for flag in flags)


def _name_of(flag: str, context: Any) -> str:
    """The Python name of an option."""
    found = (param.name for param in context.command.params if flag in param.opts)
    return str(next(found, ""))
