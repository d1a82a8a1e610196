"""The metadata of a checkpoint, and the command that would train it again."""

from __future__ import annotations

import datetime
import hashlib
import platform
import shlex
from contextlib import suppress
from typing import Any

import charrnn
from charrnn.config import START_FROM, TextConfig
from charrnn.errors import CorpusError
from charrnn.paths import CORPUS_NAME, bundled_corpus
from charrnn.text.corpus import Corpus
from charrnn.text.splits import length
from charrnn.text.symbols import name_of
from charrnn.training.state import RunSpec, TrainingState

LICENCE = "The weights were learned from the corpus named here; its terms may apply to them."


def card(spec: RunSpec, progress: TrainingState, torch_version: str) -> dict[str, Any]:
    """The metadata: corpus, losses (nats a character), recipe and origin, ready for JSON."""
    corpus = spec.corpus
    return {
        "corpus": {
            "name": corpus.name,
            "sha256": corpus.sha256,
            "encoding": corpus.encoding,
            "chars": corpus.chars,
            "max_bytes": spec.max_bytes,
            "skip_bad": spec.skip_bad,
            "lines": spec.training.lines,
            "records": corpus.records,
            "split": spec.split.to_dict(),
        },
        "losses": _losses(progress),
        "validation": measure(spec, progress),
        "start_from": spec.start_from,
        "training": spec.training.to_dict(),
        "progress": {
            "step": progress.step,
            "epoch": progress.epoch,
            "chars": spec.chars(progress.chars),
            "elapsed_s": round(progress.elapsed_s, 1),
        },
        "made": {
            "by": f"charrnn {charrnn.__version__}",
            "torch": torch_version,
            "python": platform.python_version(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": command(spec),
        },
        "licence": LICENCE,
    }


def measure(spec: RunSpec, progress: TrainingState) -> dict[str, Any]:
    """How the validations of a run measure: only losses that agree in it can be compared."""
    how = {"precision": "float32", "chars": progress.val_chars or length(spec.parts.val)}
    # a loss of characters that are named from both sides is no loss of a text
    return how | ({"given": "both sides"} if spec.model.bidirectional else {})


def _losses(progress: TrainingState) -> dict[str, Any]:
    """The losses; ``val_chars`` says of how many characters, if not of the whole part."""
    losses = {"train": progress.train_nats, "val": progress.best_val, "test": None}
    return losses | ({"val_chars": progress.val_chars} if progress.val_chars else {})


def command(spec: RunSpec) -> str:
    """The command line that trains this network, with every setting that was chosen.

    Settings that describe the machine (device, threads) are omitted.
    """
    texts = [] if _is_bundled(spec.corpus) else spec.corpus.name.split(" + ")
    words = ["charrnn", "train", *map(_as_argument, texts), *START_FROM.spell(spec.start_from)]
    for settings in (spec.model, spec.training, _text_config(spec)):
        for option in settings.options:
            if option.recorded and not option.python_only:
                words += option.spell(settings.value(option.name))
    return shlex.join(words)


def _text_config(spec: RunSpec) -> TextConfig:
    """How the text of a run was read and split."""
    encoding = spec.corpus.encoding
    return TextConfig(
        is_bytes=encoding == "bytes",
        encoding=None if encoding in ("bytes", "utf-8") else encoding,
        max_bytes=spec.max_bytes,
        skip_bad=spec.skip_bad,
        symbols=name_of(expression) if (expression := spec.corpus.vocab.expression) else None,
        split=spec.split.kind,
        val_frac=spec.split.val_frac,
        test_frac=spec.split.test_frac,
    )


def _as_argument(text: str) -> str:
    """The command line's word for the text with that name."""
    if text == "standard input":
        return "-"
    return f"./{text}" if text.startswith("-") else text


def _is_bundled(corpus: Corpus) -> bool:
    """Whether ``train`` uses this corpus by default."""
    if corpus.name != CORPUS_NAME:
        return False
    with suppress(CorpusError, OSError):
        return hashlib.sha256(bundled_corpus().read_bytes()).hexdigest() == corpus.sha256
    return False
