"""How a model predicts texts: scores and probabilities. Needs NumPy and never imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from charrnn.arguments import checked
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import Unknown
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.generation.distributions import Candidate, Ranks, ScoredChar, candidates
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.generator import FEED, first_id
from charrnn.generation.line_scores import ScoredLine, scored_lines
from charrnn.generation.numpy_engine import Array
from charrnn.generation.scoring import OVERFLOW, Distributions, Score, log_softmax, position_nats
from charrnn.generation.scoring import score as score_ids
from charrnn.settings import check_int
from charrnn.text.ids import check_ids
from charrnn.text.records import RecordForm, form_of
from charrnn.text.reversal import turned
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids, Vocab, id_dtype


class Drawn(NamedTuple):
    """The ids of a record without its line end, and whether it was cut before that."""

    ids: list[int]
    cut: bool


@checked
class Predictor:
    """A checkpoint that is ready to score texts; it always computes in float32.

    Args:
        checkpoint: the network and its vocabulary.

    Attributes:
        vocab: the vocabulary.
        reverse: whether the model reads from right to left, and predicts what comes before.
        lines: whether the model was trained on records of one line each.
        records: how it reads them; None if it has none.

    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.vocab: Vocab = checkpoint.vocab
        self.reverse = checkpoint.config.reverse
        self.lines = checkpoint.about("corpus").get("lines") is True
        self.records: RecordForm | None = form_of(self.vocab, self._read) if self.lines else None

    def __getstate__(self) -> dict[str, Any]:
        # an engine has machine code and addresses, which mean nothing in a copy: it opens its own
        return {name: value for name, value in vars(self).items() if not name.endswith("_engine")}

    @property
    def _read(self) -> bool:
        """Whether the corpus was read as records; version 0.1 only shuffled its lines."""
        return self.checkpoint.about("corpus").get("records") is True

    @cached_property
    def _exact_engine(self) -> AnyEngine:
        own = self.checkpoint
        with np.errstate(all="ignore"):  # weights of an untrusted file may overflow
            return open_engine(own.config, own.weights, batched=True)

    def check_lines(self, lines: bool | None) -> None:
        """Check that there are lines, if ``lines``.

        Raises:
            ConfigError: the vocabulary has no line end.

        """
        if lines and self.vocab.id_of("\n") is None:
            raise ConfigError("needs a line end in the vocabulary", "omit {lines}", setting="lines")

    def record_form(self, lines: bool | None = True) -> RecordForm | None:
        """How lines are read as records; None unless they are, or shall be with ``lines``.

        Raises:
            ConfigError: they shall be, but the vocabulary has no line end, or the model reads from
                right to left.

        """
        self.check_lines(lines)
        if lines and self.reverse:
            reason = "needs a model that reads from left to right"
            raise ConfigError(reason, "omit {lines}", setting="lines")
        return self.records or (form_of(self.vocab, self._read) if lines else None)

    def encode(self, text: str | bytes, unknown: Unknown = "error") -> Ids:
        """The ids ``(N,)`` of a text to score; records get the line ends that were learned.

        Arguments and errors are those of ``vocab.encode``.
        """
        return self.vocab.encode(_completed(text, self.records), unknown)

    def score(self, text: str | bytes, *, unknown: Unknown = "error", exact: bool = False) -> Score:
        """How well the model predicts ``text``; its first character is not counted.

        A long text is read in pieces, and ``Score.error_bound`` says what that may cost. A model of
        records scores each line by itself, from the line end before it to its own line
        end, and counts all of it, whether the last line has a line end or not.

        Args:
            text: the text; bytes are UTF-8 (``read`` decodes other encodings), or the symbols of a
                byte vocabulary.
            unknown: what to do about characters that are not in the vocabulary.
            exact: read the text in one pass, even if that takes several times as long.

        Raises:
            CorpusError: the text has fewer than two characters, or no record.
            UnknownCharacterError: it has a character that is not in the vocabulary.

        """
        return self.score_ranges(self.encode(text, unknown), exact=exact)

    def score_ranges(
        self, ids: Ids, ranges: tuple[Range, ...] | None = None, *, exact: bool = False
    ) -> Score:
        """How well the model predicts ``ranges`` of ``ids (N,)``; by default all of it.

        Each range starts from the zero state and reads the character before it; all its characters
        are counted, except the first one of the text. Each record does, and all of it counts, if
        the model learned records. If it reads from right to left, what is first is what comes last.

        Raises:
            CorpusError: there is nothing to score.

        """
        ids, ranges = self.as_read(ids, ranges)
        checkpoint = self.checkpoint
        total = score_ids(checkpoint.config, checkpoint.weights, ids, ranges=ranges, exact=exact)
        return total.of_symbols(self.vocab, ids, ranges)

    def as_read(
        self,
        ids: Ids,
        ranges: tuple[Range, ...] | None = None,
        form: RecordForm | None = None,
    ) -> tuple[Ids, tuple[Range, ...]]:
        """The text as the network reads it, and the ranges of it that start from the zero state.

        That is ``ids (N,)`` and ``ranges`` (default: all), or the records in them; and from right
        to left if the network reads so. ``form`` is how records are read, if not as learned.
        """
        self.checkpoint.config.check_causal("say how probable a text is")
        form = self.records if form is None else form
        if form is not None:
            ids, ranges = form.apart(ids, ranges)
        ranges = ((0, len(ids)),) if ranges is None else ranges
        ids, ranges = turned(ids, ranges) if self.reverse else (ids, ranges)
        if not any(stop > max(start, 1) for start, stop in ranges):
            check_ids(ids, len(self.vocab))  # a table is no short text
            raise CorpusError(f"the text to score needs at least two {self.vocab.unit}s")
        return ids, ranges

    def score_lines(
        self,
        text: str | bytes,
        *,
        unknown: Unknown = "error",
        exact: bool = False,
        lines: bool | None = None,
    ) -> Iterator[ScoredLine]:
        """``score`` for each line of a text.

        Args:
            text: as for ``score``, as are ``unknown`` and ``exact``.
            unknown: what to do about characters that are not in the vocabulary.
            exact: read the text in one pass.
            lines: score each line by itself, from the zero state and the line end before it, and
                count all of it; otherwise the state is carried from line to line. Default: if the
                model was trained on lines.

        Raises immediately what ``score`` raises, and:
            ConfigError: lines have no end in the vocabulary.

        """
        form = self.record_form(lines)
        text = _completed(text, form)
        ids = self.vocab.encode(text, unknown)
        nats, total = self._nats(ids, form, exact)
        return scored_lines(self.vocab, text, ids, nats, unknown, total.error_bound)

    def score_drawn(self, records: list[Drawn], form: RecordForm) -> list[Score]:
        """The score of each record, read as ``form`` says; of those without an end, of the rest."""
        end = [] if form.carriage_return is None else [form.carriage_return]
        end.append(form.line_end)
        whole = [record.ids + end for record in records]
        ids = np.array([i for record in whole for i in record], id_dtype(len(self.vocab)))
        nats, _ = self._nats(ids, form, exact=True)
        scores, start = [], 0
        for record, drawn in zip(whole, records, strict=True):
            own = nats[start : start + len(record) - (len(end) if drawn.cut else 0)]
            total = Score(float(own.sum(dtype=np.float64)), len(own))
            scores.append(total.of_all(self.vocab, ids[start : start + len(own)]))
            start += len(record)
        return scores

    def score_chars(
        self, text: str | bytes, *, top: int = 0, unknown: Unknown = "error", exact: bool = False
    ) -> Iterator[ScoredChar]:
        """What each character of a text cost, how many were likelier, and the ``top`` likeliest.

        Arguments and errors are those of ``score``; errors are raised immediately. Records get the
        line ends that were learned.
        """
        check_int("top", top, 0)
        ids = self.encode(text, unknown)
        ranks = Ranks(ids, min(top, len(self.vocab)))
        nats, _ = self._nats(ids, self.records, exact, ranks)
        return ranks.chars(list(self.vocab.symbols()), nats)

    def log_probs(self, text: str | bytes, *, unknown: Unknown = "error") -> Array:
        """The log-probability of every symbol at each of the T characters of a text.

        ``log_probs(text)[t, i]`` is the log-probability, in nats, that the character t is the
        symbol with the id i, given those before it; so those of the text itself are
        ``log_probs(text)[range(T), model.encode(text)]``. The text is read in one pass.

        Args:
            text: as for ``score``; records get the line ends that were learned.
            unknown: what to do about characters that are not in the vocabulary.

        Returns:
            ``(T, V)`` float32. The first row is NaN, as nothing comes before it, but not with a
            model of records, which reads a line end first. With a model that reads from right to
            left it is the last row.

        Raises: as ``score``.
        """
        ids = self.encode(text, unknown)
        table = np.full((len(ids), len(self.vocab)), np.nan, np.float32)
        self._nats(ids, self.records, True, table.__setitem__)
        return table

    def next(
        self, prefix: str | bytes = "", *, top: int = 10, unknown: Unknown = "error"
    ) -> list[Candidate]:
        """The ``top`` likeliest characters after ``prefix``, the likeliest first.

        A model that reads from right to left says what comes before it.

        They are those at temperature 1. ``prefix`` is read as ``sample`` reads a prime: a model of
        records takes its last line as the beginning of a record.

        Raises:
            ConfigError: ``top`` is below 1.
            UnknownCharacterError: ``prefix`` has a character that is not in the vocabulary.
            CheckpointError: the network's numbers overflow.

        """
        check_int("top", top, 1)
        begun = prefix if self.records is None else self._begun(prefix, self.records, unknown)
        ids = self.vocab.encode(begun, unknown)
        if not len(ids):
            ids = np.array([first_id(self.vocab)], ids.dtype)
        ids = ids[::-1] if self.reverse else ids
        engine = self._exact_engine.sibling(1)
        with np.errstate(all="ignore"):
            for begin in range(0, len(ids) - 1, FEED):
                engine.feed(ids[:-1][begin : begin + FEED])
            log_p = log_softmax(engine.step(ids[-1:]))[0]
        if np.isnan(log_p).any():
            raise CheckpointError(OVERFLOW)
        return candidates(log_p, top, list(self.vocab.symbols()))

    def _begun(self, prime: str | bytes, form: RecordForm, unknown: Unknown) -> str | bytes:
        """What is read before a record that begins with the last line of ``prime``.

        Raises:
            UnknownCharacterError: names the place in ``prime``.

        """
        begun = form.begun(prime)
        if unknown == "error" and self.vocab.missing(begun):
            self.vocab.encode(prime)
        return begun

    def _nats(
        self,
        ids: Ids,
        form: RecordForm | None,
        exact: bool,
        seen: Distributions | None = None,
    ) -> tuple[Array, Score]:
        """Nats ``(N,)`` of ``ids (N,)``, records of ``form`` apart, and their score.

        ``seen`` gets the log-probabilities ``(n, V)`` of the characters at positions ``(n,)``.
        """
        whole, ranges = self.as_read(ids, form=form)
        begin = len(whole) - len(ids)  # a line end may have been put before the first record

        def place(positions: Any) -> Any:
            return len(ids) - 1 - positions if self.reverse else positions - begin

        nats, total = position_nats(
            self.checkpoint.config,
            self._exact_engine,
            whole,
            ranges=ranges,
            exact=exact,
            distributions=seen and (lambda where, log_p: seen(place(where), log_p)),
        )
        return nats[::-1] if self.reverse else nats[begin:], total


def _completed(text: str | bytes, form: RecordForm | None) -> str | bytes:
    return text if form is None else form.complete(text)
