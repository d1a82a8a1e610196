"""The most probable records, best first, and proof that there are no others.

Every character of a record adds to its nats. So if all beginnings of up to ``bound`` nats are
followed, all records of up to ``bound`` nats are found: those are the most probable ones. The bound
is raised step by step, each time to where at least as many beginnings wait as were followed before
(iterative deepening: Korf 1985, "Depth-first iterative-deepening"), so that those that are followed
again cost less than the new ones. Within a bound the likeliest beginnings are followed first, many
at once and depth first. So memory does not grow with their number, and once as many records as
wanted are found, the bound falls to the worst of them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.errors import CharRNNError, CheckpointError, counted
from charrnn.generation.accepting import Record
from charrnn.generation.factory import AnyEngine
from charrnn.generation.numpy_engine import State
from charrnn.generation.scoring import OVERFLOW, Score, log_softmax
from charrnn.text.records import RecordForm
from charrnn.text.spelling import rewritten
from charrnn.text.vocab import Ids, Vocab

BATCH, SLOW_BATCH = 256, 8  # beginnings that are followed at once, with and without memory left
MEMORY = 128 << 20  # bytes that waiting beginnings may take before fewer are followed at once
FIRST = 4.0  # nats of the first bound, beyond those of the prefix
WIDTH, BINS = 0.125, 256  # of the histogram of beginnings beyond the bound, in nats
LEAST = 1024  # beginnings that a higher bound should add

Floats = NDArray[np.float64]


@dataclass(eq=False)
class _Block:
    """Beginnings that were read at once, and how they may go on.

    Attributes:
        state: of the network, after each beginning.
        texts: the ids of each beginning, as bytes of ``int32``.
        rows: for each continuation, the beginning that it continues; the likeliest comes last.
        symbols: its next symbol.
        nats: its nats, with that symbol.

    """

    state: State
    texts: list[bytes]
    rows: NDArray[np.intp]
    symbols: NDArray[np.intp]
    nats: Floats

    def take(self, count: int, limit: float) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        """Take the ``count`` likeliest continuations of up to ``limit`` nats; drop those beyond."""
        first = int(np.count_nonzero(self.nats > limit))  # they are sorted
        split = max(len(self.nats) - count, first)
        taken = self.rows[split:], self.symbols[split:], self.nats[split:]
        kept = slice(first, split)
        self.rows, self.symbols, self.nats = self.rows[kept], self.symbols[kept], self.nats[kept]
        return taken

    @property
    def size(self) -> int:
        """Bytes of memory, roughly."""
        state = sum(part.nbytes for layer in self.state for part in layer)
        return state + sum(map(len, self.texts)) + 24 * len(self.rows)


class LikelyRecords(Iterator[Record]):
    """The ``top`` most probable records of at most ``length`` characters, the likeliest first.

    Args:
        vocab: the vocabulary.
        form: how records end.
        engine: an engine of one stream over the exact weights, for which a stream's numbers do not
            depend on the others.
        begun: the ids that are read before the first choice: a line end and perhaps a prefix.
        top: how many records.
        length: of their characters, at most, prefix included.
        max_tries: gives up after so many beginnings.

    Attributes:
        bound: all records of up to so many nats have been found.
        tries: how many beginnings were followed so far.
        listed: how many records were found so far.

    """

    def __init__(
        self,
        vocab: Vocab,
        form: RecordForm,
        engine: AnyEngine,
        begun: Ids,
        *,
        top: int,
        length: int,
        max_tries: int | None = None,
    ) -> None:
        self._vocab, self._form, self._return = vocab, form, vocab.id_of("\r")
        self._begun, self._top, self._length = begun, top, length
        self._max_tries, self._engines = max_tries, {1: engine}
        self.bound, self.tries, self.listed = -math.inf, 0, 0
        # of the current search: a heap of the best records so far, the least likely first
        self._found: list[tuple[float, bytes]] = []
        self._limit = self._next = math.inf
        self._beyond = np.zeros(BINS + 1, np.int64)
        self._records = self._all()

    def __next__(self) -> Record:
        return next(self._records)

    def _all(self) -> Iterator[Record]:
        before, state, text, nats = 0, *self._root()
        bound = float(nats.min()) + FIRST
        while self.listed < self._top:
            self._search(state, text, nats, bound)
            found = sorted((-cost, ids) for cost, ids in self._found)
            full = len(found) == self._top - self.listed
            self.bound = found[-1][0] if full else bound
            for cost, ids in found:
                self.listed += 1
                yield self._record(cost, ids)
            if not self._beyond.any():
                return  # there are no others
            before, more = self.tries, max(LEAST, self.tries - before)
            steps = int(np.cumsum(self._beyond[:BINS]).searchsorted(more)) + 1
            bound += WIDTH * min(steps, BINS)

    def _root(self) -> tuple[State, bytes, Floats]:
        """What all records begin with: the state after it, its ids, and the nats ``(1, V)``."""
        engine, cost = self._engines[1], 0.0
        engine.reset()
        for place in range(len(self._begun)):
            log_p = _log_p(engine, self._begun[place : place + 1])
            if place + 1 < len(self._begun):
                cost -= float(log_p[0, self._begun[place + 1]])
        return engine.state, self._begun[1:].astype(np.int32).tobytes(), cost - log_p

    def _search(self, state: State, text: bytes, nats: Floats, bound: float) -> None:
        """Find the records beyond ``self.bound`` and up to ``bound``, at most those wanted."""
        self._found, self._limit, self._next = [], bound, bound
        self._beyond[:] = 0
        stack = [self._block(state, [text], nats)]
        while stack:
            interrupts.check()
            block = stack[-1]
            used = sum(waiting.size for waiting in stack)
            rows, symbols, costs = block.take(BATCH if used < MEMORY else SLOW_BATCH, self._limit)
            if not len(block.nats):
                stack.pop()
            if len(rows):
                if self._max_tries is not None and self.tries >= self._max_tries:
                    raise CharRNNError(self._failure(), "raise {max_tries}")
                self.tries += len(rows)
                stack.append(self._follow(block, rows, symbols, costs))

    def _follow(
        self, block: _Block, rows: NDArray[np.intp], symbols: NDArray[np.intp], costs: Floats
    ) -> _Block:
        """Read one more symbol of some beginnings."""
        n = len(rows)
        size = 1 << (n - 1).bit_length()
        if size not in self._engines:
            self._engines[size] = self._engines[1].sibling(size)
        engine = self._engines[size]
        some = np.resize(np.arange(n), size)  # the last ones only fill the engine
        engine.state = tuple(tuple(part[rows[some]] for part in layer) for layer in block.state)
        log_p = _log_p(engine, symbols[some])[:n]
        state = tuple(tuple(part[:n].copy() for part in layer) for layer in engine.state)
        ids = symbols.astype(np.int32)
        texts = [block.texts[row] + ids[i : i + 1].tobytes() for i, row in enumerate(rows.tolist())]
        return self._block(state, texts, costs[:, None] - log_p)

    def _block(self, state: State, texts: list[bytes], nats: Floats) -> _Block:
        """Note the records that end here; the continuations that are worth following are left."""
        end = self._form.line_end
        most = 4 * (self._length + self._form.returns)  # bytes
        full = np.array([len(text) >= most for text in texts])
        goes_on = np.ones(nats.shape, bool)
        goes_on[full], goes_on[:, end] = False, False
        is_whole = np.array([self._is_whole(text) for text in texts])
        for row in np.flatnonzero(is_whole & (nats[:, end] <= self._limit)).tolist():
            self._note(float(nats[row, end]), texts[row])
        possible = goes_on.copy()
        possible[is_whole, end] = True
        over = (nats[possible & (nats > self._next)] - self._next) / WIDTH
        self._beyond += np.bincount(np.minimum(over, BINS).astype(np.intp), minlength=BINS + 1)
        rows, symbols = np.nonzero(goes_on & (nats <= self._limit))
        order = np.argsort(-nats[rows, symbols], kind="stable")
        rows, symbols = rows[order], symbols[order]
        return _Block(state, texts, rows, symbols, nats[rows, symbols])

    def _is_whole(self, text: bytes) -> bool:
        """Whether a record may end here: with the return that its line end has, and no other."""
        last = int(np.frombuffer(text[-4:], np.int32)[0]) if text else None
        return (last is not None and last == self._return) == self._form.returns

    def _is_own(self, text: bytes) -> bool:
        """Whether these are the symbols that a corpus has for this text."""
        if not self._vocab.long:
            return True
        ids = np.frombuffer(text, np.int32).tolist()
        return rewritten(self._vocab, [ids]) == [ids]

    def _note(self, nats: float, text: bytes) -> None:
        """Keep a record, if it is new and among the best so far."""
        if nats <= self.bound or not self._is_own(text):
            return  # it was listed before, or its text will be in other symbols
        wanted = self._top - self.listed
        if len(self._found) < wanted:
            heapq.heappush(self._found, (-nats, text))
        else:
            heapq.heappushpop(self._found, (-nats, text))
        if len(self._found) == wanted:
            self._limit = -self._found[0][0]

    def _record(self, nats: float, text: bytes) -> Record:
        ids = np.frombuffer(text, np.int32)
        score = Score(nats, len(ids) + 1).of_all(self._vocab, np.append(ids, self._form.line_end))
        return Record(self._vocab.decode_bytes(ids[:-1] if self._form.returns else ids), score)

    def _failure(self) -> str:
        proved = f"all up to {self.bound:.2f} nats" if self.listed else "none for certain"
        found = f"found {self.listed:,} of {counted(self._top, 'record')}"
        return f"{found} in {counted(self.tries, 'beginning')}: {proved}"


def _log_p(engine: AnyEngine, ids: Ids) -> Floats:
    """Log-probabilities ``(N, V)`` after ``ids (N,)``."""
    with np.errstate(all="ignore"):
        log_p = log_softmax(engine.step(ids))
    if np.isnan(log_p).any():
        raise CheckpointError(OVERFLOW)
    return log_p.astype(np.float64)
