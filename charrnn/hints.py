"""Hints: what to do about a problem, spelled for whoever reads them.

A caller of the Python interface has arguments, somebody at the command line has options. So a hint
is a constant text that names settings and functions in braces, as Python calls them, and a
``Style`` spells them:

    ====================  =====================================  ===============================
    in braces             in Python                              on the command line
    ====================  =====================================  ===============================
    out                   out                                    --out
    lr (with a value)     lr=0.001                               --lr 0.001
    train(resume, out)    charrnn.train(resume=True, out='new')  charrnn train --resume --out new
    ====================  =====================================  ===============================

Values go in last and are never searched for braces, so a path may contain any character.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

_BRACES = r"\{(\w+)(?:\(([\w, ]*)\))?\}"


class Style(Protocol):
    """How settings and calls are spelled. Names are those of the Python interface."""

    def setting(self, name: str, value: object = None) -> str:
        """A setting, with the value to give it if there is one."""

    def call(self, function: str, arguments: Mapping[str, object]) -> str:
        """A call of one of charrnn's functions."""


class PythonStyle:
    """Arguments and calls as one writes them in Python."""

    def setting(self, name: str, value: object = None) -> str:
        """``lr``, or ``lr=0.001``."""
        if value is None:
            return name
        return f"{name}={os.fspath(value) if isinstance(value, os.PathLike) else value!r}"

    def call(self, function: str, arguments: Mapping[str, object]) -> str:
        """``charrnn.train(resume=True)``."""
        given = ", ".join(self.setting(name, value) for name, value in arguments.items())
        return f"charrnn.{function}({given})"


PYTHON = PythonStyle()


@dataclass(frozen=True)
class Hint:
    """What to do: a constant ``text`` with names in braces, and ``values`` for some of them.

    An empty text is no hint, and false.
    """

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def spelled(self, style: Style = PYTHON) -> str:
        """The hint as ``style`` spells its settings and calls."""

        def spell(match: re.Match[str]) -> str:
            name, arguments = match.groups()
            if arguments is None:
                return style.setting(name, self.values.get(name))
            return style.call(name, {n: self.values[n] for n in re.findall(r"\w+", arguments)})

        return re.sub(_BRACES, spell, self.text)

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.spelled()


def omit(settings: Iterable[str]) -> str:
    """The text of a hint to omit ``settings``."""
    return "omit " + ", ".join(f"{{{name}}}" for name in settings)
