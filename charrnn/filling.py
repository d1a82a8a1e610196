"""``fill``: fills the gaps in a text. Needs NumPy and never imports torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charrnn.arguments import checked
from charrnn.config import FillConfig, Unknown
from charrnn.errors import CheckpointError, ConfigError
from charrnn.generation.filling import BothSides, Filler, OneSide, fill_gaps, joined
from charrnn.generation.generator import first_id
from charrnn.text.vocab import Ids
from charrnn.textmodel import TextModel


@dataclass(frozen=True)
class Filling:
    """A way to fill the gaps of a text.

    Attributes:
        text: the text with its gaps filled.
        gaps: what was put into each gap.
        nats: the negative logarithm of its share of the probability among all ways that were
            considered; of several gaps, the sum.

    """

    text: str
    gaps: tuple[str, ...]
    nats: float


@checked
def fill(
    model: TextModel,
    text: str | bytes,
    *,
    reverse: TextModel | None = None,
    gap: str = "_",
    longest: int | None = None,
    count: int = 1,
    unknown: Unknown = "error",
    on_note: Callable[[str], object] = lambda note: None,
) -> list[Filling]:
    """Fill the gaps in ``text``: the most probable ways, the best first.

    A bidirectional model reads both sides of a gap. One that reads from left to right proposes
    what may follow the left side, and ranks that by what is on the right side; with ``reverse``,
    by what both models say.

    Args:
        model: a bidirectional model, or one that reads from left to right.
        text: the text; bytes are UTF-8 (``TextModel.read`` decodes other encodings).
        reverse: a model that reads from right to left, with the same vocabulary.
        gap: what stands for an unknown character. As many of it in a row, as many characters.
        longest: fill each gap with 1 to so many characters, however many marks it has.
        count: how many ways to return, at most.
        unknown: what to do about characters that are not in the vocabulary.
        on_note: is called with a line about those that were omitted or replaced, if any.

    Raises:
        ConfigError: ``text`` has no gap, or a setting is invalid.
        CheckpointError: the models do not fit together, or a network's numbers overflow.
        UnknownCharacterError: ``text`` has a character that is not in the vocabulary.

    """
    FillConfig(gap, longest, count)  # checks them
    if model.vocab.expression:
        message = f"{model.name} has symbols of several characters: gaps are filled by characters"
        raise CheckpointError(message, "choose a model that was trained without {symbols}")
    pieces, marks = _cut(model, text, gap, unknown, on_note)
    lengths = [range(1, longest + 1) if longest else (number,) for number in marks]
    found = fill_gaps(_filler(model, reverse), pieces, lengths, count)
    decode = model.vocab.decode
    fillings = []
    for proposal in found:
        whole, gaps = _plain(model, joined(pieces, proposal.gaps)), map(decode, proposal.gaps)
        fillings.append(Filling(decode(whole), tuple(gaps), proposal.nats))
    return fillings


def _cut(
    model: TextModel,
    text: str | bytes,
    gap: str,
    unknown: Unknown,
    on_note: Callable[[str], object],
) -> tuple[list[Ids], list[int]]:
    """The ids between the gaps of ``text``, and how many marks each gap has.

    Raises:
        ConfigError: there is no gap.
        UnknownCharacterError: as for ``fill``.

    """
    vocab = model.vocab
    text = model.read(text, "utf-8") if isinstance(text, bytes) else text
    if vocab.is_bytes:  # each byte as a character
        text, gap = (_bytes(part).decode("latin-1") for part in (text, gap))
    marks = re.compile(f"(?:{re.escape(gap)})+")
    runs = [len(run.group()) for run in marks.finditer(str(text))]
    if not runs:
        hint = "put it where characters are missing, or set {gap} to what stands there"
        raise ConfigError(f"is {gap!r}, which is nowhere in the text", hint, setting="gap")

    def symbols(part: str) -> str | bytes:
        return part.encode("latin-1") if vocab.is_bytes else part

    known = chr(vocab.codes[int(np.argmax(vocab.counts))])
    # of the whole text, so that places are those in it
    whole = symbols(marks.sub(lambda run: known * len(run.group()), str(text)))
    if omissions := vocab.omissions(whole, unknown):
        on_note(omissions)
    parts = map(symbols, marks.split(str(text)))
    pieces: list[Ids] = [vocab.encode(part, unknown).astype(np.intp) for part in parts]
    if model.records is not None:  # a text is read as a record
        end = np.array([model.records.line_end])
        pieces[0], pieces[-1] = np.append(end, pieces[0]), np.append(pieces[-1], end)
    return pieces, [run // len(gap) for run in runs]


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _plain(model: TextModel, ids: Ids) -> Ids:
    """``ids`` without what ``_cut`` put around a record."""
    return ids if model.records is None else ids[1:-1]


def _filler(model: TextModel, reverse: TextModel | None) -> Filler:
    config, weights, first = (
        model.checkpoint.config,
        model.checkpoint.weights,
        first_id(model.vocab),
    )
    if config.bidirectional:
        if reverse is not None:
            reason = f"is of no use: {model.name} reads both sides itself"
            raise ConfigError(reason, "omit it", setting="reverse")
        return BothSides(config, weights, first)
    if model.reverse:
        message = f"{model.name} reads from right to left and can only rank what another proposes"
        raise CheckpointError(message, "set {reverse} to it")
    end = None if model.records is None else model.records.line_end
    if reverse is None:
        return OneSide((config, weights), None, first, end)
    other = reverse.checkpoint
    if not other.config.reverse:
        message = f"{reverse.name} does not read from right to left"
        raise CheckpointError(message, "set {reverse} to a network that was trained so")
    if other.vocab.alphabet != model.vocab.alphabet:
        raise CheckpointError(f"{model.name} and {reverse.name} have different vocabularies")
    return OneSide((config, weights), (other.config, other.weights), first, end)
