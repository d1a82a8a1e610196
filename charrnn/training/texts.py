"""Which text trains, how it is read and how it is split."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import TextConfig
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.paths import bundled_corpus
from charrnn.text.corpus import Corpus, encode_corpus
from charrnn.text.sources import find_codec
from charrnn.text.splits import Parts, length, split
from charrnn.training.state import SplitSpec

UTF8, BYTES = "utf-8", "bytes"
VALIDATED = 500_000  # characters that validate unless another part is asked for, at most


def reading(encoding: str | None, is_bytes: bool = False) -> dict[str, Any]:
    """The fields ``is_bytes`` and ``encoding``, however an encoding is spelled; ``bytes`` is none.

    Raises:
        CorpusError: it is no encoding of texts.

    """
    if encoding == BYTES:
        return {"is_bytes": True, "encoding": None}
    name = None if encoding is None else find_codec(encoding).name
    # bytes are in no encoding; that of most texts does no harm to say
    return {"is_bytes": is_bytes, "encoding": None if is_bytes and name == UTF8 else name}


@dataclasses.dataclass(frozen=True)
class TextChoice(TextConfig):
    """The texts at ``paths`` (none: the bundled one), how they are read and how they are split."""

    paths: tuple[str | Path, ...] = ()

    @classmethod
    def of(cls, paths: tuple[str | Path, ...], asked: dict[str, Any]) -> TextChoice:
        """The texts at ``paths``, treated as ``asked`` for by fields of ``TextConfig``.

        Raises:
            ConfigError: a value is out of range.
            CorpusError: there is no such encoding of texts.

        """
        read = reading(asked.get("encoding"), asked.get("is_bytes", False))
        return cls(**(asked | read), paths=paths)

    def split_spec(self, size: int = 0) -> SplitSpec:
        """How a text of ``size`` characters is split.

        0.1 of it validates, of a long one no more than tells networks apart. An interleaved split,
        which exists for comparisons, always takes 0.1, and tests on 0.1 too.
        """
        compared = self.split == "interleaved"
        val_frac = 0.1 if compared else min(0.1, VALIDATED / max(size, 1))
        return SplitSpec(
            "contiguous" if self.split is None else self.split,
            val_frac if self.val_frac is None else self.val_frac,
            (0.1 if compared else 0.0) if self.test_frac is None else self.test_frac,
        )

    @property
    def _coded(self) -> bool:
        """Whether an encoding was asked for that bytes are not in already."""
        return self.encoding not in (None, UTF8)

    def read_as(self, origin: Checkpoint) -> TextChoice:
        """The same text in bytes or characters, whichever ``origin`` knows.

        Raises:
            ConfigError: the other one was asked for.

        """
        if self.is_bytes and not origin.vocab.is_bytes:
            reason = "keeps the checkpoint's characters"
            raise ConfigError(reason, "omit {is_bytes}", setting="start_from")
        if self._coded and origin.vocab.is_bytes:
            reason = "keeps the checkpoint's bytes"
            raise ConfigError(reason, "omit {encoding}", setting="start_from")
        return dataclasses.replace(self, is_bytes=origin.vocab.is_bytes)

    def encode(self) -> Corpus:
        """The text as ids; the bundled one where none is named.

        Raises:
            ConfigError: bytes in an encoding were asked for.
            CorpusError: it cannot be read.

        """
        if self.is_bytes and self._coded:
            reason = "takes the text's bytes as they are"
            raise ConfigError(reason, "omit {encoding}", setting="is_bytes")
        return encode_corpus(
            self.paths or (bundled_corpus(),),
            is_bytes=self.is_bytes,
            encoding=UTF8 if self.encoding is None else self.encoding,
            max_bytes=self.max_bytes,
        )


def parts_of(corpus: Corpus, split_spec: SplitSpec) -> Parts:
    """``corpus`` split as ``split_spec`` says.

    Raises:
        CorpusError: too little of it is left to train on.

    """
    parts = split(len(corpus), split_spec.kind, split_spec.val_frac, split_spec.test_frac)
    if length(parts.train) < 2:
        raise CorpusError(
            f"{corpus.name} has {counted(len(corpus), 'character')}, "
            f"{length(parts.train)} of them to train on: at least 2 are needed"
        )
    return parts


def stem_of(name: str) -> str:
    """What a run's folder is called after the corpus ``name``."""
    stem = re.sub(r"\.\w{1,5}$", "", name.split(" + ")[0])
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "corpus"
