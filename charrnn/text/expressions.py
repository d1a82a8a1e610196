r"""Regular expressions that are matched without backtracking: their parts, as a program.

They are Python's, without what looks around or back: ``^ $ \b``, look-ahead and look-behind, and
references to groups. Such an expression can be run over a text character by character with a list
of places in it (Thompson 1968), which takes time in proportion to the text whatever the expression
is; Python's own ``re`` may take time that grows exponentially. ``charrnn.text.automaton`` runs it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from charrnn.errors import ConfigError

MAX_EXPRESSION = 1000  # characters
MAX_DEPTH = 40  # groups in groups
MAX_STEPS = 500  # of a program
MAX_COUNT = 64  # of a repetition: no symbol has more characters (charrnn.text.automaton)

_COUNTS = re.compile(r"\{(?!\})(\d{0,9})(,?)(\d{0,9})\}")
_FLAGS = re.compile(r"\(\?([is]+)\)")
_NAME = re.compile(r"\?P<\w+>")
_SET = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_CODE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|.)", re.DOTALL)


@dataclass(frozen=True)
class Leaf:
    """One character: ``source`` is an expression for it, such as ``a``, ``[a-z]`` or a dot."""

    source: str


@dataclass(frozen=True)
class Sequence:
    """One part after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of several, the first that matches."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repetition:
    """A part ``least`` to ``most`` times (None: any number), as often as possible if ``greedy``."""

    part: Node
    least: int
    most: int | None
    greedy: bool


Node = Leaf | Sequence | Choice | Repetition


@dataclass(frozen=True)
class Step:
    """A step of a program.

    It reads a character that matches the expression ``leaf`` and goes on with the next step; or,
    without a ``leaf``, goes on at each of ``then``, preferring the first. The last step of a
    program is where it has matched.
    """

    leaf: str = ""
    then: tuple[int, ...] = ()


@dataclass(frozen=True)
class Program:
    """The ``steps`` of an expression, and the ``flags`` for its leaves."""

    steps: tuple[Step, ...]
    flags: re.RegexFlag


@lru_cache(maxsize=16)
def compiled(expression: str) -> Program:
    """The program of ``expression``.

    Raises:
        ConfigError: it is not a regular expression, it can match the empty text, it has something
            that is not supported, or it is too long.

    """
    if not 0 < len(expression) <= MAX_EXPRESSION:
        raise _invalid(f"has {len(expression):,} characters: it must have 1 to {MAX_EXPRESSION:,}")
    if any("\ud800" <= character < "\ue000" for character in expression):
        raise _invalid("has surrogates, which are not characters")
    if expression.count("(") > MAX_EXPRESSION // 4 or _depth(expression) > MAX_DEPTH:
        raise _invalid("has too many groups")
    try:
        with warnings.catch_warnings():  # of sets that may mean something else one day
            warnings.simplefilter("ignore")
            re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise _invalid(f"is not a regular expression: {error}") from None
    parser = _Parser(expression)
    node = parser.whole()
    if _may_be_empty(node):
        raise _invalid("can match the empty text", "use + instead of *, for instance")
    if _size(node) >= MAX_STEPS:
        raise _invalid(f"is too large: repetitions count, too (at most {MAX_STEPS:,} steps)")
    steps: list[Step] = []
    _add(node, steps)
    return Program((*steps, Step()), parser.flags)


def _invalid(reason: str, hint: str = "") -> ConfigError:
    return ConfigError(reason, hint, setting="symbols")


def _unsupported(what: str) -> ConfigError:
    parts = "characters, sets, groups, |, repetitions, and (?i) or (?s) at the beginning"
    return _invalid(f"has {what}, which is not supported", f"use {parts}")


def _depth(expression: str) -> int:
    """How deep brackets are nested, at most."""
    depth = deepest = 0
    for character in expression:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest


