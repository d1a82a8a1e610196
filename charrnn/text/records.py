r"""Records: the lines of a text, each a text of its own.

A record begins after a line end and ends with one, which is part of it: of the record ``AB`` the
characters A, B and the line end are predicted. Nothing before a record can say anything about it,
so a network reads every record from the zero state, after a line end. Encoded, a line end is one
line feed, whether the file has ``\n`` or ``\r\n``; the end of a file is the end of a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.splits import Parts, Range
from charrnn.text.vocab import Ids, Vocab

SCAN = 1 << 20  # characters that are searched at a time
LF, CR = 0x0A, 0x0D


@dataclass(frozen=True)
class RecordForm:
    """How a model that learned records reads a text.

    Attributes:
        line_end: the id of the line feed, which ends a record.
        returns: whether a carriage return precedes it: version 0.1 learned them from such files.
        carriage_return: its id, with ``returns``.

    """

    line_end: int
    returns: bool = False
    carriage_return: int | None = None

    def complete(self, text: str | bytes) -> str | bytes:
        """``text`` with a line end of this form after every record, also the last one."""
        if isinstance(text, bytes):
            return self._complete(text.decode("latin-1")).encode("latin-1")  # a byte is a symbol
        return self._complete(text)

    def _complete(self, text: str) -> str:
        lines = text.replace("\r\n", "\n")
        if lines and not lines.endswith("\n"):
            lines = lines.removesuffix("\r") + "\n"
        return lines.replace("\n", "\r\n") if self.returns else lines

    def completed(self, ids: Ids) -> Ids:
        """``ids`` with a line end also after the last record."""
        lacks = len(ids) > 0 and ids[-1] != self.line_end
        return np.append(ids, ids.dtype.type(self.line_end)) if lacks else ids

    def apart(
        self, ids: Ids, ranges: tuple[Range, ...] | None = None
    ) -> tuple[Ids, tuple[Range, ...]]:
        """``apart`` for the records in ``ranges`` of ``ids``; by default all of them."""
        if ranges is None:
            ids = self.completed(ids)
            ranges = ((0, len(ids)),)
        return apart(ids, ranges, self.line_end)

    def begun(self, prime: str | bytes) -> str | bytes:
        """What is read before a record that begins with the last line of ``prime``."""
        if isinstance(prime, bytes):
            return b"\n" + prime.rpartition(b"\n")[2]
        return "\n" + prime.rpartition("\n")[2]


def form_of(vocab: Vocab, read: bool) -> RecordForm | None:
    """How a model of records with this vocabulary reads a text; None if it has no line ends.

    ``read`` says whether its corpus was read as records, which have no returns before line feeds.
    """
    line_end, returning = vocab.id_of("\n"), vocab.id_of("\r")
    if line_end is None:
        return None
    returned = 0 if read or returning is None else vocab.counts[returning]
    if 2 * returned <= vocab.counts[line_end]:
        return RecordForm(line_end)
    return RecordForm(line_end, returns=True, carriage_return=returning)


class RecordEnds:
    """Completes the records of a file as ``RecordForm`` does, block by block of code points."""

    def __init__(self) -> None:
        self._return = False  # whether a carriage return is held back: a line feed may follow it
        self._open = False  # whether the last record has no line end yet

    def codes(self, codes: NDArray[Any]) -> NDArray[Any]:
        """The code points of one more block, without the returns before line feeds."""
        if not len(codes):
            return codes
        if self._return:
            codes = np.concatenate((np.array([CR], codes.dtype), codes))
        self._return, self._open = bool(codes[-1] == CR), bool(codes[-1] != LF)
        if self._return:
            codes = codes[:-1]
        ends = (codes[:-1] == CR) & (codes[1:] == LF)
        return np.delete(codes, np.flatnonzero(ends)) if ends.any() else codes

    def end(self) -> NDArray[np.uint8]:
        """The line end that the last record of the file lacks, if it does."""
        return np.full(int(self._open), LF, np.uint8)


def aligned(ids: Ids, ranges: tuple[Range, ...], line_end: int) -> tuple[Range, ...]:
    """``ranges`` of ``ids (N,)`` with each edge at the nearest beginning of a record.

    So they hold whole records; a last one without its line end is in none of them. A range that
    is left empty is omitted.
    """
    begins = _Beginnings(ids, line_end)
    moved = ((begins.nearest(start), begins.nearest(stop)) for start, stop in ranges)
    return tuple(r for r in moved if r[1] > r[0])


def aligned_parts(ids: Ids, parts: Parts, line_end: int) -> Parts:
    """``parts`` with whole records, as ``aligned`` makes them."""
    ranges = (aligned(ids, part, line_end) for part in (parts.train, parts.val, parts.test))
    return Parts(*ranges)


class _Beginnings:
    """Where records begin, and the last one ends; asked in ascending order, it reads ids once."""

    def __init__(self, ids: Ids, line_end: int) -> None:
        self._ids, self._line_end = ids, line_end
        self._before, self._after = 0, -1  # of the last question

    def nearest(self, place: int) -> int:
        if not self._before <= place <= self._after:
            self._before, self._after = self._last(place), self._first(place)
        before, after = self._before, self._after
        return before if after < 0 or place - before <= after - place else after

    def _last(self, stop: int) -> int:
        """The last beginning of a record at or before ``stop``."""
        for end in range(stop, 0, -SCAN):
            begin = max(0, end - SCAN)
            found = np.flatnonzero(self._ids[begin:end] == self._line_end)
            if len(found):
                return begin + int(found[-1]) + 1
        return 0

    def _first(self, start: int) -> int:
        """The first beginning of a record after ``start``; −1 if no record follows."""
        for begin in range(start, len(self._ids), SCAN):
            found = np.flatnonzero(self._ids[begin : begin + SCAN] == self._line_end)
            if len(found):
                return begin + int(found[0]) + 1
        return -1


def find(ids: Ids, ranges: tuple[Range, ...], line_end: int) -> tuple[Range, ...]:
    """The records in ``ranges`` of ``ids (N,)``, with their line ends, as ranges of their own.

    ``ranges`` are ``aligned`` first.
    """
    found: list[Range] = []
    for start, stop in aligned(ids, ranges, line_end):
        for begin in range(start, stop, SCAN):
            ends = np.flatnonzero(ids[begin : min(begin + SCAN, stop)] == line_end) + begin + 1
            if len(ends):
                edges = [start, *ends.tolist()]
                found += pairwise(edges)
                start = edges[-1]
    return tuple(found)


def apart(ids: Ids, ranges: tuple[Range, ...], line_end: int) -> tuple[Ids, tuple[Range, ...]]:
    """A text and ranges of it, one for each record in ``ranges`` of ``ids``, in their order.

    Before each of them there is a line end. So whatever reads each range from the zero state, and
    predicts its first character from the one before it, reads records.
    """
    found = find(ids, ranges, line_end)
    if not found or found[0][0] > 0:
        return ids, found
    preceded = np.concatenate((np.array([line_end], ids.dtype), ids))
    return preceded, tuple((start + 1, stop + 1) for start, stop in found)
