"""Finds what an expression matches in a text, in time that grows in proportion to the text.

The expression's program is run on all its places at once, in the order in which a backtracking
matcher would try them, so the same match is found. The lists of places that occur are the states of
a deterministic automaton, which is built as the text needs it (as in RE2; Cox 2010). It runs from
all characters of a text side by side.

What is decided at a place depends on at most the ``LONGEST`` characters from there on, and on
nothing before it. So a text may be read in parts, wherever they end.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.text.expressions import MAX_COUNT, Program, compiled, leaves

LONGEST = MAX_COUNT  # characters of a match; what is longer is cut there
LINE_ENDS = "\n\r"  # are never part of a match
MAX_STATES = 2000
_DEAD, _START, _UNKNOWN = 0, 1, -1  # states; the last is one that is not worked out yet

Codes = NDArray[np.unsignedinteger[Any]]
Places = tuple[int, ...]  # steps of a program


class _TooManyStates(Exception):
    """There is no room for another state."""


class Automaton:
    """Finds the matches of ``expression`` that have at least two characters.

    Raises:
        ConfigError: as for ``compiled``.

    """

    def __init__(self, expression: str) -> None:
        self._program: Program = compiled(expression)
        steps = self._program.steps
        self._leaves = {leaf: 1 << bit for bit, leaf in enumerate(leaves(self._program))}
        self._matchers = [re.compile(leaf, self._program.flags).fullmatch for leaf in self._leaves]
        self._bits = [self._leaves.get(step.leaf, 0) for step in steps]
        # characters that the same leaves match are of one class; here by the sets of these leaves
        self._classes = {0: 0}
        self._sets = [0]
        self._class_of = np.full(256, -1, np.int32)  # of each code point, as far as they are known
        self._reset()

    def _reset(self) -> None:
        """Forget all states but the first."""
        interrupts.check()
        self._places: list[Places] = [(), self._follow([0])]
        self._states = {places: state for state, places in enumerate(self._places)}
        self._final = np.zeros(MAX_STATES, bool)
        self._table = np.full((MAX_STATES, len(self._sets)), _UNKNOWN, np.int16)
        self._table[_DEAD] = self._table[:, 0] = _DEAD

    def find(self, codes: Codes, stop: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Where matches begin and end in a text of these code points ``(N,)``.

        They do not overlap, and begin before ``stop``. At least ``LONGEST`` characters must follow
        ``stop``, or the text must end there.
        """
        # class 0, which nothing matches, is also what follows the text
        classes = np.concatenate((self._classified(codes), np.zeros(LONGEST, np.int32)))
        places = np.arange(stop, dtype=np.int32)
        ends = np.zeros(stop, np.int32)
        self._run(classes, places, ends)
        found = ends > places + 1
        begins, ends = places[found], ends[found]
        before = np.concatenate(([0], np.cumsum(found)))  # how many begin before each place
        after = before[np.minimum(ends, stop)].tolist()  # the match that follows each
        chosen, match = [], 0
        while match < len(after):
            chosen.append(match)
            match = after[match]
        return begins[chosen], ends[chosen]

    def _run(
        self, classes: NDArray[np.int32], places: NDArray[np.int32], ends: NDArray[np.int32]
    ) -> None:
        """Set the ``ends`` of the matches that begin at ``places``."""
        try:
            states = np.full(len(places), _START, np.int16)
            running = places
            for done in range(LONGEST):
                states = self._after(states, classes[running + done])
                alive = states != _DEAD
                states, running = states[alive], running[alive]
                if not len(running):
                    break
                matched = running[self._final[states]]
                ends[matched] = matched + (done + 1)
        except _TooManyStates:  # from one place there are at most LONGEST
            self._reset()
            for half in np.array_split(places, 2):
                self._run(classes, half, ends)

    def _after(self, states: NDArray[np.int16], classes: NDArray[np.int32]) -> NDArray[np.int16]:
        """The states after characters of these classes, side by side."""
        count = len(self._sets)
        pairs = states * np.int32(count) + classes
        found: NDArray[np.int16] = np.take(self._table, pairs)
        unknown = found == _UNKNOWN
        if unknown.any():
            for pair in np.unique(pairs[unknown]).tolist():
                self._work_out(*divmod(pair, count))
            found = np.take(self._table, pairs)
        return found

    def _work_out(self, state: int, class_: int) -> None:
        """Set the state after a character of a class."""
        matched = self._sets[class_]
        places = self._follow([p + 1 for p in self._places[state] if self._bits[p] & matched])
        after = self._states.get(places)
        if after is None:
            after = len(self._places)
            if after == MAX_STATES:
                raise _TooManyStates
            self._states[places] = after
            self._places.append(places)
            self._final[after] = places[-1] == len(self._program.steps) - 1
        self._table[state, class_] = after

    def _follow(self, places: list[int]) -> Places:
        """The steps that are reached from ``places`` without reading, the preferred ones first.

        Where one of them is the end, those after it do not count: a match was found before.
        """
        steps, last = self._program.steps, len(self._program.steps) - 1
        found: list[int] = []
        seen: set[int] = set()
        stack = places[::-1]
        while stack:
            place = stack.pop()
            if place in seen:
                continue
            seen.add(place)
            if place == last or steps[place].leaf:
                found.append(place)
                if place == last:
                    break
            else:
                stack += steps[place].then[::-1]
        return tuple(found)

    def _classified(self, codes: Codes) -> NDArray[np.int32]:
        """The class of each character; new ones are added."""
        most = int(codes.max(initial=0))
        if most >= len(self._class_of):
            more = np.full(most + 1 - len(self._class_of), -1, np.int32)
            self._class_of = np.concatenate((self._class_of, more))
        classes = np.take(self._class_of, codes)
        new = classes < 0
        if new.any():
            for code in np.unique(codes[new]).tolist():
                self._class_of[code] = self._class(chr(code))
            classes = np.take(self._class_of, codes)
            if (more_sets := len(self._sets) - self._table.shape[1]) > 0:
                columns = np.full((MAX_STATES, more_sets), _UNKNOWN, np.int16)
                self._table = np.hstack((self._table, columns))
                self._table[_DEAD] = _DEAD
        return classes

    def _class(self, character: str) -> int:
        matched = 0
        if character not in LINE_ENDS:
            for bit, match in enumerate(self._matchers):
                matched |= (match(character) is not None) << bit
        if matched not in self._classes:
            self._classes[matched] = len(self._sets)
            self._sets.append(matched)
        return self._classes[matched]
