"""Settings, each declared once: type, range, default, flag, help, variable, what it excludes.

A setting is a field of a frozen dataclass, or an ``Option`` by itself::

    @dataclass(frozen=True)
    class TrainConfig(Settings):
        lr: float = setting(4e-3, above=0, high=10, help="Peak learning rate.")

This one line is enough: ``TrainConfig(lr=11)`` raises ``ConfigError``; ``charrnn train`` accepts
``--lr`` and reads ``CHARRNN_LR`` (``charrnn.cli.options.takes``); ``--help`` and the option
reference explain it; the command in a checkpoint's model card includes it.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from charrnn.arguments import checked
from charrnn.errors import ConfigError
from charrnn.option import (
    MAX_INT64,
    NOTHING,
    Notation,
    Option,
    check,
    check_choice,
    check_int,
    check_real,
)

__all__ = ["MAX_INT64", "NOTHING", "Notation", "Option", "Settings", "check", "check_choice",
           "check_declared", "check_int", "check_real", "declared", "setting"]  # fmt: skip


def setting(default: Any = dataclasses.MISSING, *, help: str, **declaration: Any) -> Any:
    """A dataclass field that declares a setting.

    Args:
        default: its default; without one a value must be given.
        help: its meaning, a sentence or two.
        declaration: further attributes of ``Option``; ``name``, ``kind``, ``choices`` and
            ``repeated`` follow from the field's name and type, and ``absent`` is None if the type
            allows None.

    """
    declaration = {"help": help, **declaration}
    return dataclasses.field(default=default, metadata={"declaration": declaration})


def declared(settings: type, *names: str) -> tuple[Option, ...]:
    """The options that a dataclass declares: those called ``names``, or all."""
    options = _declarations(settings)
    return tuple(options[name] for name in names or options)


@cache
def _declarations(settings: type) -> dict[str, Option]:
    types = get_type_hints(settings)
    return {
        field.name: Option(
            name=field.name,
            default=None if field.default is dataclasses.MISSING else field.default,
            **(_implied_by(types[field.name]) | field.metadata["declaration"]),
        )
        for field in dataclasses.fields(settings)
        if "declaration" in field.metadata
    }


def check_declared(settings: object) -> None:
    """Check the fields of a dataclass against their declarations.

    Raises:
        ConfigError: a value is not allowed.

    """
    for option in declared(type(settings)):
        option.check(getattr(settings, option.name))


class Settings:
    """Base of dataclasses whose fields are settings: validates them, converts to and from JSON."""

    def __post_init__(self) -> None:
        check_declared(self)

    @property
    def options(self) -> tuple[Option, ...]:
        """The declarations of its settings."""
        return declared(type(self))

    def value(self, name: str) -> Any:
        """The value of the setting ``name``."""
        return getattr(self, name)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    @checked
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The settings from ``values``.

        Raises:
            ConfigError: a name is unknown, a setting without a default is missing, or a value is
                invalid.

        """
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        names = {field.name for field in fields}
        required = {field.name for field in fields if field.default is dataclasses.MISSING}
        unknown, missing = sorted(set(values) - names), sorted(required - set(values))
        if unknown or missing:
            wrong = [f"unknown setting {name!r}" for name in unknown]
            wrong += [f"missing setting {name!r}" for name in missing]
            raise ConfigError(f"{cls.__name__}: {', '.join(wrong)}")
        try:
            return cls(**values)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"{cls.__name__} is invalid: {error}") from None


def _implied_by(hint: Any) -> dict[str, Any]:
    """The attributes of ``Option`` that follow from a field's type."""
    if get_origin(hint) in (Union, UnionType):  # X | None
        [inner] = [part for part in get_args(hint) if part is not NoneType]
        return _implied_by(inner) | {"absent": None}
    if get_origin(hint) is Literal:
        return {"kind": str, "choices": get_args(hint)}
    if get_origin(hint) is tuple:
        return {"kind": get_args(hint)[0], "repeated": True}
    return {"kind": hint}
