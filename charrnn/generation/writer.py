"""How a model writes texts and draws records. Needs NumPy and never imports torch."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.arguments import checked
from charrnn.checkpoint.corpus import Paths, own_corpus
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import StateDtype, WeightDtype, draw_seed
from charrnn.errors import ConfigError, CorpusError, UnknownCharacterError
from charrnn.generation.accepting import Records
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.generator import Generator, Texts
from charrnn.generation.likely import LikelyRecords
from charrnn.generation.predictor import Predictor
from charrnn.generation.quantization import check_state_dtype, quantizes_states
from charrnn.generation.record_config import TRIES, RecordConfig
from charrnn.generation.sample_config import SampleConfig
from charrnn.settings import MAX_INT64, check_int
from charrnn.text.record_set import RecordSet, training_set
from charrnn.text.records import RecordForm, aligned, aligned_parts
from charrnn.text.splits import Parts, Range
from charrnn.text.vocab import Ids


@checked
class Writer(Predictor):
    """A checkpoint that is ready to write texts.

    Args:
        checkpoint: the network and its vocabulary.
        path: the file it was loaded from, if any.
        weight_dtype: the number format of the recurrent weights for writing.
        state_dtype: that of the states which int8 weights are multiplied with. Default: int8 for
            lines, of which people draw many, int16 for other texts.
        threads: how many threads write; the text does not depend on it. 0: at most two.


    Raises:
        ConfigError: ``state_dtype`` is given, but states are not rounded.

    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        path: Path | None = None,
        weight_dtype: WeightDtype = "int8",
        threads: int = 0,
        state_dtype: StateDtype | None = None,
    ) -> None:
        super().__init__(checkpoint)
        self.path, self.weight_dtype, self.threads = path, weight_dtype, threads
        self.state_dtype = state_dtype
        check_state_dtype(checkpoint.config.cell, weight_dtype, state_dtype)

    @property
    def _name(self) -> str:
        return str(self.path or "the checkpoint")

    @cached_property
    def _engine(self) -> AnyEngine:
        return self._open(self.state_dtype or "int16")

    @cached_property
    def _line_engine(self) -> AnyEngine:
        # the i-th line must not depend on how many are drawn, so neither may the engine
        same = self.state_dtype or not quantizes_states(
            self.checkpoint.config.cell, self.weight_dtype
        )
        return self._engine if same else self._open("int8")

    def _open(self, state_dtype: StateDtype) -> AnyEngine:
        own = self.checkpoint
        with np.errstate(all="ignore"):  # weights of an untrusted file may overflow
            return open_engine(
                own.config, own.weights,
                weight_dtype=self.weight_dtype, state_dtype=state_dtype, threads=self.threads,
            )  # fmt: skip

    def sample(
        self,
        prime: str | bytes = "",
        *,
        lines: bool | None = None,
        corpus: Paths | None = None,
        **settings: Any,
    ) -> str:
        """Write one text that continues ``prime``; the result does not include ``prime``.

        A model that reads from right to left writes what comes before ``prime``.

        Args:
            prime: the text to continue; bytes are UTF-8 (``read`` decodes other encodings). A model
                of records reads its last line only, as the beginning of a record.
            lines: end at the end of a line. Default: if the model was trained on lines.
            corpus: what the model was trained on (files, folders, patterns), for ``max_copy``.
                Default: the copy in the cache.
            **settings: those of ``SampleConfig``: temperature, length, top_k or any other filter.
                The default seed is random, so each call writes a different text.

        Raises:
            ConfigError: a setting is unknown or out of range, or nothing can end the text
                (``length`` 0 without a stop text); ``stream`` can write such a text.
            UnknownCharacterError: ``prime`` or a stop text has a character that is not in the
                vocabulary.

        """
        if settings.get("seed") is None:
            settings["seed"] = draw_seed()
        if settings.get("count", 1) != 1:
            raise ConfigError("is not 1: sample writes one text, samples several", setting="count")
        config = SampleConfig(**settings)
        return next(self.samples(prime, config, lines=lines, corpus=corpus))

    def samples(
        self,
        prime: str | bytes,
        config: SampleConfig,
        *,
        lines: bool | None = None,
        corpus: Paths | None = None,
    ) -> Texts[str]:
        """Write ``config.count`` texts, in order; the i-th does not depend on the count.

        Raises immediately what ``sample`` raises.
        """
        generator = self._generator(prime, config, lines, corpus)
        if generator.endless:
            raise ConfigError("is 0: nothing would end the text", "set {stop}", setting="length")
        return Texts(generator, map(self.vocab.decode, generator.samples()))

    def stream(
        self,
        prime: str | bytes,
        config: SampleConfig,
        *,
        lines: bool | None = None,
        corpus: Paths | None = None,
    ) -> Texts[tuple[bytes, bool]]:
        """Write texts piece by piece: pairs of some bytes and whether they end a text.

        Texts may be endless, but not those of a model that reads from right to left, each of which
        is one piece. Raises immediately what ``sample`` raises.
        """
        pieces = self.vocab.pieces
        generator = self._generator(prime, config, lines, corpus)
        written = (
            (b"".join([pieces[i] for i in piece.ids]), piece.last) for piece in generator.pieces()
        )
        return Texts(generator, written)

    def sample_records(
        self,
        config: SampleConfig,
        wanted: RecordConfig | None = None,
        *,
        corpus: Paths | None = None,
        scored: bool = True,
    ) -> Records:
        """Draw records, each a line of its own, until ``config.count`` of them are accepted.

        The i-th one does not depend on the count. Each comes with its score, which is that of
        ``score_lines`` with ``lines``, and so the probability of drawing it at temperature 1.

        Args:
            config: how to draw.
            wanted: which records are accepted. Default: all, also those that reach the greatest
                length before a line end.
            corpus: what the model was trained on (files, folders, patterns), for records that must
                be novel. Default: the copy in the cache.
            scored: whether to score them, which takes as long as drawing them.

        Raises immediately what ``sample`` and ``corpus`` raise; iterating raises
            CharRNNError: ``wanted.max_tries`` records were drawn, and too few are accepted.

        """
        self.checkpoint.config.check_causal("write from left to right")
        form, only = self.record_form(lines=True), wanted or RecordConfig()
        assert form is not None
        if (
            only.unique
            and config.count > 1
            and not (config.temperature or config.final_temperature)
        ):
            reason = "accepts one record, because all are the same"
            raise ConfigError(reason, "set {temperature} above 0", setting="unique")
        prime, tries = self._begun(only.prefix, form, config.unknown), only.max_tries
        if tries is None:
            tries = config.count * (1 if wanted is None else TRIES)
        drawn = replace(config, count=min(tries, MAX_INT64))
        training = partial(self._training, corpus)
        engine = self._line_engine.sibling(1)
        generator = Generator(self.vocab, engine, drawn, prime=prime, lines=True, training=training)
        known = self._training_set(form, corpus) if only.novel else None
        return Records(self, form, generator, wanted, config.count, known, scored)

    def likely(
        self,
        *,
        top: int = 10,
        prefix: str = "",
        length: int = 1000,
        lines: bool | None = None,
        max_tries: int | None = None,
    ) -> LikelyRecords:
        """The ``top`` most probable records, the likeliest first, as they are found.

        The list is exact: every other record of at most ``length`` characters is less probable.
        Their nats are those of ``score_lines`` with ``lines``, at temperature 1.

        Args:
            top: how many.
            prefix: what they begin with.
            length: the most characters that a record may have.
            lines: treat lines as records. Default: if the model was trained on lines.
            max_tries: give up after so many beginnings of records. Default: never.

        Raises immediately:
            ConfigError: a value is invalid, or the model has no records.
            UnknownCharacterError: ``prefix`` has a character that is not in the vocabulary.

        Iterating raises:
            CharRNNError: the tries are spent.
            CheckpointError: the network's numbers overflow.

        """
        wanted = RecordConfig(prefix=prefix, max_tries=max_tries)
        check_int("top", top, 1)
        check_int("length", length, 1)
        self.checkpoint.config.check_causal("list records")
        form = self.record_form(lines)
        if form is None:
            reason = "the network did not learn lines as records"
            raise ConfigError(reason, "set {lines} to list its likeliest lines")
        if missing := self.vocab.missing(wanted.prefix):
            raise UnknownCharacterError(missing)
        begun = self.vocab.encode(form.begun(wanted.prefix))
        own = self.checkpoint
        with np.errstate(all="ignore"):  # weights of an untrusted file may overflow
            engine = open_engine(own.config, own.weights, threads=self.threads)
        return LikelyRecords(
            self.vocab, form, engine, begun, top=top, length=length, max_tries=max_tries
        )

    def _training_set(self, form: RecordForm, corpus: Paths | None) -> RecordSet:
        """The records that the model learned."""
        ids, train = self._training(corpus)
        ranges = aligned(ids, train, form.line_end)
        text_of = self.vocab.as_text if self.vocab.long else None
        return training_set(ids, ranges, form.line_end, form.carriage_return, text_of)

    def _training(self, corpus: Paths | None) -> tuple[Ids, tuple[Range, ...]]:
        """The ids of the model's own corpus, and its training part."""
        try:
            ids, parts = self.corpus(corpus)
        except CorpusError as error:
            hint = error.hint.text if corpus else "set {corpus} to its file"
            raise CorpusError(error.message, hint) from None
        return ids, parts.train

    def _generator(
        self,
        prime: str | bytes,
        config: SampleConfig,
        lines: bool | None,
        corpus: Paths | None,
    ) -> Generator:
        self.checkpoint.config.check_causal("write from left to right")
        self.check_lines(lines)
        lines = self.lines if lines is None else lines
        if lines and prime and self.records is not None:
            prime = self._begun(prime, self.records, config.unknown)
        engine = self._line_engine if lines else self._engine
        return Generator(
            self.vocab,
            engine.sibling(1),
            config,
            prime=prime,
            lines=lines,
            reverse=self.reverse,
            training=partial(self._training, corpus),
        )

    def corpus(self, source: Paths | None = None) -> tuple[Ids, Parts]:
        """The ids ``(N,)`` of the model's own corpus, and the parts it was split into.

        ``source`` is the corpus as for ``part``; by default the cache is asked for a copy.

        Raises:
            CorpusError: the corpus is not available, or is another text.
            CheckpointError: the checkpoint does not say how its corpus was split.

        """
        corpus, parts = own_corpus(self.checkpoint, self._name, source, self.path)
        if self.records is not None:
            parts = aligned_parts(corpus.ids, parts, self.records.line_end)
        return corpus.ids, parts
