"""A trained model, ready to write text and to score it. Needs NumPy and never imports torch."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from charrnn.arguments import checked
from charrnn.checkpoint.corpus import Paths, own_corpus
from charrnn.checkpoint.file import Checkpoint
from charrnn.checkpoint.file import load as load_checkpoint
from charrnn.config import WeightDtype, draw_seed
from charrnn.errors import ConfigError, CorpusError, DecodingError
from charrnn.generation.accepting import Records
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.generator import Generator, Texts
from charrnn.generation.predictor import Predictor
from charrnn.generation.record_config import TRIES, RecordConfig
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.scoring import Score
from charrnn.paths import BEST, LAST, find_checkpoint
from charrnn.settings import MAX_INT64, check_choice
from charrnn.text.decoding import BYTE_ORDER_MARK, decode_text, find_codec
from charrnn.text.kinds import HEAD, kind_of
from charrnn.text.record_set import RecordSet, training_set
from charrnn.text.records import RecordForm, aligned, aligned_parts
from charrnn.text.splits import Parts, Range
from charrnn.text.vocab import Ids


@checked
class TextModel(Predictor):
    """A checkpoint that is ready to write text and to score it.

    Args:
        checkpoint: the network and its vocabulary.
        path: the file it was loaded from, if any.
        weight_dtype: the number format of the recurrent weights for writing; scoring always uses
            float32.
        threads: how many threads write; the text does not depend on it. 0: at most two.

    Attributes:
        vocab: the vocabulary.
        meta: the free part of the checkpoint's metadata.
        reverse: whether the model reads from right to left, and writes what comes before.
        lines: whether the model was trained on records of one line each.
        records: how it reads them; None if it has none.

    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        path: Path | None = None,
        weight_dtype: WeightDtype = "int8",
        threads: int = 0,
    ) -> None:
        super().__init__(checkpoint)
        self.path, self.meta = path, checkpoint.meta
        self.weight_dtype, self.threads = weight_dtype, threads

    @property
    def name(self) -> str:
        """The name of the model's run, or of its file if that has a name of its own."""
        if self.path is None:
            return "model"
        if self.path.name not in (BEST, LAST):
            return self.path.stem
        return self.path.resolve().parent.name or self.path.stem

    @property
    def _name(self) -> str:
        return str(self.path or "the checkpoint")

    @cached_property
    def _engine(self) -> AnyEngine:
        own, dtype = self.checkpoint, self.weight_dtype
        with np.errstate(all="ignore"):  # weights of an untrusted file may overflow
            return open_engine(own.config, own.weights, weight_dtype=dtype, threads=self.threads)

    def encoding(self, asked: str | None = None) -> str:
        """The encoding of texts for this model: ``asked``, or that of its corpus, or UTF-8.

        It is ``bytes`` for a model of bytes, whatever was asked for.

        Raises:
            CorpusError: there is no encoding called ``asked``.

        """
        if self.vocab.is_bytes and asked in (None, "bytes"):
            return "bytes"
        if asked is not None:
            find_codec(asked)
            return "bytes" if self.vocab.is_bytes else asked
        named = self.checkpoint.about("corpus").get("encoding")
        # an untrusted file may name anything
        return named if isinstance(named, str) and named not in ("", "bytes") else "utf-8"

    def read(self, raw: bytes, encoding: str | None = None) -> str | bytes:
        """Decode a text for ``sample`` and ``score``; ``encoding`` is as for ``encoding()``.

        A byte order mark is omitted unless it is in the vocabulary.

        Raises:
            CorpusError: there is no such encoding.
            DecodingError: the text is not in this encoding.

        """
        encoding = self.encoding(encoding)
        if encoding == "bytes":
            return raw
        text = decode_text(raw, encoding)
        self._check_wide(raw, text)
        marked = self.vocab.id_of(BYTE_ORDER_MARK) is not None
        return text if marked else text.removeprefix(BYTE_ORDER_MARK)

    def _check_wide(self, raw: bytes, text: str) -> None:
        """Refuse what decodes only because NUL is a character, if the vocabulary lacks it.

        Raises:
            DecodingError: the text is in an encoding of two or four bytes for a character.

        """
        if "\0" in text[:HEAD] and self.vocab.id_of("\0") is None:
            kind = kind_of(raw)
            if kind is not None and kind.encoding:
                place, values = raw.index(0), {"encoding": kind.encoding}
                message = f"the text has a NUL at byte {place}, it looks like {kind.name}"
                raise DecodingError(message, place, "set {encoding}", **values)

    def sample(self, prime: str | bytes = "", *, lines: bool | None = None, **settings: Any) -> str:
        """Write one text that continues ``prime``; the result does not include ``prime``.

        A model that reads from right to left writes what comes before ``prime``.

        Args:
            prime: the text to continue; bytes are UTF-8 (``read`` decodes other encodings). A model
                of records reads its last line only, as the beginning of a record.
            lines: end at the end of a line. Default: if the model was trained on lines.
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
        return next(self.samples(prime, config, lines=lines))

    def samples(
        self, prime: str | bytes, config: SampleConfig, *, lines: bool | None = None
    ) -> Texts[str]:
        """Write ``config.count`` texts, in order; the i-th does not depend on the count.

        Raises immediately what ``sample`` raises.
        """
        generator = self._generator(prime, config, lines)
        if generator.endless:
            raise ConfigError("is 0: nothing would end the text", "set {stop}", setting="length")
        return Texts(generator, map(self.vocab.decode, generator.samples()))

    def stream(
        self, prime: str | bytes, config: SampleConfig, *, lines: bool | None = None
    ) -> Texts[tuple[bytes, bool]]:
        """Write texts piece by piece: pairs of some bytes and whether they end a text.

        Texts may be endless, but not those of a model that reads from right to left, each of which
        is one piece. Raises immediately what ``sample`` raises.
        """
        pieces = self.vocab.pieces
        generator = self._generator(prime, config, lines)
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
        form, only = self.record_form(lines=True), wanted or RecordConfig()
        assert form is not None
        prime, tries = form.begun(only.prefix), only.max_tries
        if tries is None:
            tries = config.count * (1 if wanted is None else TRIES)
        drawn = replace(config, count=min(tries, MAX_INT64))
        generator = Generator(self.vocab, self._engine.sibling(1), drawn, prime=prime, lines=True)
        known = self._training_set(form, corpus) if only.novel else None
        return Records(self, form, generator, wanted, config.count, known, scored)

    def _training_set(self, form: RecordForm, corpus: Paths | None) -> RecordSet:
        """The records that the model learned."""
        try:
            ids, parts = self.corpus(corpus)
        except CorpusError as error:
            hint = error.hint.text if corpus else "set {corpus} to its file"
            raise CorpusError(error.message, hint) from None
        ranges = aligned(ids, parts.train, form.line_end)
        return training_set(ids, ranges, form.line_end, form.carriage_return)

    def _generator(self, prime: str | bytes, config: SampleConfig, lines: bool | None) -> Generator:
        self.checkpoint.config.check_causal("write from left to right")
        self.check_lines(lines)
        lines = self.lines if lines is None else lines
        if lines and prime and self.records is not None:
            prime = self.records.begun(prime)
        engine, reverse = self._engine.sibling(1), self.reverse
        return Generator(self.vocab, engine, config, prime=prime, lines=lines, reverse=reverse)

    def score_split(self, part: str, source: Paths | None = None, *, exact: bool = False) -> Score:
        """How well the model predicts the ``val`` or ``test`` part of its own corpus.

        Arguments and errors are those of ``part`` and of ``score``.
        """
        return self.score_ranges(*self.part(part, source), exact=exact)

    def part(self, part: str, source: Paths | None = None) -> tuple[Ids, tuple[Range, ...]]:
        """The ids ``(N,)`` of the model's own corpus, and the ranges of one of its parts.

        Args:
            part: ``train``, ``val`` or ``test``.
            source: the corpus as it was named for training: a file, a folder, a pattern or several
                of them. Default: the copy in the cache.

        Raises:
            ConfigError: there is no part of this name.
            CorpusError: the corpus was split without this part, is not available or is another
                text.
            CheckpointError: the checkpoint does not say how its corpus was split.

        """
        check_choice("part", part, ("train", "val", "test"))
        ids, parts = self.corpus(source)
        if not (ranges := parts.named(part)):
            name = self.checkpoint.about("corpus")["name"]
            raise CorpusError(f"{name} was split without a {part} part", "score a whole file")
        return ids, ranges

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


@checked
def load(
    path: str | Path | None = None, *, weight_dtype: WeightDtype = "int8", threads: int = 0
) -> TextModel:
    """Load a trained model.

    Args:
        path: a checkpoint file, its folder or the name of a run. Default: the newest one under
            ``./checkpoints``, or the bundled ``tolstoy``.
        weight_dtype: the number format of the recurrent weights for writing: ``int8`` is fastest,
            ``float32`` is exact.
        threads: how many threads write; the text does not depend on it. 0: at most two.

    Raises:
        CheckpointError: there is no such checkpoint, or it is not usable.
        ConfigError: ``weight_dtype`` is invalid.

    """
    check_choice("weight_dtype", weight_dtype, get_args(WeightDtype))
    found = find_checkpoint(path)
    return TextModel(load_checkpoint(found), found, weight_dtype, threads)
