"""``train``: from the names of texts to a folder of checkpoints. The command line calls this."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn import interrupts
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import TextConfig, TrainConfig, draw_seed
from charrnn.errors import CheckpointError, ConfigError, CorpusError, counted
from charrnn.hints import Hint, omit
from charrnn.model.layers import kernels, must_compile
from charrnn.model.network import CharNetwork
from charrnn.paths import find_checkpoint
from charrnn.settings import check, declared
from charrnn.text.corpus import Corpus
from charrnn.text.shuffle import whole_lines
from charrnn.text.sources import names
from charrnn.text.splits import Parts, check_split, length
from charrnn.text.streams import Streams
from charrnn.training.events import Listener, Plan, Result, Silence
from charrnn.training.hardware.device import choose_hardware, settings_of_torch, training_flops
from charrnn.training.loop.checkpointing import restore
from charrnn.training.loop.finalize import finish
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.resume import (
    check_incomplete,
    renew_patience,
    spec_of,
    warn_of_changes,
)
from charrnn.training.loop.trainer import Trainer
from charrnn.training.recipes import choose, settle
from charrnn.training.rundir.directory import RunFolder, new_folder, occupied
from charrnn.training.rundir.discovery import check_vacant, old_folder
from charrnn.training.state import FURTHEST, RunSpec
from charrnn.training.texts import TextChoice, parts_of, stem_of


def train(
    *corpus: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    preset: str | None = None,
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
        listener: is told what happens.
        **settings: fields of ``TextConfig``, ``ModelConfig`` and ``TrainConfig``. What is omitted
            is chosen to suit the corpus; the seed is random.

    Raises:
        UserError: something asked for cannot be had.
        TrainingError: the run had to stop.
        CacheError: the encoded text cannot be kept.
        BrokenPipeError: the listener writes to a pipe that nobody reads; the run is saved.
        Interrupted: a signal came; the run is saved.

    """
    listener = listener or Silence()
    if out is not None and not str(out):  # which would be the current folder
        raise ConfigError("is empty: name a folder", setting="out")
    check(isinstance(resume, bool), "resume", resume, "True or False; out names the run's folder")
    out = Path(out) if out is not None else None
    settings = {name: value for name, value in settings.items() if value is not None}
    of_text = {o.name for o in declared(TextConfig)} & settings.keys()
    text = TextChoice.of(corpus, {name: settings.pop(name) for name in of_text})
    if not resume:
        settings.setdefault("seed", draw_seed())
    with interrupts.graceful(), settings_of_torch():
        if resume:
            if start_from is not None or preset is not None:
                reason = "continues a run as it is"
                raise ConfigError(reason, "omit {start_from} and {preset}", setting="resume")
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
    origin = load(find_checkpoint(start_from)) if start_from is not None else None
    if origin is not None:
        settings = _shape_of(origin, settings)
        text = text.read_as(origin)
    # whatever is wrong is found before the work begins
    settle(settings, preset)
    check_split(**dataclasses.asdict(text.split_spec()))
    hardware = choose_hardware(_where(settings))
    if out is not None:
        check_vacant(out)
    corpus = text.encode()
    split_spec = text.split_spec(len(corpus))
    parts = parts_of(corpus, split_spec)
    if better := corpus.markless_encoding:
        mark = f"{corpus.name} begins with a byte order mark"
        listener.on_note(mark, Hint("{encoding} omits it", {"encoding": better}))
    if settings.get("lines") and corpus.vocab.id_of("\n") is None:
        listener.on_note(f"{corpus.name} has no line ends: lines changes nothing")
    model, config = choose(
        settings,
        preset=preset,
        vocab_size=len(corpus.vocab),
        train_chars=_readable(corpus, parts, settings.get("lines", False)),
        fast=hardware.device.type != "cpu",
        flops=training_flops(hardware),
    )
    began = None if start_from is None else str(start_from)
    most = text.max_bytes if (text.max_bytes or 0) < FURTHEST else None  # more is no limit
    spec = RunSpec(model, config, corpus, split_spec, parts, most, began)
    network = CharNetwork(model, config.seed)
    adopted = "" if origin is None else adopt(network, origin, corpus)
    streams, stepper = _streams(spec), _stepper(network, config, listener)
    with new_folder(stem_of(corpus.name), out, listener) as folder:
        return _run(_trainer(spec, stepper, streams, folder, listener), adopted)


