"""Code points counted, and turned into ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.reading import Reading
from charrnn.text.sources import Source
from charrnn.text.vocab import CODE_POINTS, Ids, Vocab, id_dtype


def count(sources: Sequence[Source], is_bytes: bool, reading: Reading) -> Vocab:
    """The vocabulary of a text, with how often each symbol occurs in it.

    Raises:
        CorpusError: it has no characters, or too many different ones; or as for ``code_blocks``.

    """
    histogram = np.zeros(256 if is_bytes else CODE_POINTS, np.int64)
    for codes in _joined(codes for _, codes in reading.code_blocks(sources)):
        interrupts.check()
        counted = _counts_of_bytes(codes) if codes.dtype == np.uint8 else np.bincount(codes)
        histogram[: len(counted)] += counted
    try:
        return Vocab.from_counts(histogram, is_bytes)
    except ConfigError as error:
        message = f"{sources[0].name} has no usable vocabulary: {error}"
        raise CorpusError(message, "{is_bytes} takes any text") from None


def _counts_of_bytes(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each byte occurs. Counting them in pairs takes half the time."""
    even = len(codes) & ~1
    pairs = np.bincount(codes[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    counts: NDArray[np.int64] = pairs.sum(0) + pairs.sum(1)
    if even < len(codes):
        counts[codes[-1]] += 1
    return counts


def _joined(arrays: Iterable[NDArray[Any]], least: int = 1 << 18) -> Iterator[NDArray[Any]]:
    """``arrays`` joined to at least ``least`` items: what is done to each takes time by itself.

    Counts of characters beyond the Basic Multilingual Plane are a megabyte and more.
    """
    waiting: list[NDArray[Any]] = []
    size = 0
    for array in arrays:
        waiting.append(array)
        size += len(array)
        if size >= least:
            yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            waiting, size = [], 0
    if size:
        yield np.concatenate(waiting)


def encoder(vocab: Vocab) -> Callable[[NDArray[Any]], Ids]:
    """What makes ids of code points that are all in ``vocab``."""
    table = vocab.table.astype(id_dtype(len(vocab)))
    first = np.resize(table, 256).tobytes()

    def encode(codes: NDArray[Any]) -> Ids:
        if codes.dtype == table.dtype == np.uint8:  # four times as fast as take
            return np.frombuffer(codes.tobytes().translate(first), np.uint8)
        return np.take(table, codes, mode="clip")

    return encode
