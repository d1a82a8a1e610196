"""Code points counted, and turned into ids.

Of the symbols of several characters that an expression finds in a text, those are kept that occur
at least ``LEAST`` times: from fewer occurrences a network learns little about a symbol. If they are
too many for a vocabulary, the most frequent ones are kept. All characters of the text are in the
vocabulary, also those that only longer symbols have: so a network can read whatever it writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.errors import ConfigError, CorpusError
from charrnn.model_config import MAX_VOCABULARY
from charrnn.text.automaton import Automaton
from charrnn.text.reading import Reading
from charrnn.text.sources import Source
from charrnn.text.symbols import MAX_SYMBOLS, MAX_WEIGHT, Cutter, SymbolRule, weight
from charrnn.text.vocab import CODE_POINTS, Ids, Vocab, id_dtype

LEAST = 10  # occurrences of a symbol of several characters
# different matches that are counted at once; where a text has more, the rarest are dropped
MOST_COUNTED = 1 << 17


def count(sources: Sequence[Source], is_bytes: bool, reading: Reading) -> Vocab:
    """The vocabulary of a text, with how often each symbol occurs in it.

    Raises:
        CorpusError: it has no characters, or too many different ones; or as for ``code_blocks``.

    """
    histogram = np.zeros(256 if is_bytes else CODE_POINTS, np.int64)

    def counted() -> Iterator[NDArray[Any]]:
        for codes in _joined(codes for _, codes in reading.code_blocks(sources)):
            interrupts.check()
            found = _counts_of_bytes(codes) if codes.dtype == np.uint8 else np.bincount(codes)
            histogram[: len(found)] += found
            yield codes

    try:
        if reading.symbols is not None:
            return _symbols(counted(), histogram, sources, reading, reading.symbols)
        for _ in counted():
            pass
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


def _symbols(
    blocks: Iterator[NDArray[Any]],
    histogram: NDArray[np.int64],
    sources: Sequence[Source],
    reading: Reading,
    rule: SymbolRule,
) -> Vocab:
    """The vocabulary of a text that is cut into symbols; ``histogram`` is complete at its end."""
    found: Counter[str] = Counter()
    exact = True
    for part in Cutter(Automaton(rule.expression)).parts(blocks):
        found.update(part.matches())
        if len(found) > MOST_COUNTED:
            found, exact = Counter(dict(found.most_common(MOST_COUNTED // 2))), False
    codes = np.flatnonzero(histogram)
    long = _chosen(found, rule, MAX_VOCABULARY - len(codes))
    for symbol in long:
        for character in symbol:
            histogram[ord(character)] -= found[symbol]
    counts = np.concatenate((histogram[codes], [found[symbol] for symbol in long])).astype(np.int64)
    none = (0,) * len(counts)
    vocab = Vocab(tuple(codes.tolist()), none, False, long, rule.expression)
    if not exact:  # what was dropped may have come again
        counts = _recounted(vocab, sources, reading)
    return replace(vocab, counts=tuple(counts.tolist()))


def _recounted(vocab: Vocab, sources: Sequence[Source], reading: Reading) -> NDArray[np.int64]:
    """How often each symbol of ``vocab`` occurs in the text."""
    counts = np.zeros(len(vocab), np.int64)
    for ids in encoded(vocab, (codes for _, codes in reading.code_blocks(sources))):
        interrupts.check()
        counts += np.bincount(ids, minlength=len(vocab))
    return counts


def _chosen(found: Counter[str], rule: SymbolRule, most: int) -> tuple[str, ...]:
    """The symbols of several characters to keep of those ``found``, at most ``most``; ascending."""
    known = frozenset(rule.known)
    ordered = sorted(found, key=lambda symbol: (symbol not in known, -found[symbol], symbol))
    chosen, whole = list[str](), 0
    for symbol in ordered:
        whole += weight(symbol)
        frequent = found[symbol] >= LEAST or symbol in known
        if not frequent or whole > MAX_WEIGHT or len(chosen) >= min(MAX_SYMBOLS, most):
            break
        chosen.append(symbol)
    return tuple(sorted(chosen))


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


def encoded(vocab: Vocab, blocks: Iterable[NDArray[Any]]) -> Iterator[Ids]:
    """The ids of a text in ``blocks`` of code points, which are all in ``vocab``, in parts."""
    dtype = id_dtype(len(vocab))
    if vocab.expression:
        for ids, _ in vocab.table_of_long.read(blocks, vocab.lookup):
            yield ids.astype(dtype)
        return
    table = vocab.table.astype(dtype)
    first = np.resize(table, 256).tobytes()
    for codes in blocks:
        if codes.dtype == dtype == np.uint8:  # four times as fast as take
            yield np.frombuffer(codes.tobytes().translate(first), np.uint8)
        else:
            yield np.take(table, codes, mode="clip")
