"""``train``: from the names of texts to a folder of checkpoints. The command line calls this."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn import interrupts
from charrnn.checkpoint import Checkpoint, load
from charrnn.config import Split, TrainConfig
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.library import bundled_corpus, find_checkpoint
from charrnn.model.fused import has_kernels
from charrnn.model.network import CharNetwork
from charrnn.text.corpus import Corpus, cached_corpus, encode_corpus
from charrnn.text.sources import names
from charrnn.text.splits import Parts, length, split
from charrnn.text.streams import Streams
from charrnn.training.device import choose_place, training_flops
from charrnn.training.ending import check_incomplete, finish
from charrnn.training.folder import RunFolder, check_free, new_folder, occupied, old_folder
from charrnn.training.loop import Trainer
from charrnn.training.recipes import choose
from charrnn.training.records import Listener, Plan, Result, Silence
from charrnn.training.setting import FURTHEST, Cut, Setting, Tally
from charrnn.training.snapshot import environment, restore
from charrnn.training.step import Stepper

# what may change when a run goes on; everything else is part of what the run is
CHANGEABLE = frozenset(
    {"epochs", "steps", "seconds", "patience", "lr", "device", "precision", "threads"}
)
BUDGETS = ("epochs", "steps", "seconds")


@dataclasses.dataclass(frozen=True)
class TextChoice:
    """Which text trains, how it is read and how it is cut; None: as the split's kind has it."""

    paths: tuple[str | Path, ...] = ()
    is_bytes: bool = False
    encoding: str = "utf-8"
    max_bytes: int | None = None
    split: Split = "contiguous"
    val_frac: float | None = None
    test_frac: float | None = None

    @property
    def cut(self) -> Cut:
        """0.1 validates; an interleaved split, which exists for comparisons, also tests on 0.1."""
        test_frac = 0.1 if self.split == "interleaved" else 0.0
        return Cut(
            self.split,
            0.1 if self.val_frac is None else self.val_frac,
            test_frac if self.test_frac is None else self.test_frac,
        )


