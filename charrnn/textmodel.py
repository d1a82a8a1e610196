"""A trained model as people use it: write text, score text. NumPy alone; torch is never imported.

The command line calls what stands here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.file import Checkpoint
from charrnn.checkpoint.file import load as load_checkpoint
from charrnn.config import Split, Unknown, WeightDtype, draw_seed
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.generation.factory import AnyEngine, open_engine
from charrnn.generation.generator import Generator
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.scoring import Score, position_nats
from charrnn.generation.scoring import score as score_ids
from charrnn.paths import BEST, LAST, find_checkpoint
from charrnn.settings import check_choice
from charrnn.text.corpus import cached_corpus, encode_corpus
from charrnn.text.sources import BYTE_ORDER_MARK, decode_text, find_codec
from charrnn.text.splits import Parts, Range
from charrnn.text.splits import split as cut
from charrnn.text.vocab import Ids, Vocab


@dataclass(frozen=True)
class ScoredLine:
    """A line of a text: its characters with the nats that each cost (NaN: not counted)."""

    text: str
    pieces: list[str]
    nats: list[float]
    score: Score


class TextModel:
    """A checkpoint ready to write and to score.

    ``path`` is where it came from; ``weight_dtype`` how recurrent weights are held while writing
    (scoring always uses float32); ``vocab`` its vocabulary; ``lines`` whether it was trained on
    one record a line.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        path: Path | None = None,
        weight_dtype: WeightDtype = "int8",
    ) -> None:
        self.checkpoint, self.path, self.weight_dtype = checkpoint, path, weight_dtype
        self.vocab: Vocab = checkpoint.vocab
        self.meta = checkpoint.meta
        self.lines = checkpoint.about("corpus").get("lines") is True

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
        checkpoint = self.checkpoint
        with np.errstate(all="ignore"):  # the weights may be anybody's, and overflow
            return open_engine(
                checkpoint.config, checkpoint.weights, weight_dtype=self.weight_dtype
            )

    def encoding(self, asked: str | None = None) -> str:
        """How texts for this model are read: as ``asked``, else as its corpus was, else UTF-8.

        A model of bytes takes bytes as they are, whatever was asked for.

        Raises:
            CorpusError: what was asked for is no encoding.

        """
        if self.vocab.is_bytes and asked in (None, "bytes"):
            return "bytes"
        if asked is not None:
            find_codec(asked)
            return "bytes" if self.vocab.is_bytes else asked
        named = self.checkpoint.about("corpus").get("encoding")
        # the card may be anybody's
        return named if isinstance(named, str) and named not in ("", "bytes") else "utf-8"

    def read(self, raw: bytes, encoding: str | None = None) -> str | bytes:
        """A text's bytes as ``sample`` and ``score`` take it, without a mark the alphabet lacks.

        Raises:
            CorpusError: there is no such encoding.
            DecodingError: the text is not in it.

        """
        encoding = self.encoding(encoding)
        if encoding == "bytes":
            return raw
        text = decode_text(raw, encoding)
        marked = self.vocab.id_of(BYTE_ORDER_MARK) is not None
        return text if marked else text.removeprefix(BYTE_ORDER_MARK)

    def sample(self, prime: str | bytes = "", *, lines: bool | None = None, **settings: Any) -> str:
        """One text that goes on from ``prime``, which is not repeated.

        Args:
            prime: what to go on from; empty begins afresh. Bytes are UTF-8; ``read`` knows others.
            lines: end at the line's end (default: if the model was trained so).
            **settings: those of ``SampleConfig``: temperature, length, top_k or any other filter.
                Without a ``seed`` a random one is drawn, so that every call writes another text.

        Raises:
            ConfigError: a setting is unknown or out of range, or nothing can end the text
                (``length`` 0 without a stop text): ``stream`` writes such a one.
            UnknownCharacterError: ``prime`` or a stop text has a character the vocabulary lacks.

        """
        if settings.get("seed") is None:
            settings["seed"] = draw_seed()
        if settings.get("count", 1) != 1:
            raise ConfigError("is not 1: sample writes one text, samples several", setting="count")
        config = SampleConfig(**settings)
        return next(self.samples(prime, config, lines=lines))

    def samples(
        self, prime: str | bytes, config: SampleConfig, *, lines: bool | None = None
    ) -> Iterator[str]:
        """``config.count`` texts, in order; the i-th is the same whatever the count.

        Raises at once what ``sample`` raises.
        """
        generator = self._generator(prime, config, lines)
        if generator.endless:
            raise ConfigError("is 0: nothing would end the text", "set {stop}", setting="length")
        return (self.vocab.decode(ids) for ids in generator.samples())

    def stream(
        self, prime: str | bytes, config: SampleConfig, *, lines: bool | None = None
    ) -> Iterator[tuple[bytes, bool]]:
        """The texts as they are made: some bytes, and whether they end a sample.

        Raises at once what ``sample`` raises, but may be endless.
        """
        pieces = self.vocab.pieces
        generator = self._generator(prime, config, lines)
        return (
            (b"".join([pieces[i] for i in piece.ids]), piece.last) for piece in generator.pieces()
        )

    def _generator(self, prime: str | bytes, config: SampleConfig, lines: bool | None) -> Generator:
        if lines and self.vocab.id_of("\n") is None:
            raise ConfigError("needs a line end in the vocabulary", "omit {lines}", setting="lines")
        lines = self.lines if lines is None else lines
        return Generator(self.vocab, self._engine.sibling(1), config, prime=prime, lines=lines)

    def score(self, text: str | bytes, *, unknown: Unknown = "error") -> Score:
        """How well the model predicts ``text``; its first character is read, not counted.

        Bytes are UTF-8, or a byte alphabet's own; ``read`` knows other encodings.

        Raises:
            CorpusError: the text has fewer than two characters.
            UnknownCharacterError: it has a character the vocabulary lacks.

        """
        return score_ids(
            self.checkpoint.config, self.checkpoint.weights, self.vocab.encode(text, unknown)
        )

    def score_lines(self, text: str | bytes, *, unknown: Unknown = "error") -> Iterator[ScoredLine]:
        """``score`` for each line of a text, the state carried from line to line.

        Raises at once what ``score`` raises.
        """
        ids = self.vocab.encode(text, unknown)
        nats = position_nats(self.checkpoint.config, self.checkpoint.weights, ids)
        return self._lines(ids, nats, [*self._line_ends(text, ids, unknown), len(ids)])

    def _lines(self, ids: Ids, nats: NDArray[Any], ends: list[int]) -> Iterator[ScoredLine]:
        symbols = list(self.vocab.symbols())
        start = 0
        for end in ends:
            if end > start:
                own = nats[start:end]
                counted = own[~np.isnan(own)]
                total = Score(float(counted.sum(dtype=np.float64)), len(counted))
                pieces = [symbols[i] for i in ids[start:end]]
                line = self.vocab.decode(ids[start:end]).removesuffix("\n").removesuffix("\r")
                yield ScoredLine(line, pieces, own.tolist(), total)
            start = end

    def _line_ends(self, text: str | bytes, ids: Ids, unknown: Unknown) -> list[int]:
        """Where the lines of ``text`` end among its ``ids``."""
        newline = self.vocab.id_of("\n")
        if newline is not None:
            ends: list[int] = (np.flatnonzero(ids == newline) + 1).tolist()
            return ends
        if isinstance(text, bytes) and not self.vocab.is_bytes:
            text = text.decode()
        lines = io.BytesIO(text) if isinstance(text, bytes) else io.StringIO(text, newline="\n")
        lengths = [len(self.vocab.encode(line, unknown)) for line in lines]
        return list(accumulate(lengths))

    def score_split(self, part: str, source: str | Path | None = None) -> Score:
        """How well the model predicts the ``val`` or ``test`` part of its own corpus.

        Each range of the part starts from the zero state, reads the character before it and counts
        every one of its own. ``source`` is the corpus; without it the cache of encoded texts has
        to have it.

        Raises: as ``part``.

        """
        return self.score_ranges(*self.part(part, source))

    def score_ranges(self, ids: Ids, ranges: tuple[Range, ...] | None = None) -> Score:
        """How well the model predicts ``ranges`` of a text of its alphabet's ids."""
        return score_ids(self.checkpoint.config, self.checkpoint.weights, ids, ranges=ranges)

    def part(self, part: str, source: str | Path | None = None) -> tuple[Ids, tuple[Range, ...]]:
        """The model's own corpus, and the ranges of it that ``part`` (``val``, ``test``) is.

        Raises:
            ConfigError: ``part`` is none.
            CorpusError: the corpus has no such part.

        And what ``corpus`` raises.

        """
        check_choice("part", part, ("train", "val", "test"))
        ids, parts = self.corpus(source)
        if not (ranges := parts.named(part)):
            name = self.checkpoint.about("corpus")["name"]
            raise CorpusError(f"{name} was split without a {part} part: score a FILE whole")
        return ids, ranges

    def corpus(self, source: str | Path | None = None) -> tuple[Ids, Parts]:
        """The model's own corpus, and how it was split.

        ``source`` is where it lies; without it the cache of encoded texts has to have it.

        Raises:
            CorpusError: the corpus is not there, or is another text.
            CheckpointError: the checkpoint does not say how its corpus was split.

        """
        (name, digest, encoding), (kind, *fractions) = self._split()
        if source is None:
            corpus = cached_corpus(digest, name, encoding)
        else:
            most = self.checkpoint.about("corpus").get("max_bytes")
            most = most if type(most) is int and most > 0 else None
            corpus = encode_corpus([source], encoding=encoding, max_bytes=most)
        if corpus is None:
            raise CorpusError(f"the corpus {name} is not in the cache", "name its file")
        if corpus.sha256 != digest:
            raise CorpusError(
                f"{source} is not the corpus {name}, its sha256 differs: "
                "name the text that was trained on"
            )
        parts = cut(len(corpus), kind, *fractions)
        if corpus.vocab.codes != self.vocab.codes:
            raise CheckpointError(f"{self._name} does not have the alphabet of its corpus {name}")
        return corpus.ids, parts

    def _split(self) -> tuple[tuple[str, str, str], tuple[Split, float, float]]:
        """Name, sha256 and encoding of the corpus; how it was split, its val and test parts."""
        about = self.checkpoint.about("corpus")
        try:
            how = about["split"]
            cuts = how["kind"], float(how["val_frac"]), float(how["test_frac"])
            return (str(about["name"]), str(about["sha256"]), str(about["encoding"])), cuts
        except (KeyError, TypeError, ValueError, OverflowError):
            raise CheckpointError(
                f"{self._name} does not say how its corpus was split: score a FILE whole"
            ) from None


def load(path: str | Path | None = None, *, weight_dtype: WeightDtype = "int8") -> TextModel:
    """The model at ``path``: a file, its folder, a run's name; None: the newest, else the bundled.

    Raises:
        CheckpointError: there is none, or it is not usable.
        ConfigError: ``weight_dtype`` is invalid.

    """
    check_choice("weight_dtype", weight_dtype, get_args(WeightDtype))
    found = find_checkpoint(path)
    return TextModel(load_checkpoint(found), found, weight_dtype)
