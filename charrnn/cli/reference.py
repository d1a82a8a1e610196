"""The option reference, generated: ``python -m charrnn.cli.reference > charrnn/cli/README.md``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from charrnn.cli.app import app
from charrnn.settings import Option

INTRO = """\
# Commands and options

All commands and their options, generated from the declarations by
`python -m charrnn.cli.reference > charrnn/cli/README.md`. A flag wins over its environment
variable, and the variable over the default. Whole numbers can be written as 1000000, 1_000_000,
1,000,000, 1e6 or 1M; k, M and G stand for a thousand, a million and a billion. A folder that an
option names is created; the folder of a file that an option names must exist.
"""
_HEAD = ["| option | meaning | default | environment variable |", "|---|---|---|---|"]
_BAR = r"\|"  # in a cell of a table, which a plain bar would end


def reference() -> str:
    """The whole reference as Markdown."""
    program = typer.main.get_command(app)
    sections = [_section(name, command) for name, command in _commands("charrnn", program)]
    return "\n".join([INTRO, *sections])


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Each command that does something, with its full name; groups are walked through."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for child_name, child in inner.items():
        yield from _commands(f"{name} {child_name}", child)


def _section(name: str, command: Any) -> str:
    """Heading, purpose, arguments and the table of options of one command."""
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = [a.metavar if a.required else f"[{a.metavar}]" for a in arguments]
    lines = [f"## {' '.join([name, *usage])}", command.help, ""]
    lines += [f"- `{argument.metavar}`: {argument.help}" for argument in arguments]
    lines += ["", *_HEAD] if arguments else _HEAD
    lines += [_row(option, command.options) for option in command.options.values()]
    return "\n".join([*lines, ""])


def _row(option: Option, others: dict[str, Option]) -> str:
    first, *more = *option.flag.split("/"), *option.aliases
    names = [f"{first} {option.placeholder}".rstrip(), *more]
    rivals = [f"`{others[name].flag}`" for name in option.excludes if name in others]
    meaning = [option.meaning]
    meaning += [f"Allowed: {option.limits}."] if option.limits else []
    meaning += [f"Not with {', '.join(rivals)}."] if rivals else []
    cells = (
        ", ".join(f"`{name}`" for name in names),
        " ".join(meaning),
        option.default_text,
        ", ".join(f"`{name}`" for name in option.variables),
    )
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"


if __name__ == "__main__":
    print(reference(), end="")
