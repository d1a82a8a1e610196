"""A set of many records in little memory: 16 bytes each, whatever their length.

A record is known by its BLAKE2b hash of 128 bits. Among ten million records, the probability that
any two different ones have the same hash is below 10⁻²⁴ (n² / 2¹²⁹), so the set counts as exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids

SCAN = 1 << 20  # characters that are searched at a time
RECENT = 1 << 17  # hashes that wait until they are sorted in among the others
MANY = 1 << 20  # that are added at once
BYTES = 16  # of a hash

Hashes = NDArray[np.uint64]  # (n, 2)


def hash_of(record: bytes) -> bytes:
    """The hash of a record: of the bytes of its ids or its text, without its line end."""
    return blake2b(record, digest_size=BYTES).digest()


class RecordSet:
    """A set of hashes (``hash_of``): sorted ones in arrays, and a few recent ones."""

    def __init__(self) -> None:
        self._first = np.zeros(0, np.uint64)  # the first half of each hash, sorted
        self._second = np.zeros(0, np.uint64)
        self._recent: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._first) + len(self._recent)

    def __contains__(self, hash: bytes) -> bool:
        return hash in self._recent or self._is_sorted_in(hash)

    def add(self, hash: bytes) -> bool:
        """Add a hash; whether it is new."""
        if hash in self:
            return False
        self._recent.add(hash)
        if len(self._recent) >= RECENT:
            self._sort_recent()
        return True

    def update(self, hashes: bytes | bytearray) -> None:
        """Add many hashes, one after the other in ``hashes``."""
        self._sort_recent()
        self._insert(hashes)

    def _sort_recent(self) -> None:
        recent = b"".join(self._recent)
        self._recent.clear()
        self._insert(recent)

    def _insert(self, hashes: bytes | bytearray) -> None:
        new: Hashes = np.frombuffer(hashes, np.uint64).reshape(-1, 2)
        new = new[np.lexsort((new[:, 1], new[:, 0]))]
        fresh = np.ones(len(new), bool)
        fresh[1:] = (new[1:] != new[:-1]).any(axis=1)
        # where no half is known, no hash is
        places = self._first.searchsorted(new[:, 0])
        near = np.minimum(places, max(len(self._first) - 1, 0))
        maybe = fresh & (self._first[near] == new[:, 0]) if len(self._first) else ~fresh
        for row in np.flatnonzero(maybe & fresh).tolist():
            fresh[row] = new[row].tobytes() not in self
        self._first = np.insert(self._first, places[fresh], new[fresh, 0])
        self._second = np.insert(self._second, places[fresh], new[fresh, 1])

    def _is_sorted_in(self, hash: bytes) -> bool:
        known = self._first
        first, second = np.frombuffer(hash, np.uint64)
        place = int(known.searchsorted(first))
        while place < len(known) and known[place] == first:
            if self._second[place] == second:
                return True
            place += 1
        return False


def records_in(ids: Ids, ranges: tuple[Range, ...], line_end: int) -> Iterator[Ids]:
    """The records in ``ranges`` of ``ids (N,)``, which hold whole ones, without their line ends.

    Raises:
        Interrupted: a signal arrived.

    """
    for start, stop in ranges:
        for begin in range(start, stop, SCAN):
            interrupts.check()
            end = min(begin + SCAN, stop)
            # a copy in memory: slices of ids on disk are slow
            block = np.array(ids[start:end])
            last = start
            for place in np.flatnonzero(block == line_end).tolist():
                yield block[last - start : place]
                last = start + place + 1
            start = last
        if start < stop:
            yield np.array(ids[start:stop])


def training_set(
    ids: Ids,
    ranges: tuple[Range, ...],
    line_end: int,
    dropped: int | None = None,
    text_of: Callable[[Iterable[int]], bytes] | None = None,
) -> RecordSet:
    """The set of the records in ``ranges`` of ``ids``.

    ``dropped`` is the id of a symbol that does not count at the end of a record: the carriage
    return of version 0.1. ``text_of`` gives the text of ids, where a text may have several; it is
    hashed instead of them.
    """
    known, waiting = RecordSet(), bytearray()
    for record in records_in(ids, ranges, line_end):
        if dropped is not None and len(record) and record[-1] == dropped:
            record = record[:-1]
        own = record.tobytes() if text_of is None else text_of(record.tolist())
        waiting += hash_of(own)
        if len(waiting) >= BYTES * MANY:
            known.update(waiting)
            waiting.clear()
    known.update(waiting)
    return known


def as_bytes(ids: Any, dtype: np.dtype[Any]) -> bytes:
    """What ``hash_of`` takes of ids in a list, for a corpus whose ids have ``dtype``."""
    return np.asarray(ids, dtype).tobytes()
