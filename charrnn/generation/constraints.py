"""What filters know of the texts that they constrain: repetitions, copies, banned words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.errors import ConfigError, os_reason
from charrnn.generation.filter_register import Context
from charrnn.text.ngrams import Hashes, hashes, hashes_of_rows
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids, Vocab

BLOCK = 1 << 20  # characters that are hashed at a time

Marks = NDArray[np.bool_]  # (V,)
State = frozenset[int]  # nodes of a trie


def marks_of(vocab: Vocab, characters: str, setting: str) -> Marks:
    """Which symbols ``(V,)`` are among ``characters``; those that are no symbols do not matter.

    Where symbols may have several characters, ``characters`` is cut into symbols.

    Raises:
        ConfigError: a character is several symbols: bytes; or several characters, which in a text
            would be one symbol, are none that the network knows.

    """
    marks = np.zeros(len(vocab), bool)
    for character in vocab.split(characters):
        if vocab.is_bytes and not character.isascii():
            raise ConfigError(f"has {character!r}, which is more than one byte", setting=setting)
        index = vocab.id_of(character) if len(character) == 1 or vocab.long else None
        if index is None and len(character) > 1:
            reason = f"has {character!r}, which is not one of the network's symbols"
            hint = "put another character between those you mean, or use {ban_words}"
            raise ConfigError(reason, hint, setting=setting)
        if index is not None:
            marks[index] = True
    return marks


class Repetitions:
    """Which characters would complete a run of ``length`` that a text already has.

    Args:
        length: at least 1.
        context: the texts, one for each stream.

    """

    def __init__(self, length: int, context: Context) -> None:
        self._length, self._context, self._done = length, context, 0
        before: dict[bytes, list[int]] = defaultdict(list)
        for end in range(length, len(context.prime) + 1):
            run = context.prime[end - length : end]
            before[run[:-1].astype(np.int32).tobytes()].append(int(run[-1]))
        self._before = dict(before)
        self._own: list[dict[bytes, list[int]]] = [{} for _ in range(len(context.texts))]

    def forbid(self, p: NDArray[Any]) -> None:
        """Zero the weights ``p (N, V)`` of these characters."""
        self._update()
        kept = [(index, p[:, index].copy()) for index in self._context.ends]
        for row, key, own in zip(p, self._keys(), self._own, strict=True):
            if key is not None:
                row[self._before.get(key, [])] = 0
                row[own.get(key, [])] = 0
        for index, weights in kept:
            p[:, index] = weights

    def _update(self) -> None:
        """Add the runs that have been completed since the last call."""
        texts = self._context.texts
        for done in range(self._done, texts.shape[1]):
            for key, own, index in zip(self._keys(done), self._own, texts[:, done], strict=True):
                if key is not None:
                    own.setdefault(key, []).append(int(index))
        self._done = texts.shape[1]

    def _keys(self, done: int | None = None) -> list[bytes] | list[None]:
        """The last ``length`` − 1 characters of each text of ``done``; None if it has fewer."""
        rows = self._context.last(self._length - 1, done)
        if rows is None:
            return [None] * len(self._own)
        return [row.tobytes() for row in rows]


class CopyIndex:
    """Which character follows each run of ``length`` in a text that must not be copied.

    Takes some 30 bytes for each character of the text while it is made, and 10 afterwards.

    Args:
        ids: the text.
        ranges: the parts of it that count.
        length: of the runs, at least 1.

    Raises:
        Interrupted: a signal arrived.

    """

    def __init__(self, ids: Ids, ranges: tuple[Range, ...], length: int) -> None:
        runs, wholes, followers = [], [], []
        for first, last in ranges:
            for start in range(first, last - length, BLOCK):
                interrupts.check()
                part = np.array(ids[start : min(start + BLOCK + length, last)])
                whole, where = np.unique(hashes(part, length + 1), return_index=True)
                wholes.append(whole)
                runs.append(hashes(part, length)[where])
                followers.append(part[where + length])
        self._runs: Hashes = np.zeros(0, np.uint64)
        if runs:
            _, where = np.unique(np.concatenate(wholes), return_index=True)
            keys = np.concatenate(runs)[where]
            order = np.argsort(keys)
            self._runs = keys[order]
            self._followers = np.concatenate(followers)[where][order]
        self._length = length

    def forbid(self, p: NDArray[Any], context: Context) -> None:
        """Zero in ``p (N, V)`` what would make a run longer than ``length``, except line ends."""
        rows = context.last(self._length)
        if rows is None or not len(self._runs):
            return
        keys = hashes_of_rows(rows)
        low, high = (self._runs.searchsorted(keys, side) for side in ("left", "right"))
        inside = ~np.isin(rows, context.ends).any(axis=1) if context.ends else np.ones(len(p), bool)
        for row in np.flatnonzero((high > low) & inside).tolist():
            after = self._followers[low[row] : high[row]]
            p[row, after[~np.isin(after, context.ends)]] = 0


def words_of(path: str) -> list[str]:
    """The words in a file, one a line.

    Raises:
        ConfigError: the file cannot be read, or has no words.

    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            words = [word for line in file if (word := line.strip())]
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}", setting="ban_words") from None
    if not words:
        raise ConfigError(f"is {path}, which has no words", setting="ban_words")
    return words


