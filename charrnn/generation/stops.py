"""Ends a sample before a stop text, or after it, and never prints the start of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from charrnn.errors import UnknownCharacterError
from charrnn.text.vocab import Vocab


class Stop(Protocol):
    """Something that may end a text."""

    stopped: bool

    def push(self, ids: Sequence[int]) -> list[int]:
        """Add ids; return those, including earlier ones, that are part of the text."""

    def finish(self) -> list[int]:
        """End the text; return the ids that were held back."""


def stop_ids(vocab: Vocab, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The ids of each stop text.

    Raises:
        UnknownCharacterError: one has a character that ``vocab`` lacks, so it can never match.
    """
    for text in texts:
        if missing := vocab.missing(text):
            raise UnknownCharacterError(f"{text!r} can never occur: {missing}", setting="stop")
    return [tuple(int(index) for index in vocab.encode(text)) for text in texts]


class StopFilter:
    """Passes ids on until a stop text is complete; holds back ids that may be part of one.

    Args:
        stops: the stop texts, which are dropped.
        kept: stop texts that are passed on, as the end of the text.

    """

    def __init__(
        self, stops: Sequence[tuple[int, ...]], kept: Sequence[tuple[int, ...]] = ()
    ) -> None:
        self._stops = sorted({*stops, *kept}, key=len, reverse=True)
        self._kept = frozenset(kept)
        self._known = frozenset(index for stop in self._stops for index in stop)
        self._held: list[int] = []
        self.stopped = False

    def push(self, ids: Sequence[int]) -> list[int]:
        """Add ``ids``; return the ids, including earlier ones, that can be printed now.

        Once a stop text is complete, ``stopped`` is true and no ids after it are returned.
        """
        if not (self.stopped or self._held) and self._known.isdisjoint(ids):
            return list(ids)
        out: list[int] = []
        for index in ids:
            if self.stopped:
                break
            self._held.append(index)
            out += self._release()
        return out

    def finish(self) -> list[int]:
        """End the text; return the ids held back, which did not become a stop text."""
        held, self._held = self._held, []
        return [] if self.stopped else held

    def _release(self) -> list[int]:
        held = tuple(self._held)
        # of several stop texts that end here, the longest started first
        for stop in self._stops:
            if held[-len(stop) :] == stop:
                self.stopped, self._held = True, []
                return list(held if stop in self._kept else held[: -len(stop)])
        keep = max(self._undecided(held, stop) for stop in self._stops)
        free = len(held) - keep
        self._held = self._held[free:]
        return list(held[:free])

    @staticmethod
    def _undecided(held: tuple[int, ...], stop: tuple[int, ...]) -> int:
        """Length of the longest suffix of ``held`` that is a proper prefix of ``stop``."""
        for length in range(min(len(held), len(stop) - 1), 0, -1):
            if held[-length:] == stop[:length]:
                return length
        return 0
