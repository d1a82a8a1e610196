"""A new run, from what is asked for to its specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.arguments import check_known, plain
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import TextConfig, TrainConfig, model_options
from charrnn.errors import ConfigError, counted
from charrnn.hints import Hint
from charrnn.paths import NEARBY, find_checkpoint
from charrnn.settings import declared
from charrnn.text.corpus import Corpus, cached_corpus
from charrnn.text.encoding import LEAST
from charrnn.text.splits import check_split, length
from charrnn.training.distributed import World, alike
from charrnn.training.events import Listener
from charrnn.training.hardware.device import Hardware
from charrnn.training.loop.finetune import keep_shape
from charrnn.training.machinery import flops_of, hardware_of, hardware_settings
from charrnn.training.recipes import apply_preset, choose
from charrnn.training.rundir.discovery import check_vacant
from charrnn.training.state import FURTHEST, RunSpec
from charrnn.training.texts import TextChoice, parts_of

NAMED = 20  # files that were skipped and are named, each in a note
_ARGUMENTS = ("out", "resume", "start_from", "preset", "listener")


def requested(
    corpus: tuple[str | Path, ...],
    out: str | Path | None,
    resume: bool,
    start_from: str | Path | None,
    preset: str | None,
    settings: dict[str, Any],
) -> tuple[TextChoice, Path | None, dict[str, Any]]:
    """The text, the folder and the settings that arguments of ``charrnn.train`` ask for.

    Raises:
        UserError: an argument is unknown or invalid.

    """
    options = *model_options(), *declared(TrainConfig), *declared(TextConfig)
    with alike():
        check_known(settings, options, _ARGUMENTS)
        folder, settings = _checked(out, resume, start_from, preset, settings)
        of_text = {o.name for o in declared(TextConfig)} & settings.keys()
        choice = {name: settings.pop(name) for name in of_text}
        return TextChoice.of(corpus, choice, folder), folder, settings


def _checked(
    out: str | Path | None,
    resume: bool,
    start_from: str | Path | None,
    preset: str | None,
    settings: dict[str, Any],
) -> tuple[Path | None, dict[str, Any]]:
    """``out`` and those of the ``settings`` that are given."""
    if out is not None and not str(out):  # Path("") is the current folder
        raise ConfigError("is empty: name a folder", setting="out")
    if resume and (start_from is not None or preset is not None):
        reason = "continues a run as it is"
        raise ConfigError(reason, "omit {start_from} and {preset}", setting="resume")
    given = {name: plain(value) for name, value in settings.items() if value is not None}
    return Path(out) if out is not None else None, given


def specified(
    text: TextChoice,
    out: Path | None,
    start_from: str | Path | None,
    preset: str | None,
    settings: dict[str, Any],
    listener: Listener,
    world: World,
) -> tuple[RunSpec, Hardware, Checkpoint | None]:
    """The specification of a new run, its hardware, and the checkpoint it starts from, if any.

    Whatever can be checked is checked before the text is read.

    Raises:
        UserError: the request is invalid or cannot be carried out.
        CacheError: the encoded text cannot be saved.

    """
    text, settings, origin = world.agree(lambda: _prepared(text, settings, start_from, preset))
    hardware = hardware_of(hardware_settings(settings), world)
    world.decide(lambda: check_vacant(out))
    corpus = _encoded(text, bool(settings.get("lines")), world)
    _note_surprises(corpus, text, listener)
    flops = flops_of(hardware, settings, world)
    spec = world.agree(
        lambda: _new_spec(text, corpus, start_from, preset, settings, hardware, flops)
    )
    if spec.split.val_frac and not spec.parts.val:  # the nearest beginning of a record is the end
        none = Hint("a larger {val_frac} may leave some")
        listener.on_note("no whole record is left to validate on", none)
    return spec, hardware, origin


def _prepared(
    text: TextChoice, settings: dict[str, Any], start_from: str | Path | None, preset: str | None
) -> tuple[TextChoice, dict[str, Any], Checkpoint | None]:
    """Text and settings of a new run, and the checkpoint that it starts from, if any."""
    origin = load(find_checkpoint(start_from)) if start_from is not None else None
    if origin is not None:
        settings, text = keep_shape(origin, settings), text.read_as(origin)
    if text.symbols is not None and settings.get("bidirectional"):
        reason = "is for networks that read in one direction"
        raise ConfigError(reason, "omit {bidirectional}", setting="symbols")
    apply_preset(settings, preset)
    wanted = text.split_spec()
    check_split(wanted.kind, wanted.val_frac, wanted.test_frac)
    return text, settings, origin


def _encoded(text: TextChoice, records: bool, world: World) -> Corpus:
    """The text as ids; the main process encodes it, and the others find it in the cache."""
    encoded: list[Corpus] = []  # too large to send to the other processes

    def encode() -> tuple[str, str, str, int]:
        corpus = text.encode(records)
        encoded.append(corpus)
        return corpus.sha256, corpus.name, corpus.encoding, corpus.chars

    def found() -> Corpus:
        (sha256, name, encoding, chars), limited = key, text.max_bytes is not None
        how: dict[str, Any] = {"records": records, "limited": limited, "symbols": text.rule}
        how |= {"chars": chars}
        known = encoded[0] if encoded else None
        known = known or cached_corpus(sha256, name, encoding, text.cache, **how)
        return known or text.encode(records)

    key = world.decide(encode, slow=True)
    return world.agree(found)


def _note_surprises(corpus: Corpus, text: TextChoice, listener: Listener) -> None:
    for message in corpus.skipped[:NAMED]:
        listener.on_note(f"skipped: {message}")
    if more := len(corpus.skipped[NAMED:]):
        listener.on_note(f"skipped {counted(more, 'more file')}")
    if text.cache.name == NEARBY:
        kept = f"no cache folder can be written: the encoded text is kept in {text.cache}"
        listener.on_note(kept, Hint("set CHARRNN_CACHE to another folder"))
    if better := corpus.markless_encoding:
        mark = f"{corpus.name} begins with a byte order mark"
        listener.on_note(mark, Hint("{encoding} omits it", {"encoding": better}))
    if (kind := corpus.kind_with_nul) is not None:
        reads = Hint("{encoding} reads it", {"encoding": kind.encoding})
        other = Hint("{is_bytes} reads any bytes")
        nul = f"{corpus.name} has NUL characters, it looks like {kind.name}"
        listener.on_note(nul, reads if kind.encoding else other)
    if text.symbols is not None and not corpus.vocab.long:
        rare = f"no match of several characters occurs {LEAST} times in {corpus.name}"
        listener.on_note(rare, Hint("{symbols} takes an expression, or smiles, abc or words"))
    if corpus.records and corpus.lines < 2:
        one = f"{corpus.name} is a single record, of which samples can only be copies"
        listener.on_note(one, Hint("{lines} needs a text with a record on each line"))


def _new_spec(
    text: TextChoice,
    corpus: Corpus,
    start_from: str | Path | None,
    preset: str | None,
    settings: dict[str, Any],
    hardware: Hardware,
    flops: float,
) -> RunSpec:
    """The specification of a new run; what ``settings`` omit is chosen for corpus and hardware."""
    split_spec = text.split_spec(len(corpus), corpus.records)
    line_end = corpus.line_end if corpus.records else None
    parts = parts_of(corpus, split_spec, line_end)
    model, config = choose(
        settings,
        preset=preset,
        vocab_size=len(corpus.vocab),
        train_chars=length(parts.train),
        fast=hardware.device.type != "cpu",
        flops=flops,
    )
    limit = text.max_bytes if (text.max_bytes or 0) < FURTHEST else None  # more is no limit
    began = None if start_from is None else str(start_from)
    return RunSpec(model, config, corpus, split_spec, parts, limit, began, text.skip_bad)
