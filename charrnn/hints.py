"""Hints: what to do about a problem, written for Python or for the command line.

The Python interface has arguments, the command line has options. So a hint is a constant text with
the Python names of settings and functions in braces, and a ``Style`` writes them out:

    ====================  =====================================  ===============================
    in braces             in Python                              on the command line
    ====================  =====================================  ===============================
    out                   out                                    --out
    lr (with a value)     lr=0.001                               --lr 0.001
    train(resume, out)    charrnn.train(resume=True, out='new')  charrnn train --resume --out new
    ====================  =====================================  ===============================

Values are inserted last and never searched for braces, so a path may contain any character.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

_BRACES = r"\{(\w+)(?:\(([\w, ]*)\))?\}"


class Style(Protocol):
    """How settings and calls are written. Names are those of the Python interface."""

    def setting(self, name: str, value: object = None) -> str:
        """A setting, with its value if one is given."""

    def call(self, function: str, arguments: Mapping[str, object]) -> str:
        """A call of one of charrnn's functions."""


class PythonStyle:
    """Writes settings as arguments and calls as Python code."""

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

    A hint with an empty text is false.
    """

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def spelled(self, style: Style = PYTHON) -> str:
        """The hint with its settings and calls written in ``style``."""

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
    """The text of a hint that says to omit ``settings``."""
    return "omit " + ", ".join(f"{{{name}}}" for name in settings)
