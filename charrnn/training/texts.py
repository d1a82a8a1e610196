"""Which text trains, how it is read and how it is split."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import TextConfig
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.paths import bundled_corpus, cache_of_run
from charrnn.settings import declared
from charrnn.text.corpus import Corpus, encode_corpus
from charrnn.text.decoding import find_codec
from charrnn.text.records import aligned_parts
from charrnn.text.splits import RULE, Parts, length, split
from charrnn.text.symbols import SymbolRule, expression_of
from charrnn.training.state import SplitSpec

UTF8, BYTES = "utf-8", "bytes"
VALIDATED = 500_000  # characters of the validation part, at most, unless a fraction is given


def reading(encoding: str | None) -> dict[str, Any]:
    """The fields ``is_bytes`` and ``encoding``; ``encoding="bytes"`` means ``is_bytes``.

    Encodings have many spellings; the result is the normal one.

    Raises:
        CorpusError: there is no such text encoding.

    """
    if encoding == BYTES:
        return {"is_bytes": True, "encoding": None}
    name = None if encoding is None else find_codec(encoding).name
    return {"is_bytes": False, "encoding": name}


@dataclasses.dataclass(frozen=True)
class TextChoice(TextConfig):
    """The texts at ``paths`` (none: the bundled one), how they are read and how they are split.

    ``out`` is the folder of the run (None: a new one's), which may have to keep the encoded text.
    ``known`` are the symbols of several characters of the network that training starts from.
    """

    paths: tuple[str | Path, ...] = ()
    out: Path | None = None
    known: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, paths: tuple[str | Path, ...], asked: dict[str, Any], out: Path | None = None
    ) -> TextChoice:
        """The texts at ``paths``, treated as ``asked`` for by fields of ``TextConfig``.

        Raises:
            ConfigError: a value is invalid, or both bytes and an encoding are asked for.
            CorpusError: there is no such encoding of texts.

        """
        for option in declared(TextConfig):
            option.check(asked.get(option.name, option.default))
        encoding, is_bytes = asked.get("encoding"), asked.get("is_bytes")
        if is_bytes and encoding not in (None, BYTES):
            reason = "takes the text's bytes as they are"
            raise ConfigError(reason, "omit {encoding}", setting="is_bytes")
        how = asked | reading(BYTES if is_bytes else encoding)
        if (symbols := asked.get("symbols")) is not None:
            if how["is_bytes"]:
                reason = "makes symbols of characters, not of bytes"
                raise ConfigError(reason, "omit {is_bytes}", setting="symbols")
            how["symbols"] = expression_of(symbols)
        return cls(**how, paths=paths, out=out)

    def split_spec(self, size: int = 0, records: bool = False) -> SplitSpec:
        """How a text of ``size`` characters is split, which may hold records.

        The parts of records are taken from all over the text, because their order means nothing,
        and is often an alphabet's.

        By default 0.1 of it is for validation; of a long text ``VALIDATED`` characters, which are
        enough to tell networks apart. An interleaved split, which exists for comparisons with the
        2015 paper, always takes 0.1, and another 0.1 for testing.
        """
        interleaved = self.split == "interleaved"
        val_frac = 0.1 if interleaved else min(0.1, VALIDATED / max(size, 1))
        return SplitSpec(
            self.split or ("spread" if records else "contiguous"),
            val_frac if self.val_frac is None else self.val_frac,
            (0.1 if interleaved else 0.0) if self.test_frac is None else self.test_frac,
            RULE if interleaved else 1,
        )

    def read_as(self, origin: Checkpoint) -> TextChoice:
        """The same text as bytes, characters or symbols, as the vocabulary of ``origin`` holds.

        Raises:
            ConfigError: the settings ask for the other.

        """
        if self.is_bytes and not origin.vocab.is_bytes:
            reason = "keeps the checkpoint's characters"
            raise ConfigError(reason, "omit {is_bytes}", setting="start_from")
        if self.encoding is not None and origin.vocab.is_bytes:
            reason = "keeps the checkpoint's bytes"
            raise ConfigError(reason, "omit {encoding}", setting="start_from")
        own = origin.vocab.expression or None
        if self.symbols not in (None, own):
            reason = f"keeps the checkpoint's {'symbols' if own else 'characters'}"
            raise ConfigError(reason, "omit {symbols}", setting="start_from")
        return dataclasses.replace(
            self, is_bytes=origin.vocab.is_bytes, symbols=own, known=origin.vocab.long
        )

    def encode(self, records: bool = False) -> Corpus:
        """The text as ids, with each line a record or not.

        Raises:
            CorpusError: the text cannot be read.

        """
        return encode_corpus(
            self.paths or (bundled_corpus(),),
            is_bytes=self.is_bytes,
            encoding=UTF8 if self.encoding is None else self.encoding,
            records=records,
            symbols=self.rule,
            max_bytes=self.max_bytes,
            skip_bad=self.skip_bad,
            cache=self.cache,
        )

    @property
    def rule(self) -> SymbolRule | None:
        """How the text is cut into symbols; None: into characters."""
        return None if self.symbols is None else SymbolRule(self.symbols, self.known)

    @property
    def cache(self) -> Path:
        """The folder that keeps the encoded text."""
        return cache_of_run(self.out)


def parts_of(corpus: Corpus, split_spec: SplitSpec, line_end: int | None = None) -> Parts:
    """The parts of ``corpus`` for training, validation and testing.

    With ``line_end``, the id of what ends a record, they hold whole records. Version 0.1 did not
    read a corpus as records; a run that it began keeps its training part.

    Raises:
        CorpusError: the training part is too short.

    """
    parts = split(len(corpus), **dataclasses.asdict(split_spec), unit=corpus.vocab.unit)
    if line_end is not None:
        whole = aligned_parts(corpus.ids, parts, line_end)
        parts = whole if corpus.records else dataclasses.replace(whole, train=parts.train)
    if length(parts.train) < 2:
        raise CorpusError(
            f"{corpus.name} has {counted(len(corpus), corpus.vocab.unit)}, "
            f"{length(parts.train)} of them for training: at least 2 are needed"
        )
    return parts


def stem_of(name: str) -> str:
    """The name of a run's folder: that of the corpus without endings such as ``.txt.gz``."""
    stem = re.sub(r"(\.\w{1,5})?(\.(gz|zst))?$", "", name.split(" + ")[0])
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "corpus"
