"""What a checkpoint says of itself, and the command that would make it again."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import platform
import shlex
from contextlib import suppress
from typing import Any

import charrnn
from charrnn.errors import CorpusError
from charrnn.paths import CORPUS_NAME, bundled_corpus
from charrnn.text.corpus import Corpus
from charrnn.training.state import RunSpec, TrainingState

LICENCE = "The weights were learned from the corpus named here; its terms may apply to them."


def card(spec: RunSpec, progress: TrainingState, torch_version: str) -> dict[str, Any]:
    """Corpus, losses (nats a character), recipe and origin, as plain values for JSON."""
    corpus = spec.corpus
    return {
        "corpus": {
            "name": corpus.name,
            "sha256": corpus.sha256,
            "encoding": corpus.encoding,
            "chars": len(corpus),
            "max_bytes": spec.max_bytes,
            "lines": spec.training.lines,
            "split": dataclasses.asdict(spec.split),
        },
        "losses": {"train": progress.train_nats, "val": progress.best_val, "test": None},
        "start_from": spec.start_from,
        "training": spec.training.to_dict(),
        "progress": {
            "step": progress.step,
            "epoch": progress.epoch,
            "chars": progress.chars,
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


def command(spec: RunSpec) -> str:
    """The command line that trains such a network, everything that was chosen spelled out."""
    model, config, corpus, split = spec.model, spec.training, spec.corpus, spec.split
    values: dict[str, Any] = {
        "from": spec.start_from,
        "max-bytes": spec.max_bytes,
        "cell": model.cell,
        "size": model.hidden,
        "layers": model.layers,
        "embedding": model.embedding,
        "batch": config.batch,
        "window": config.window,
        "lr": config.lr,
        "dropout": config.dropout,
        "input-dropout": config.input_dropout,
        "weight-dropout": config.weight_dropout,
        "ema": config.ema,
        "patience": config.patience,
        "split": split.kind,
        "val-frac": split.val_frac,
        "test-frac": split.test_frac,
        "epochs": config.epochs or None,
        "steps": config.steps or None,
        "time": _plain(config.seconds) + "s" if config.seconds else None,
        "precision": None if config.precision == "auto" else config.precision,
        "seed": config.seed,
    }
    texts = [] if _is_bundled(corpus) else corpus.name.split(" + ")
    words = ["charrnn", "train", *map(_as_argument, texts)]
    for name, value in values.items():
        words += [] if value is None else [f"--{name}", str(value)]
    words += [] if config.fit_temperature else ["--no-fit-temperature"]
    words += ["--sum-layers" if model.sum_layers else "--last-layer"]
    words += ["--lines"] if config.lines else []
    if corpus.encoding == "bytes":
        words.append("--bytes")
    elif corpus.encoding != "utf-8":
        words += ["--encoding", corpus.encoding]
    return shlex.join(words)


def _as_argument(text: str) -> str:
    """How a text that is called so was named, as far as its name tells."""
    if text == "standard input":
        return "-"
    return f"./{text}" if text.startswith("-") else text


def _plain(value: float) -> str:
    """A number without an exponent."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _is_bundled(corpus: Corpus) -> bool:
    """Whether that is what ``train`` takes unasked."""
    if corpus.name != CORPUS_NAME:
        return False
    with suppress(CorpusError, OSError):
        return hashlib.sha256(bundled_corpus().read_bytes()).hexdigest() == corpus.sha256
    return False
