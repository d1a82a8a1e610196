"""The declaration of one setting: its names, its meaning and the values it may have."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import ConfigError

MAX_INT64 = 2**63 - 1  # the largest count or seed: the largest 64-bit integer

NOTHING: Any = object()  # equals no value

_LONGEST = 100  # characters of a number
_NOUNS = {int: "a whole number", float: "a number", str: "a text", Path: "a path"}
_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def check(good: bool, name: str, value: object, wanted: str) -> None:
    """Raise ``ConfigError`` with the setting, its value and what is allowed, unless ``good``."""
    if not good:
        raise ConfigError(f"is {value!r}: it must be {wanted}", setting=name)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` unless ``value`` is one of ``choices``."""
    check(value in choices, name, value, "one of " + ", ".join(choices))


def check_int(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise ``ConfigError`` unless ``value`` is an int (not a bool) in ``[low, high]``."""
    Option(name=name, kind=int, help="", low=low, high=high).check(value)


def check_real(name: str, value: object, good: bool, wanted: str) -> None:
    """Raise ``ConfigError`` unless ``value`` is a finite number and ``good``."""
    check(_is_real(value) and good, name, value, wanted)


@dataclass(frozen=True)
class Notation:
    """How a value is written on the command line, if not simply as a number or a text.

    ``read`` turns text into the value, or raises ``ValueError``; ``write`` is its inverse;
    ``wanted`` completes the error message "--time is 'x': it must be …".
    """

    read: Callable[[str], Any]
    write: Callable[[Any], str]
    wanted: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Option:
    """The declaration of one setting.

    Attributes:
        name: its name in Python.
        kind: ``bool``, ``int``, ``float``, ``str``, ``Path``, or ``tuple``, which needs a
            ``notation``: a tuple is allowed if it reads as it is written.
        help: its meaning, a sentence or two.
        default: the value if none is given.
        unset: a phrase that replaces ``default`` in help texts, if the program chooses the value.
        flag: its flag (default: ``--`` and the name); ``--on/--off`` for a pair of flags.
        aliases: further names of the flag; each long one has its own variable, too.
        variable: its environment variable (default: ``CHARRNN_`` and the flag).
        metavar: the placeholder for the value in help texts; of a choice, the help then lists the
            values.
        low: the smallest allowed value; for a text, the smallest length.
        high: the largest allowed value.
        above: a bound that values must exceed.
        below: a bound that values must stay below.
        absent: the value that means "not given": Python accepts it even outside the range, and a
            command line never spells it out.
        choices: the allowed values, or a function that returns them.
        excludes: settings that cannot be given together with this one; it is enough if one of the
            two excludes the other. A flag then wins over the other's environment variable.
        needs: settings without one of which it does nothing. A command then refuses its flag, but
            not its environment variable.
        repeated: whether it may be given several times; the value is a tuple.
        notation: how values are written, if not simply as numbers or texts.
        complete: returns values that start with a given text, for shell completion.
        python_only: whether it is missing from the command line.
        recorded: whether the command in a checkpoint's model card includes it; false for settings
            that describe the machine rather than the model.

    """

    name: str
    kind: type
    help: str
    default: Any = None
    unset: str = ""
    flag: str = ""
    aliases: tuple[str, ...] = ()
    variable: str = ""
    metavar: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    absent: Any = NOTHING
    choices: tuple[str, ...] | Callable[[], Iterable[str]] = ()
    excludes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    repeated: bool = False
    notation: Notation | None = None
    complete: Callable[[str], list[str]] | None = None
    python_only: bool = False
    recorded: bool = True

    def __post_init__(self) -> None:
        flag = self.flag or "--" + self.name.replace("_", "-")
        object.__setattr__(self, "flag", flag)  # the dataclass is frozen
        object.__setattr__(self, "variable", self.variable or _variable_of(flag.split("/")[0]))

    def replace(self, **changes: Any) -> Option:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    @property
    def variables(self) -> tuple[str, ...]:
        """Its environment variables; the first that is set counts."""
        of_aliases = (_variable_of(a) for a in self.aliases if a.startswith("--"))
        return tuple(dict.fromkeys((self.variable, *of_aliases)))

    @property
    def allowed(self) -> tuple[str, ...]:
        """The current choices; empty if values are not chosen from a list."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    @property
    def limits(self) -> str:
        """The range in words: ``1 to 8``, ``above 0 and at most 10``; empty without one."""
        high = None if self.high == MAX_INT64 else self.high  # not worth showing
        if self.kind is str:
            return ""
        if self.low is not None and high is not None:
            return f"{_figure(self.low)} to {_figure(high)}"
        return _bounds(self.low, high, self.above, self.below)

    @property
    def wanted(self) -> str:
        """What a value must be, in words for error messages: ``a whole number from 1 to 8``."""
        if self.kind is bool:
            return "true or false"
        if self.kind is tuple and self.notation:
            return self.notation.wanted
        if self.allowed:
            return "one of " + ", ".join(self.allowed)
        if self.kind is str and self.low:
            return "a text of at least one character"
        limits = self.limits
        link = " of" if limits.startswith("at") else " from" if " to " in limits else ""
        return f"{_NOUNS[self.kind]}{link} {limits}".rstrip()

    @property
    def default_text(self) -> str:
        """The default as shown in help texts; empty without one."""
        if self.kind is bool and not self.unset:
            return "on" if self.default else "off"
        nothing = self.default is None or self.default == () or not self._is_in_range(self.default)
        if self.unset or nothing:
            return self.unset
        if self.notation:
            return self.notation.write(self.default)
        return f"{self.default:g}" if self.kind is float else str(self.default)

    @property
    def meaning(self) -> str:
        """``help``, with the choices if the placeholder does not show them."""
        listed = f" One of {', '.join(self.allowed)}." if self.metavar and self.allowed else ""
        return self.help + listed

    @property
    def placeholder(self) -> str:
        """The placeholder for the value in help texts: ``N``, ``PATH``, ``int8|float16``."""
        return self.metavar or "|".join(self.allowed) or _METAVARS.get(self.kind, "")

    def check(self, value: object) -> None:
        """Raise ``ConfigError`` unless ``value`` is allowed or means "not given"."""
        if self.repeated:
            check(isinstance(value, tuple), self.name, value, "a tuple of texts")
        items: Any = value if self.repeated else (value,)
        for item in items:
            absent = item is None and self.absent is None
            good = self._has_kind(item) and (item == self.absent or self._is_in_range(item))
            check(absent or good, self.name, item, self._wanted_instead_of(item))

    def parse(self, text: str) -> Any:
        """The value written as ``text`` on the command line or in an environment variable.

        Raises:
            ConfigError: ``text`` is invalid or the value is out of range.

        """
        value = None
        try:
            value = self.notation.read(text) if self.notation else _read(self.kind, text)
            good = self._has_kind(value) and self._is_in_range(value)
        except ValueError:
            good = False
        wanted = self.notation.wanted if self.notation else self._wanted_instead_of(value)
        check(good, self.name, text, wanted)
        return value

    def spell(self, value: Any) -> list[str]:
        """The words that set ``value`` on the command line; empty if it means "not given"."""
        if value == self.absent:
            return []
        if self.kind is bool:
            on, _, off = self.flag.partition("/")
            return [on] if value else [off] if off else []
        items = value if self.repeated else (value,)
        write = self.notation.write if self.notation else str
        return [word for item in items for word in (self.flag, write(item))]

    def _wanted_instead_of(self, value: object) -> str:
        """``wanted``, with the bound that is not worth showing if ``value`` exceeds it."""
        if self.high == MAX_INT64 and isinstance(value, int) and value > MAX_INT64:
            return f"{_NOUNS[int]} below 2^63"
        return self.wanted

    def _has_kind(self, value: object) -> bool:
        if self.kind is float:
            return _is_real(value)
        if self.kind is int:
            return isinstance(value, int) and not isinstance(value, bool)
        return isinstance(value, self.kind)

    def _is_in_range(self, value: Any) -> bool:
        if self.allowed:
            return value in self.allowed
        if self.kind is tuple:
            return self._reads_as_written(value)
        number = len(value) if self.kind is str else value
        return (
            (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def _reads_as_written(self, value: Any) -> bool:
        assert self.notation is not None
        try:
            again = self.notation.read(self.notation.write(value))
        except ValueError:
            return False
        return bool(again == value)


def _variable_of(flag: str) -> str:  # CHARRNN_TOP_K of --top-k
    return "CHARRNN_" + flag.removeprefix("--").upper().replace("-", "_")


def _is_real(value: object) -> bool:
    """Whether ``value`` is a finite number."""
    try:
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
    except OverflowError:  # an int too large for a float
        return False


def _read(kind: type, text: str) -> Any:
    if not text and kind is Path:  # an empty path would mean the current folder
        raise ValueError
    return read_whole(text) if kind is int else kind(text)


_WHOLE = re.compile(r"(\d+|\d{1,3}(?:,\d{3})+)(?:\.(\d+))?(?:e(\d{1,2})|([kmg]))?", re.IGNORECASE)
_POWERS = {"k": 3, "m": 6, "g": 9}


def read_whole(text: str) -> int:
    """A whole number such as ``1000000``, ``1_000_000``, ``1,000,000``, ``1e6``, ``1.5k``, ``64M``.

    Raises:
        ValueError: ``text`` is not a whole number.

    """
    try:
        return int(text)
    except ValueError:
        found = _WHOLE.fullmatch(text)
        if not found or len(text) > _LONGEST:
            raise
    digits, decimals, exponent, letter = found.groups(default="")
    decimals = decimals.rstrip("0")
    power = int(exponent or _POWERS.get(letter.lower(), 0)) - len(decimals)
    if power < 0:
        raise ValueError(f"not a whole number: {text}")
    return int(digits.replace(",", "") + decimals + "0" * power)


def _bounds(low: float | None, high: float | None, above: float | None, below: float | None) -> str:
    words = ("at least", low), ("above", above), ("at most", high), ("below", below)
    bounds = [f"{word} {_figure(bound)}" for word, bound in words if bound is not None]
    return " and ".join(bounds)


def _figure(bound: float) -> str:
    """``bound`` with commas, and without the decimals of a whole number: ``1,000,000``, ``0.5``."""
    return f"{int(bound) if bound == int(bound) else bound:,}"