def _resume(
    text: TextChoice, out: Path | None, settings: dict[str, Any], listener: Listener
) -> Result:
    stem = stem_of(names(text.paths)) if text.paths else None
    with occupied(old_folder(stem, out), listener) as folder:
        last = folder.read_last()
        try:
            spec = spec_of(last, text, settings)
        except CorpusError as error:
            error.add_note(f"the run in {folder.path}")
            raise
        streams = _streams(spec)
        stepper = _stepper(CharNetwork(spec.model), spec.training, listener)
        progress, state = restore(last, stepper)
        warn_of_changes(last, stepper, listener)
        if progress.window >= streams.windows:
            raise CheckpointError("the last checkpoint cannot be resumed: its window is none")
        trainer = _trainer(spec, stepper, streams, folder, listener)
        trainer.continue_from(progress, state)
        renew_patience(trainer, last)
        check_incomplete(trainer, last)
        folder.check_best()
        return _run(trainer)


def _where(settings: dict[str, Any]) -> TrainConfig:
    """What of ``settings`` decides the hardware, before the rest is chosen."""
    names = ("device", "precision", "threads")
    return TrainConfig(steps=1, **{n: settings[n] for n in names if n in settings})


def _stepper(network: CharNetwork, config: TrainConfig, listener: Listener) -> Stepper:
    hardware = choose_hardware(config)
    work = network.config.cell, hardware.device, hardware.dtype or torch.float32
    if must_compile(*work):
        listener.on_compiling()
    with interrupts.at_once():
        kernels(*work)
    return Stepper(network, config, hardware)


def _line_end(corpus: Corpus, lines: bool) -> int | None:
    return corpus.vocab.id_of("\n") if lines else None


def _readable(corpus: Corpus, parts: Parts, lines: bool) -> int:
    """Characters of the training part that are read: as records, those of whole ones."""
    line_end = _line_end(corpus, lines)
    if line_end is None:
        return length(parts.train)
    return length(whole_lines(corpus.ids, parts.train, line_end))


def _streams(spec: RunSpec) -> Streams:
    config = spec.training
    return Streams(
        spec.corpus.ids,
        spec.parts.train,
        config.batch,
        config.window,
        seed=config.seed,
        shuffle_offset=config.shuffle_offset,
        line_end=_line_end(spec.corpus, config.lines),
    )


def _trainer(
    spec: RunSpec, stepper: Stepper, streams: Streams, folder: RunFolder, listener: Listener
) -> Trainer:
    folder.check_room(spec.model.parameters)
    return Trainer(spec, stepper, streams, folder, listener)


def _run(trainer: Trainer, adopted: str = "") -> Result:
    # a run that never saved anything may have left lines, and what was not saved is logged again
    trainer.folder.cut_metrics(trainer.progress.step if trainer.resumed else -1)
    trainer.listener.on_plan(_plan(trainer, adopted))
    return finish(trainer, trainer.train())


def _plan(trainer: Trainer, adopted: str) -> Plan:
    spec, parts = trainer.spec, trainer.spec.parts
    chars = {"train": trainer.streams.length, "val": length(parts.val), "test": length(parts.test)}
    return Plan(
        folder=trainer.folder.path,
        model=spec.model,
        training=spec.training,
        corpus=spec.corpus.name,
        chars=chars,
        hardware=trainer.stepper.hardware.describe(),
        resumed_at=trainer.progress.step,
        origin=adopted,
    )


def _shape_of(origin: Checkpoint, settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with the shape of the checkpoint to start from.

    Raises:
        ConfigError: another shape was asked for.

    """
    shape = {k: v for k, v in origin.config.to_dict().items() if k != "vocab_size"}
    other = sorted(k for k, v in shape.items() if settings.get(k, v) != v)
    if other:
        raise ConfigError("keeps the checkpoint's shape", omit(other), setting="start_from")
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
        f"{counted(len(new), 'character')} known, "
        f"{fresh} new, {len(origin.vocab) - len(new)} left behind"
    )
