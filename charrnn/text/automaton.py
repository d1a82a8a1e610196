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
# If stretches of characters that something matches are no longer on average, the automaton does not
# run from all of their characters at once, but first from where so many matches may begin in each.
SHORT, ROUNDS = 16, 2
STEPS = 4  # matches that touch each other are chosen side by side, so many; then one by one
FEW = 1000  # characters, or matches, for which the simple way takes less time

Codes = NDArray[np.unsignedinteger[Any]]
Places = tuple[int, ...]  # steps of a program


class _TooManyStates(Exception):
    """There is no room for another state."""


def one_after_another(begins: NDArray[np.int32], ends: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the matches ``(N,)`` are found by reading on at the end of each that is found.

    They are in the order of their ``begins``.
    """
    following = np.searchsorted(begins, ends)  # the first match that begins at the end of each
    if len(begins) < FEW:
        return _followed(following, np.zeros(1, np.intp), np.array([len(begins)]))
    chosen = np.ones(len(begins), bool)
    chosen[1:] = begins[1:] >= np.maximum.accumulate(ends)[:-1]  # none reaches into these
    matches = np.flatnonzero(chosen)
    limits = np.append(matches[1:], len(begins))
    for _ in range(STEPS):
        matches = following[matches]
        on = matches < limits
        matches, limits = matches[on], limits[on]
        chosen[matches] = True
    return chosen | _followed(following, matches, limits) if len(matches) else chosen


def _followed(
    following: NDArray[np.intp], firsts: NDArray[np.intp], limits: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """The matches ``(N,)`` that are found from each of ``firsts`` on, below its limit."""
    chosen, after = np.zeros(len(following), bool), following.tolist()
    for match, limit in zip(firsts.tolist(), limits.tolist(), strict=True):
        while match < limit:
            chosen[match] = True
            match = after[match]
    return chosen


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
        ends = self._ends(classes, stop)
        begins = np.flatnonzero(ends > np.arange(1, stop + 1)).astype(np.int32)
        ends = ends[begins]
        chosen = one_after_another(begins, ends)
        return begins[chosen], ends[chosen]

    def _ends(self, classes: NDArray[np.int32], stop: int) -> NDArray[np.int32]:
        """Where the match that begins at each place ends ``(stop,)``; 0 if no match begins there.

        It may also be 0 within a match that is found: between two characters of class 0, one match
        begins where another ends, or a character further on.
        """
        ends = np.zeros(stop, np.int32)
        if stop < FEW:
            self._run(classes, np.arange(stop, dtype=np.int32), ends)
            return ends
        inside = classes[:stop] != 0
        places = np.flatnonzero(inside).astype(np.int32)
        firsts = places[~inside[places - 1] | (places == 0)]
        if len(firsts) * SHORT < len(places):  # too few to be worth it
            self._run(classes, places, ends)
            return ends
        for _ in range(ROUNDS):
            self._run(classes, firsts, ends)
            firsts = np.maximum(ends[firsts], firsts + 1)
            firsts = firsts[(firsts < stop) & (classes[firsts] != 0)]
        if len(firsts):
            outside = np.append(np.flatnonzero(~inside), stop)
            edges = np.zeros(stop + 1, np.int8)
            edges[firsts] = 1
            edges[outside[np.searchsorted(outside, firsts)]] -= 1
            rest = np.flatnonzero(np.cumsum(edges[:stop], dtype=np.int8))
            self._run(classes, rest.astype(np.int32), ends)
        return ends

    def _run(
        self, classes: NDArray[np.int32], places: NDArray[np.int32], ends: NDArray[np.int32]
    ) -> None:
        """Set the ``ends`` of the matches that begin at ``places``."""
        try:
            states, running = np.full(1, _START, np.int16), places
            for done in range(LONGEST):
                states = self._after(states, np.take(classes, running + done if done else running))
                alive = np.flatnonzero(states)  # those that are not dead
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
        if found.min(initial=0) == _UNKNOWN:
            for pair in np.unique(pairs[found == _UNKNOWN]).tolist():
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
