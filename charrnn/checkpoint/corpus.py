"""The corpus that the network in a checkpoint learned, as its metadata describe it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import CheckpointError, CorpusError
from charrnn.text.corpus import Corpus, cached_corpus, encode_corpus
from charrnn.text.recorded import read_as, recorded
from charrnn.text.splits import Parts
from charrnn.text.splits import split as cut

Paths: TypeAlias = str | Path | Sequence[str | Path]  # one or several


def own_corpus(
    checkpoint: Checkpoint, name: str, source: Paths | None = None, path: Path | None = None
) -> tuple[Corpus, Parts]:
    """The corpus of ``checkpoint``, which messages call ``name``, and the parts it was split into.

    ``source`` is the corpus as it was named for training: files, folders, patterns. By default the
    cache is asked for a copy, and the folder of the checkpoint's file ``path``, where a run may
    have kept one.

    Raises:
        CorpusError: the corpus is not available, or is another text.
        CheckpointError: the checkpoint does not say how its corpus was split.

    """
    about = checkpoint.about("corpus")
    (title, digest, encoding), cuts = recorded(about, name)
    how: dict[str, Any] = {
        "records": about.get("records") is True, "symbols": checkpoint.vocab.rule
    }  # fmt: skip
    corpus: Corpus | None
    if source is None:
        limited = read_as(about)["max_bytes"] is not None
        key, run = (digest, title, encoding), path and path.parent
        corpus = cached_corpus(*key, limited=limited, chars=about.get("chars"), run=run, **how)
    else:
        paths = [source] if isinstance(source, (str, os.PathLike)) else source
        corpus = encode_corpus(paths, encoding=encoding, **how, **read_as(about))
    if corpus is None:
        raise CorpusError(f"the corpus {title} is not in the cache", "name its file")
    if corpus.sha256 != digest:
        message = f"{corpus.name} is not the corpus {title}: its sha256 differs"
        raise CorpusError(message, "name the texts that the model was trained on, in order")
    parts = cut(len(corpus), *cuts)
    if corpus.vocab.alphabet != checkpoint.vocab.alphabet:
        raise CheckpointError(f"{name} does not have the vocabulary of its corpus {title}")
    return corpus, parts