class _Parser:
    """Reads an expression that ``re`` accepts."""

    def __init__(self, expression: str) -> None:
        self._text, self._at, self.flags = expression, 0, re.RegexFlag(0)
        if found := _FLAGS.match(expression):
            self._at = found.end()
            for letter in found[1]:
                self.flags |= re.IGNORECASE if letter == "i" else re.DOTALL

    def whole(self) -> Node:
        """All of it."""
        node = self._choice()
        if self._at < len(self._text):
            raise _unsupported(f"{self._text[self._at]!r} at position {self._at}")
        return node

    def _choice(self) -> Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._part()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _take(self, mark: str) -> bool:
        """Whether ``mark`` is next; then it is read."""
        found = self._text.startswith(mark, self._at)
        self._at += len(mark) if found else 0
        return found

    def _part(self) -> Node:
        here = self._text[self._at]
        if here == "(":
            return self._group()
        if here in "^$":
            raise _unsupported(here)
        end = self._at + 1
        if here == "[":
            found = _SET.match(self._text, self._at)
            end = found.end() if found else len(self._text)
        elif here == "\\":
            end = self._escape()
        source, self._at = self._text[self._at : end], end
        return Leaf(source)

    def _group(self) -> Node:
        self._take("(")
        if not self._take("?:") and self._text.startswith("?", self._at):
            name = _NAME.match(self._text, self._at)
            if name is None:
                raise _unsupported(self._text[self._at - 1 : self._at + 3])
            self._at = name.end()
        node = self._choice()
        self._take(")")
        return node

    def _escape(self) -> int:
        """The end of the escape that is next."""
        letter = self._text[self._at + 1 : self._at + 2]
        if letter.isdigit() or letter in "AbBZz":
            raise _unsupported(f"\\{letter}")
        found = _CODE.match(self._text, self._at)
        return found.end() if found else len(self._text)

    def _repeated(self, node: Node) -> Node:
        """``node`` with the repetition that follows it, if any."""
        counts = self._counts()
        if counts is None:
            return node
        greedy = not self._take("?")
        if self._take("+"):
            raise _unsupported("a possessive repetition")
        least, most = counts
        if least > MAX_COUNT or (most or 0) > MAX_COUNT:
            raise _invalid(f"repeats more than {MAX_COUNT} times")
        if _may_be_empty(node) and most != 1:
            raise _invalid(
                "repeats a part that can match the empty text", "use + inside, for instance"
            )
        return Repetition(node, least, most, greedy)

    def _counts(self) -> tuple[int, int | None] | None:
        for mark, counts in {"*": (0, None), "+": (1, None), "?": (0, 1)}.items():
            if self._take(mark):
                return counts
        found = _COUNTS.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        least, comma, most = found.groups()
        return int(least or 0), int(most) if most else None if comma else int(least)


def _may_be_empty(node: Node) -> bool:
    match node:
        case Leaf():
            return False
        case Sequence(parts):
            return all(map(_may_be_empty, parts))
        case Choice(parts):
            return any(map(_may_be_empty, parts))
        case Repetition(part, least):
            return least == 0 or _may_be_empty(part)


def _size(node: Node) -> int:
    """How many steps ``_add`` adds, at most."""
    match node:
        case Leaf():
            return 1
        case Sequence(parts):
            return sum(map(_size, parts))
        case Choice(parts):
            return sum(map(_size, parts)) + 2 * len(parts)
        case Repetition(part, least, most):
            return (_size(part) + 1) * max(least, most or 0, 1) + 2


def _add(node: Node, steps: list[Step]) -> None:
    """Add the steps of ``node``; it goes on with the step that is added next."""
    match node:
        case Leaf(source):
            steps.append(Step(source))
        case Sequence(parts):
            for part in parts:
                _add(part, steps)
        case Choice(parts):
            _add_choice(parts, steps)
        case Repetition(part, least, most, greedy):
            for _ in range(least):
                _add(part, steps)
            if most is None:
                _add_loop(part, steps, greedy)
            else:
                _add_optional(part, steps, most - least, greedy)


def _add_choice(parts: tuple[Node, ...], steps: list[Step]) -> None:
    jumps = []
    for index, part in enumerate(parts):
        fork = len(steps)
        steps.append(Step())
        _add(part, steps)
        jumps.append(len(steps))
        steps.append(Step())
        others = (len(steps),) if index + 1 < len(parts) else ()
        steps[fork] = Step(then=(fork + 1, *others))
    for jump in jumps:
        steps[jump] = Step(then=(len(steps),))


def _add_loop(part: Node, steps: list[Step], greedy: bool) -> None:
    fork = len(steps)
    steps.append(Step())
    _add(part, steps)
    steps.append(Step(then=(fork,)))
    steps[fork] = _fork(fork + 1, len(steps), greedy)


def _add_optional(part: Node, steps: list[Step], times: int, greedy: bool) -> None:
    forks = []
    for _ in range(times):
        forks.append(len(steps))
        steps.append(Step())
        _add(part, steps)
    for fork in forks:
        steps[fork] = _fork(fork + 1, len(steps), greedy)


def _fork(first: int, second: int, greedy: bool) -> Step:
    return Step(then=(first, second) if greedy else (second, first))


def leaves(program: Program) -> Iterator[str]:
    """The different leaves of a program."""
    yield from dict.fromkeys(step.leaf for step in program.steps if step.leaf)
