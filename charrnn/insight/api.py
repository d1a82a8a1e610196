"""``insight_page``: what a network learned, as one HTML page. The command line calls this."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from charrnn.arguments import checked
from charrnn.checkpoint.corpus import Paths
from charrnn.config import Unknown, draw_seed
from charrnn.errors import CheckpointError, CorpusError, naming, titled
from charrnn.generation.sample_config import SampleConfig
from charrnn.insight.novelty import Copies, compare
from charrnn.insight.page import History, page
from charrnn.insight.traces import Trace, longest, trace
from charrnn.text.automaton import LONGEST
from charrnn.text.vocab import Ids, Vocab
from charrnn.textmodel import TextModel
from charrnn.training.rundir.metrics import METRICS, losses

TEMPERATURE = 0.8  # of the text that a model writes itself


@checked
def insight_page(
    model: TextModel,
    text: str | bytes | None = None,
    *,
    source: str = "",
    corpus: Paths | None = None,
    seed: int | None = None,
    unknown: Unknown = "error",
    on_note: Callable[[str], object] = lambda note: None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> str:
    """One self-contained HTML page that shows what ``model`` learned.

    The page shows how the losses fell (from ``metrics.jsonl`` beside the checkpoint), which
    characters of a text surprised the model, how much of the text it copied from its corpus, which
    single units follow quotation marks, lines or words, and how the embeddings of the characters
    lie.

    Args:
        model: a trained model, as ``charrnn.load`` returns it.
        text: the text to read, of which the first 20,000 characters are used (fewer if the network
            is very large); bytes are UTF-8, or those of a byte vocabulary. Default: a text that
            the model writes itself at temperature 0.8.
        source: the name or path of ``text``, for the page and for messages.
        corpus: what the model was trained on (files, folders, patterns), to find what the text
            copies from it. Default: the copy in the cache; without one the page makes no
            comparison.
        seed: seed of the text that the model writes itself. Default: random.
        unknown: what to do about characters of ``text`` that the vocabulary lacks.
        on_note: is called with a line about each part of ``text`` that was not used.
        on_progress: is called again and again with how many symbols of the text the network has
            read, and how many there are.

    Returns:
        The HTML document. It contains no scripts and refers to no other file.

    Raises:
        CorpusError: ``text`` has fewer than two symbols, or ``corpus`` cannot be read or is
            another text.
        UnknownCharacterError: ``text`` has a character that the vocabulary lacks.
        CheckpointError: the network does not read from left to right, or its numbers overflow, or
            ``corpus`` was given and the checkpoint does not say how its corpus was split.

    """
    model.checkpoint.config.check_causal("be traced from left to right")
    if model.reverse:
        raise CheckpointError(f"{model.name} reads from right to left", "choose another network")
    most = longest(model.checkpoint.config)
    if text is None:
        ids = _written(model, draw_seed() if seed is None else seed, most)
        about = f"A text of its own at temperature {TEMPERATURE}"
    else:
        ids, about = _read(model, text, source, unknown, most, on_note), Path(source).name
    copied = _copied(model, ids, corpus)  # early, because ``corpus`` may be the wrong file
    history = History(**losses(model.path.with_name(METRICS))) if model.path else History()
    traced = traced_by(model, ids, lambda done: on_progress(min(done, len(ids)), len(ids)))
    return page(model.name, model.checkpoint, traced, history, copied, about or "The text")


def _written(model: TextModel, seed: int, length: int) -> Ids:
    """The ids of ``length`` characters, or of about as many in records, that the model writes.

    What a text's symbols are depends on at most ``LONGEST`` characters that follow them.
    """
    lines = model.records is not None
    count = length if lines else 1  # even of records without a character
    config = SampleConfig(temperature=TEMPERATURE, length=length, seed=seed, count=count)
    text, chars = bytearray(), 0  # a byte model may write bytes that are no text
    for piece, last in model.stream("", config, lines=lines):
        text += piece + b"\n" if last and lines else piece
        chars += sum(byte & 0xC0 != 0x80 for byte in piece)
        if (last and len(text) >= length) or (not lines and chars >= length + LONGEST):
            break
    ids = model.encode(bytes(text))
    return ids[: np.searchsorted(np.cumsum(model.vocab.widths[ids]), length, side="right")]


def _read(
    model: TextModel,
    text: str | bytes,
    source: str,
    unknown: Unknown,
    most: int,
    on_note: Callable[[str], object],
) -> Ids:
    """The ids of the first ``most`` characters of ``text``."""
    with naming(source):
        text = model.vocab.whole(text)
        if len(text) > most:
            unit = "byte" if isinstance(text, bytes) else "character"
            on_note(titled(source, f"reading the first {most:,} {unit}s only"))
            text = shortened(text, most) if model.records else _begun(model.vocab, text, most)
        if unknown != "error" and (omissions := model.vocab.omissions(text, unknown)):
            on_note(titled(source, omissions))
        ids = model.encode(text, unknown)
        if len(ids) < 2:
            raise CorpusError(f"the text to read needs at least two {model.vocab.unit}s")
    return ids


def shortened(text: str | bytes, most: int) -> str | bytes:
    """The lines of ``text`` that end within ``most`` characters; if none does, half a line."""
    end = text.rfind(b"\n" if isinstance(text, bytes) else "\n", 0, most)  # type: ignore[arg-type]
    return text[: end + 1 or most]


def _begun(vocab: Vocab, text: str | bytes, most: int) -> str | bytes:
    """The first ``most`` characters of ``text``, or fewer so that no symbol is cut."""
    if isinstance(text, bytes) or not vocab.expression:
        return text[:most]
    ends = list(accumulate(map(len, vocab.split(text[: most + LONGEST]))))
    return text[: ends[max(bisect_right(ends, most) - 1, 0)]]


def traced_by(
    model: TextModel, ids: Ids, on_read: Callable[[int], object] = lambda done: None
) -> Trace:
    """The network reading ``ids``, records each by itself."""
    if model.records is None:
        return trace(model.checkpoint, ids, on_read=on_read)
    traced = trace(model.checkpoint, *model.records.apart(ids), on_read=on_read)
    parts = {name: getattr(traced, name)[1:] for name in ("ids", "nats", "units")}
    before = {name: values[1:] for name, values in traced.before.items()}
    return replace(traced, **parts, before=before)


def _copied(model: TextModel, ids: Ids, corpus: Paths | None) -> dict[str, Copies]:
    """What ``ids`` copy from the model's corpus; empty if that was neither named nor cached."""
    try:
        whole, parts = model.corpus(corpus)
    except (CorpusError, CheckpointError):
        if corpus is not None:
            raise
        return {}
    return compare(ids, whole, parts, model.vocab)