def train(
    *corpus: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    preset: str | None = None,
    is_bytes: bool = False,
    encoding: str = "utf-8",
    max_bytes: int | None = None,
    split: Split = "contiguous",
    val_frac: float | None = None,
    test_frac: float | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Result:
    """Train a network on the texts in ``corpus`` (none: the bundled one) and keep it in a folder.

    Args:
        corpus: paths, one after the other; ``-`` is standard input.
        out: the folder; by default a new one under ``./checkpoints`` named after the corpus.
        resume: go on with the run in ``out``, or the newest one of this corpus.
        start_from: a checkpoint whose weights to begin with.
        preset: a recipe of ``charrnn.training.recipes``.
        is_bytes: bytes in place of characters.
        encoding: how the texts are encoded.
        max_bytes: take the beginning of the text only.
        split: how validation and test parts are cut.
        val_frac: part that validates.
        test_frac: part that tests, scored once at the end.
        listener: is told what happens.
        **settings: fields of ``ModelConfig`` and ``TrainConfig``; what is left out is chosen.

    Raises:
        UserError: something asked for cannot be had.
        TrainingError: the run had to stop.
        Interrupted: a signal came; the run is saved.

    """
    listener = listener or Silence()
    out = Path(out) if out is not None else None
    text = TextChoice(corpus, is_bytes, encoding, max_bytes, split, val_frac, test_frac)
    settings = {name: value for name, value in settings.items() if value is not None}
    with interrupts.graceful():
        if resume:
            if start_from is not None or preset is not None:
                raise ConfigError("--resume goes on with a run as it is: without --from, --preset")
            return _resume(text, out, settings, listener)
        return _start(text, out, start_from, preset, settings, listener)


def _start(
    text: TextChoice,
    out: Path | None,
    start_from: str | Path | None,
    preset: str | None,
    settings: dict[str, Any],
    listener: Listener,
) -> Result:
    origin = load(find_checkpoint(Path(start_from))) if start_from is not None else None
    if origin is not None:
        settings = _shape_of(origin, settings)
        text = dataclasses.replace(text, is_bytes=origin.vocab.is_bytes)
    corpus = _encode(text)
    parts = _cut(corpus, text.cut)
    if better := corpus.markless_encoding:
        mark = f"{corpus.name} begins with a byte order mark"
        listener.on_note(f"{mark}: --encoding {better} leaves it out")
    place = choose_place(_where(settings))
    model, config = choose(
        settings,
        preset=preset,
        vocab_size=len(corpus.vocab),
        train_chars=length(parts.train),
        fast=place.device.type != "cpu",
        flops=training_flops(place),
    )
    began = None if start_from is None else str(start_from)
    most = text.max_bytes if (text.max_bytes or 0) < FURTHEST else None  # more is no limit
    setting = Setting(model, config, corpus, text.cut, parts, most, began)
    network = CharNetwork(model, config.seed)
    if origin is not None:
        listener.on_note(adopt(network, origin, corpus))
    stepper, streams = _stepper(network, config), _streams(setting)
    with occupied(new_folder(_stem(corpus), out), listener) as folder:
        check_free(folder.path)  # another trainer may have come and gone meanwhile
        return _run(setting, stepper, streams, folder, listener, None)


def _resume(
    text: TextChoice, out: Path | None, settings: dict[str, Any], listener: Listener
) -> Result:
    fixed = sorted(settings.keys() - CHANGEABLE)
    if fixed:
        raise ConfigError(
            f"a resumed run keeps its {', '.join(fixed)}: start a new one to change it"
        )
    ignored = [f.name for f in dataclasses.fields(text) if f.name not in ("paths", "max_bytes")]
    fixed = [name for name in ignored if getattr(text, name) != getattr(TextChoice(), name)]
    if fixed:
        raise ConfigError(f"a resumed run keeps its {', '.join(fixed)}: leave that away")
    stem = _stem_of(names(text.paths)) if text.paths else None
    with occupied(old_folder(stem, out), listener) as folder:
        last = folder.read_last()
        setting = _setting_of(last, text, settings)
        stepper = _stepper(CharNetwork(setting.model), setting.training)
        tally, state = restore(last, stepper)
        _warn_of_changes(last, stepper, listener)
        return _run(setting, stepper, _streams(setting), folder, listener, (tally, state))


def _where(settings: dict[str, Any]) -> TrainConfig:
    """What of ``settings`` decides the place, before the rest is chosen."""
    names = ("device", "precision", "threads")
    return TrainConfig(steps=1, **{n: settings[n] for n in names if n in settings})


def _stepper(network: CharNetwork, config: TrainConfig) -> Stepper:
    place = choose_place(config)
    with interrupts.at_once():  # the kernels may have to be compiled: seconds
        if place.device.type == "cpu":
            has_kernels(place.dtype or torch.float32)
    return Stepper(network, config, place)


def _streams(setting: Setting) -> Streams:
    config = setting.training
    return Streams(
        setting.corpus.ids,
        setting.parts.train,
        config.batch,
        config.window,
        seed=config.seed,
        shuffle_offset=config.shuffle_offset,
        line_end=setting.corpus.vocab.id_of("\n") if config.lines else None,
    )


def _run(
    setting: Setting,
    stepper: Stepper,
    streams: Streams,
    folder: RunFolder,
    listener: Listener,
    resumed: tuple[Tally, tuple[torch.Tensor, torch.Tensor]] | None,
) -> Result:
    folder.check_room(setting.model.parameters)
    trainer = Trainer(setting, stepper, streams, folder, listener)
    if resumed is not None:
        trainer.continue_from(*resumed)
        check_incomplete(trainer)
    # a run that never saved anything may have left lines, and what was not saved is logged again
    folder.cut_metrics(trainer.tally.step if resumed else -1)
    listener.on_plan(_plan(setting, stepper, folder, trainer.tally.step))
    return finish(trainer, trainer.train())


def _encode(text: TextChoice) -> Corpus:
    return encode_corpus(
        text.paths or (bundled_corpus(),),
        is_bytes=text.is_bytes,
        encoding=text.encoding,
        max_bytes=text.max_bytes,
    )


def _cut(corpus: Corpus, cut: Cut) -> Parts:
    parts = split(len(corpus), cut.kind, cut.val_frac, cut.test_frac)
    if length(parts.train) < 2:
        raise CorpusError(
            f"{corpus.name} has {len(corpus)} characters, {length(parts.train)} of them to train "
            "on: at least 2 are needed"
        )
    return parts


def _stem_of(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", re.sub(r"\.\w{1,5}$", "", name.split(" + ")[0])).strip("-.")


def _stem(corpus: Corpus) -> str:
    return _stem_of(corpus.name) or "corpus"


def _plan(setting: Setting, stepper: Stepper, folder: RunFolder, step: int) -> Plan:
    parts = setting.parts
    return Plan(
        folder=folder.path,
        model=setting.model,
        training=setting.training,
        corpus=setting.corpus.name,
        chars={name: length(parts.named(name)) for name in ("train", "val", "test")},
        place=stepper.place.describe(),
        resumed_at=step,
    )


def _shape_of(origin: Checkpoint, settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with the shape of the checkpoint to start from.

    Raises:
        ConfigError: another shape was asked for.

    """
    shape = {k: v for k, v in origin.config.to_dict().items() if k != "vocab_size"}
    other = sorted(k for k, v in shape.items() if settings.get(k, v) != v)
    if other:
        raise ConfigError(f"--from keeps the checkpoint's {', '.join(other)}: leave that away")
    return settings | shape


@torch.no_grad()
def adopt(network: CharNetwork, origin: Checkpoint, corpus: Corpus) -> str:
    """Take over ``origin``'s weights; rows of characters go by character, not by number.

    Characters that only the new corpus has keep their fresh rows. Says what was done.
    """
    rows = origin.vocab.lookup(np.array(corpus.vocab.codes))
    new = torch.from_numpy(np.flatnonzero(rows >= 0))
    old = torch.from_numpy(rows[rows >= 0].astype(np.int64))
    for name, parameter in network.named_parameters():
        weight = torch.from_numpy(origin.weights[name].copy())
        if name.startswith(("embedding", "head")):
            parameter[new] = weight[old]
        else:
            parameter.copy_(weight)
    fresh = len(corpus.vocab) - len(new)
    return (
        f"weights from {origin.about('corpus').get('name', 'the checkpoint')}: "
        f"{len(new)} characters known, {fresh} new, {len(origin.vocab) - len(new)} left behind"
    )


def _setting_of(last: Checkpoint, text: TextChoice, settings: dict[str, Any]) -> Setting:
    """The setting of the run in ``last``, with what may change changed."""
    card = last.meta
    try:
        named, cut = card["corpus"], Cut(**card["corpus"]["split"])
        config = card["training"]
        name, digest, encoding = named["name"], named["sha256"], named["encoding"]
        max_bytes, start_from = named.get("max_bytes"), card.get("start_from")
        texts = (name, digest, encoding, start_from or "")
        if not isinstance(config, dict) or not all(isinstance(part, str) for part in texts):
            raise TypeError("settings and corpus of that run")
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the last checkpoint cannot be resumed: no {error}") from None
    if any(budget in settings for budget in BUDGETS):
        config = config | dict.fromkeys(BUDGETS, 0)
    if text.paths:
        raw = encoding == "bytes"
        text = dataclasses.replace(text, is_bytes=raw, encoding="utf-8" if raw else encoding)
        corpus: Corpus | None = _encode(text)
    else:
        corpus = cached_corpus(digest, name, encoding)
    if corpus is None:
        raise CorpusError(f"the encoded {name} is no longer in the cache: name the corpus again")
    if corpus.sha256 != digest:
        raise CorpusError(f"{corpus.name} is not the text of that run: its sha256 differs")
    alphabets = [(vocab.is_bytes, vocab.codes) for vocab in (corpus.vocab, last.vocab)]
    if alphabets[0] != alphabets[1]:  # compiled kernels believe that ids are within it
        raise CheckpointError(
            f"the last checkpoint cannot be resumed: its alphabet is not that of {corpus.name}"
        )
    config = TrainConfig.from_dict(config | settings)
    parts = _cut(corpus, cut)
    return Setting(last.config, config, corpus, cut, parts, max_bytes, start_from)


def _warn_of_changes(last: Checkpoint, stepper: Stepper, listener: Listener) -> None:
    """One warning that names whatever keeps the continuation from being exact."""
    before, now = last.about("resume").get("environment"), environment(stepper)
    before = before if isinstance(before, dict) else {}
    changes = [f"{k} {before.get(k)} → {v}" for k, v in now.items() if before.get(k) != v]
    if changes:
        listener.on_note(f"not an exact continuation: {', '.join(changes)}")
