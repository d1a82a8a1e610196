"""Records that meet conditions: draws until as many as wanted are accepted.

Candidate i of a seed does not depend on how many are wanted, and candidates are accepted in their
order. So the i-th accepted record of a seed is the same whatever the count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.errors import CharRNNError, counted
from charrnn.generation.generator import Generator
from charrnn.generation.predictor import Drawn, Predictor
from charrnn.generation.record_config import RecordConfig
from charrnn.generation.relay import GROUP
from charrnn.generation.scoring import Score
from charrnn.text.record_set import RecordSet, as_bytes, hash_of
from charrnn.text.records import RecordForm
from charrnn.text.spelling import rewritten
from charrnn.text.vocab import id_dtype

# Candidates that are judged, and then scored, at once. While the last of them are scored, few
# lanes are left: the more there are, the less that matters.
BATCH = 4 * GROUP
SPARE = 1.1  # candidates that are drawn at once, for each that will probably be needed
# the reasons for which a record is refused, in words that follow a number
CUT, MISMATCHED, KNOWN, REPEATED = "without an end", "without a match", "not novel", "not unique"


@dataclass(frozen=True)
class Record:
    """An accepted record.

    Attributes:
        raw: its text in UTF-8 without its line end; with a byte vocabulary, its bytes.
        score: its nats as ``score_lines`` counts them, line end included; None if nobody asked.

    """

    raw: bytes
    score: Score | None = None

    @property
    def text(self) -> str:
        """Its text, with U+FFFD for bytes that are not UTF-8."""
        return self.raw.decode("utf-8", "replace")


class Records(Iterator[Record]):
    """Accepted records, as they are drawn.

    Args:
        model: scores the records, in float32.
        form: how it reads them.
        generator: draws ``max_tries`` candidates.
        wanted: which of them are accepted; None: all, also those that have no end.
        count: how many.
        known: the records that are not novel.
        scored: whether records are scored.

    Attributes:
        accepted: how many records were accepted so far.
        tries: how many were drawn.
        refused: how many of them were refused, by reason.

    """

    def __init__(
        self,
        model: Predictor,
        form: RecordForm,
        generator: Generator,
        wanted: RecordConfig | None,
        count: int,
        known: RecordSet | None = None,
        scored: bool = True,
    ) -> None:
        self._model, self._form, self._generator = model, form, generator
        self._count, self._known, self._scored = count, known, scored
        self._any, wanted = wanted is None, wanted or RecordConfig()
        self._match = re.compile(wanted.match) if wanted.match is not None else None
        self._drawn = RecordSet() if wanted.unique else None
        self._prefix = model.vocab.encode(wanted.prefix, generator.config.unknown).tolist()
        self._dtype = id_dtype(len(model.vocab))
        self.accepted, self.tries, self.refused = 0, 0, Counter[str]()
        self._ready: list[Record] = []
        self._batches = self.batches()

    def __next__(self) -> Record:
        while not self._ready:
            self._ready = next(self._batches)[::-1]
        return self._ready.pop()

    def batches(self) -> Iterator[list[Record]]:
        """The records in lists of those that were drawn at once.

        Raises:
            CharRNNError: the tries are spent before the count is reached.
            Interrupted: a signal arrived.

        """
        samples = self._generator.samples()
        while self.accepted < self._count:
            taken = self._draw(samples)
            self.accepted += len(taken)
            if taken:
                yield self._finished(taken)
            elif self.tries == self._generator.config.count:
                raise CharRNNError(self._failure(), "raise {max_tries}")

    def _draw(self, samples: Iterator[list[int]]) -> list[Drawn]:
        """The records that are accepted among those that are drawn at once."""
        missing, taken = self._count - self.accepted, list[Drawn]()
        likely = (self.accepted + 1) / (self.tries + 1)
        needed = max(1, int(missing * SPARE / likely))
        self._generator.limit = self.tries + needed
        for _ in range(min(BATCH, needed)):
            cut = self._generator.cut
            if len(taken) == missing or (ids := next(samples, None)) is None:
                break
            self.tries += 1
            drawn = Drawn(self._prefix + ids, self._generator.cut > cut)
            if reason := self._refusal(drawn):
                self.refused[reason] += 1
            else:
                taken.append(drawn)
        return taken

    def _refusal(self, drawn: Drawn) -> str:
        """Why a record is not accepted; empty if it is."""
        if drawn.cut and not self._any:
            return CUT
        if self._match is not None and not self._match.search(self._model.vocab.decode(drawn.ids)):
            return MISMATCHED
        if self._known is None and self._drawn is None:
            return ""
        vocab = self._model.vocab  # symbols of several characters may also be spelled
        ids = drawn.ids
        hash = hash_of(vocab.as_text(ids) if vocab.long else as_bytes(ids, self._dtype))
        if self._known is not None and hash in self._known:
            return KNOWN
        if self._drawn is not None and not self._drawn.add(hash):
            return REPEATED
        return ""

    def _finished(self, taken: list[Drawn]) -> list[Record]:
        texts = [self._model.vocab.decode_bytes(drawn.ids) for drawn in taken]
        if not self._scored:
            return [Record(raw) for raw in texts]
        ids = rewritten(self._model.vocab, [drawn.ids for drawn in taken])
        taken = [drawn._replace(ids=own) for drawn, own in zip(taken, ids, strict=True)]
        scores = self._model.score_drawn(taken, self._form)
        return [Record(raw, score) for raw, score in zip(texts, scores, strict=True)]

    @property
    def cut(self) -> int:
        """How many were ended by the greatest length alone."""
        return self._generator.cut

    def _failure(self) -> str:
        reached = f"accepted {self.accepted:,} of {counted(self._count, 'record')}"
        return f"{reached} in {self.tries:,} {'try' if self.tries == 1 else 'tries'}: {self.told}"

    @property
    def told(self) -> str:
        """How many were refused, in words; empty if none was."""
        if not self.refused:
            return ""
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in self.refused.most_common())
        return f"{self.refused.total():,} of {self.tries:,} refused ({reasons})"
