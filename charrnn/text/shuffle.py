"""Shuffled copies of the lines of a text, made in memory that does not grow with the text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.errors import CacheError, os_message
from charrnn.paths import usable_cache
from charrnn.text.splits import Range, RangeMap, length
from charrnn.text.vocab import Ids

BLOCK = 1 << 18  # characters, or lines, that are processed together
IN_MEMORY = 8 << 20  # bytes; larger arrays are kept in a file


def whole_lines(ids: Ids, ranges: tuple[Range, ...], line_end: int) -> tuple[Range, ...]:
    """``ranges`` of ``ids`` up to their last line end.

    An epoch follows the one before without a break, so half a record at the end would be joined to
    a whole one. A text that consists mostly of that last record keeps it.
    """
    for index in range(len(ranges), 0, -1):
        start, stop = ranges[index - 1]
        for end in range(stop, start, -BLOCK):
            begin = max(start, end - BLOCK)
            found = np.flatnonzero(ids[begin:end] == line_end)
            if len(found):
                whole = (*ranges[: index - 1], (start, begin + int(found[-1]) + 1))
                return whole if 2 * length(whole) > length(ranges) else ranges
    return ranges


def shuffled_lines(ids: Ids, where: RangeMap, line_end: int, rng: np.random.Generator) -> Ids:
    """The characters of ``ids`` that ``where`` maps to, with their lines in a random order.

    Characters after the last line end stay last, or they would be joined to another record.
    """
    starts = _line_starts(ids, where, line_end)
    order = _room(len(starts) - 1, np.int64)
    for begin, end in _blocks(len(order)):
        order[begin:end] = np.arange(begin, end)
    rng.shuffle(order[:-1])
    text = _room(where.length, ids.dtype)
    place = 0
    for begin, end in _blocks(len(order)):
        lines = order[begin:end]
        lengths = starts[lines + 1] - starts[lines]
        chosen = RangeMap.of(starts[lines], lengths)
        for first, last in _blocks(chosen.length):
            interrupts.check()
            part = ids[where.positions(chosen.positions(np.arange(first, last)))]
            text[place : place + len(part)] = part
            place += len(part)
    return text


def _line_starts(ids: Ids, where: RangeMap, line_end: int) -> NDArray[np.int64]:
    """Where each line starts, and where the last one, which may be empty, ends."""
    count = sum(len(ends) for ends in _line_ends(ids, where, line_end))
    starts = _room(count + 2, np.int64)
    starts[0], starts[-1] = 0, where.length
    place = 1
    for ends in _line_ends(ids, where, line_end):
        starts[place : place + len(ends)] = ends + 1
        place += len(ends)
    return starts


def _line_ends(ids: Ids, where: RangeMap, line_end: int) -> Iterator[NDArray[np.int64]]:
    for first, last in _blocks(where.length):
        interrupts.check()
        text = ids[where.positions(np.arange(first, last))]
        yield np.flatnonzero(text == line_end) + first


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(0, length, BLOCK), length])


def _room(length: int, dtype: Any) -> NDArray[Any]:
    """An array to fill: in memory or, if it is large, in a file of the cache.

    The file has no name and disappears with the array.

    Raises:
        CacheError: there is no room for it.

    """
    size = length * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(length, dtype)
    folder = usable_cache()
    try:
        if folder is not None:  # else the system's folder for temporary files
            folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # writing to a full disk later would crash
                os.posix_fallocate(file.fileno(), 0, size)
            # a plain array: NumPy is slow with its own subclass
            return np.asarray(np.memmap(file, dtype, "w+", shape=(length,)))
    except OSError as error:
        message = f"no room to shuffle the lines: {os_message(error, folder or '')}"
        raise CacheError(message, "set CHARRNN_CACHE to another folder") from error