@dataclass(eq=False)
class _Node:
    """A node of the trie of words: the beginning of some of them, one of which it may be."""

    children: dict[str, int]
    whole: bool = False


class WordBan:
    """Keeps texts from having any of ``words`` as a whole word, in upper or lower case.

    A word begins where no word character (a letter, digit or underscore) is before it, and has
    ended when none follows. So a banned word may begin a longer one: after it, only word characters
    are allowed. The states of all beginnings that a text may be in are found as they occur (subset
    construction).
    """

    def __init__(self, vocab: Vocab, words: Sequence[str]) -> None:
        folded = [[_folded(code, vocab.is_bytes)] for code in vocab.codes]
        folded += [[_folded(ord(c), False) for c in symbol] for symbol in vocab.long]
        self._folded, self._single = folded, len(vocab.codes)
        self._inner = np.array([_is_inner(symbol[0]) for symbol in folded])
        self._nodes = [_Node({})]
        for word in words:
            self._add(_symbols(word, vocab.is_bytes))
        self._steps: dict[tuple[State, int], State] = {}
        self._masks: dict[tuple[State, bool], Marks] = {}
        self.start = frozenset([0])

    def _add(self, word: list[str]) -> None:
        node = 0
        for symbol in word:
            children = self._nodes[node].children
            if symbol not in children:
                children[symbol] = len(self._nodes)
                self._nodes.append(_Node({}))
            node = children[symbol]
        self._nodes[node].whole = True

    def after(self, state: State, index: int) -> State:
        """The state after another symbol."""
        found = self._steps.get((state, index))
        if found is None:
            found = state
            for character in self._folded[index]:
                found = self._step(found, character)
            self._steps[state, index] = found
        return found

    def _step(self, state: State, character: str) -> State:
        """The state after another character."""
        grown = (self._nodes[node].children.get(character) for node in state)
        begins = [] if _is_inner(character) else [0]
        return frozenset([*begins, *(node for node in grown if node is not None)])

    def forbidden(self, state: State, last: bool) -> Marks:
        """Which symbols ``(V,)`` must not follow; ``last`` says that nothing follows them."""
        mask = self._masks.get((state, last))
        if mask is None:
            mask = np.zeros(len(self._folded), bool)
            for node in map(self._nodes.__getitem__, state):
                if node.whole:
                    mask |= ~self._inner
                for character, child in node.children.items():
                    if self._nodes[child].whole and (last or not _is_inner(character)):
                        mask |= np.array([own == [character] for own in self._folded])
            for index, symbol in enumerate(self._folded[self._single :], self._single):
                mask[index] |= self._is_banned(state, symbol, last)
            self._masks[state, last] = mask
        return mask

    def _is_banned(self, state: State, symbol: list[str], last: bool) -> bool:
        """Whether a symbol of several characters would complete a banned word."""
        for index, character in enumerate(symbol):
            ends = last and index + 1 == len(symbol)
            for node in map(self._nodes.__getitem__, state):
                child = self._nodes[node.children.get(character, 0)]
                if node.whole and not _is_inner(character):
                    return True
                if child.whole and (ends or not _is_inner(character)):
                    return True
            state = self._step(state, character)
        return False


class WordStates:
    """Where each text of a context is among the banned words."""

    def __init__(self, ban: WordBan, context: Context) -> None:
        self._ban, self._context, self._done = ban, context, 0
        state = ban.start
        for index in context.prime.tolist():
            state = ban.after(state, index)
        self._states = [state] * len(context.texts)

    def forbid(self, p: NDArray[Any]) -> None:
        """Zero in ``p (N, V)`` what would complete a banned word."""
        texts = self._context.texts
        for t in range(self._done, texts.shape[1]):
            pairs = zip(self._states, texts[:, t].tolist(), strict=True)
            self._states = [self._ban.after(state, index) for state, index in pairs]
        self._done = texts.shape[1]
        last = self._done + 1 == self._context.length
        p[np.array([self._ban.forbidden(state, last) for state in self._states])] = 0


def _is_inner(symbol: str) -> bool:
    """Whether a symbol is part of words."""
    return symbol.isalnum() or symbol == "_"


def _folded(code: int, is_bytes: bool) -> str:
    """A symbol in lower case; bytes above 0x7F, which are parts of letters, as letters."""
    if is_bytes and code > 0x7F:
        return _of_byte(code)
    lower = chr(code).lower()
    return lower if len(lower) == 1 else chr(code)


def _of_byte(code: int) -> str:
    return chr(0x4E00 + code)  # any letter


def _symbols(word: str, is_bytes: bool) -> list[str]:
    """A word in the symbols of a vocabulary, in lower case."""
    if not is_bytes:
        return [_folded(ord(character), False) for character in word]
    return [_folded(code, True) for code in word.lower().encode()]
