"""``train``: from texts to a folder of checkpoints. The command line calls this."""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import dataclasses
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Annotated, Any

from charrnn import interrupts
from charrnn.arguments import checked
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import draw_seed
from charrnn.errors import CorpusError
from charrnn.model.kernels.memory import returning_memory
from charrnn.model.network import CharNetwork
from charrnn.text.files import names
from charrnn.text.splits import length
from charrnn.text.streams import Streams
from charrnn.training.beginning import requested, specified
from charrnn.training.distributed import World, alike
from charrnn.training.events import Listener, Plan, Result, Silence
from charrnn.training.hardware.device import Hardware, own_torch_settings
from charrnn.training.hardware.memory import naming_what_is_too_large
from charrnn.training.loop.checkpointing import restore
from charrnn.training.loop.finalize import finish
from charrnn.training.loop.finetune import adopt
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.resume import (
    check_incomplete,
    renew_patience,
    spec_of,
    warn_of_changes,
)
from charrnn.training.loop.trainer import Trainer
from charrnn.training.machinery import hardware_of, stepper_of
from charrnn.training.processes import is_restarted, join_world
from charrnn.training.rundir.directory import RunFolder, new_folder, occupied
from charrnn.training.rundir.discovery import begun_by, old_folder
from charrnn.training.state import RunSpec
from charrnn.training.texts import TextChoice, stem_of


@checked
def train(
    *corpus: Annotated[str | Path, "unpack a list with *"],
    out: str | Path | None = None,
    resume: Annotated[bool, "out names the run's folder"] = False,
    start_from: str | Path | None = None,
    preset: str | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Result:
    """Train a network on the texts in ``corpus`` (none: the bundled one) and save it in a folder.

    Args:
        corpus: paths of texts, read one after the other: files, folders, patterns such as
            ``books/**/*.txt``; ``-`` is standard input. gzip and zstd are unpacked.
        out: the folder; by default a new one under ``./checkpoints``, named after the corpus.
        resume: continue the run in ``out``, or the newest run on this corpus.
        start_from: a checkpoint whose weights to start from.
        preset: one of ``charrnn.training.recipes.PRESETS``.
        listener: is told what happens during the run.
        **settings: fields of ``TextConfig``, ``ModelConfig`` and ``TrainConfig``. What is omitted
            is chosen to suit the corpus; the seed is random.

    Raises:
        UserError: the request is invalid or cannot be carried out.
        TrainingError: the run failed.
        CacheError: the encoded text cannot be saved.
        BrokenPipeError: the listener's reader went away; the run is saved.
        Interrupted: a signal arrived; the run is saved. Ctrl-C raises ``Cancelled``, which is a
            KeyboardInterrupt, and SIGTERM and SIGHUP raise ``Terminated``, which is a SystemExit. A
            second signal raises a plain KeyboardInterrupt or SystemExit at once. In a thread other
            than the main one no signal is handled.

    """
    text, out, settings = requested(corpus, out, resume, start_from, preset, settings)
    with interrupts.graceful(), returning_memory(), own_torch_settings():
        world = join_world()
        listener = listener if listener is not None and world.is_main else Silence()
        begun = _begun(out, world)
        if begun is not None:
            again = f"the processes were started again: the run in {begun} continues"
            listener.on_note(f"{again} from its last checkpoint")
        if resume or begun is not None:
            return _resume(text, begun or out, settings, listener, world, begun is not None)
        settings.setdefault("seed", world.broadcast(draw_seed()))
        return _start(text, out, start_from, preset, settings, listener, world)


def _start(
    text: TextChoice,
    out: Path | None,
    start_from: str | Path | None,
    preset: str | None,
    settings: dict[str, Any],
    listener: Listener,
    world: World,
) -> Result:
    """Start a new run."""
    spec, hardware, origin = specified(text, out, start_from, preset, settings, listener, world)
    with _naming_what_is_too_large(spec, hardware):
        network, adopted = world.agree(lambda: _network(spec, origin))
        streams = world.agree(lambda: _streams(spec, world))
        stepper = stepper_of(network, spec.training, hardware, listener, world)
        with new_folder(stem_of(spec.corpus.name), out, listener, world) as folder:
            return _run(_trainer(spec, stepper, streams, folder, listener), adopted)


def _naming_what_is_too_large(spec: RunSpec, hardware: Hardware) -> AbstractContextManager[None]:
    unit = spec.corpus.vocab.unit
    return naming_what_is_too_large(spec.model, spec.training, hardware.device, unit)


def _network(spec: RunSpec, origin: Checkpoint | None) -> tuple[CharNetwork, str]:
    """The network of a new run, and what is to be said of its origin."""
    network = CharNetwork(spec.model, spec.training.seed)
    return network, "" if origin is None else adopt(network, origin, spec.corpus)


def _resume(
    text: TextChoice,
    out: Path | None,
    settings: dict[str, Any],
    listener: Listener,
    world: World,
    was_restarted: bool,
) -> Result:
    """Continue the run in ``out``, or the newest run on the text."""
    stem = stem_of(names(text.paths)) if text.paths else None
    path = world.decide(lambda: old_folder(stem, out))
    text = dataclasses.replace(text, out=path)
    with occupied(path, listener, world) as folder:
        last = folder.read_last()
        spec = _old_spec(last, text, settings, folder)
        streams = world.agree(lambda: _streams(spec, world))
        hardware = hardware_of(spec.training, world)
        with _naming_what_is_too_large(spec, hardware):
            network = world.agree(lambda: CharNetwork(spec.model))
            stepper = stepper_of(network, spec.training, hardware, listener, world)
            progress, state = world.agree(lambda: restore(last, stepper))
            warn_of_changes(last, stepper, listener)
            trainer = _trainer(spec, stepper, streams, folder, listener)
            with alike():
                trainer.continue_from(progress, state)
                renew_patience(trainer, last)
                if not was_restarted:
                    check_incomplete(trainer, last)
            folder.check_best()
            return _run(trainer)


def _old_spec(
    last: Checkpoint, text: TextChoice, settings: dict[str, Any], folder: RunFolder
) -> RunSpec:
    """The specification of the run in ``folder``; the main process encodes its text if need be."""
    known: list[RunSpec] = []  # too large to send to the other processes

    def read() -> None:
        try:
            known.append(spec_of(last, text, settings))
        except CorpusError as error:
            error.add_note(f"the run in {folder.path}")
            raise

    def found() -> RunSpec:
        if not known and text.paths:
            with suppress(CorpusError):  # another machine, with a cache of its own
                return spec_of(last, dataclasses.replace(text, paths=()), settings)
        return known[0] if known else spec_of(last, text, settings)

    folder.world.decide(read, slow=True)
    return folder.world.agree(found)


def _begun(out: Path | None, world: World) -> Path | None:
    """Where the run is that a launcher has restarted; None if it has saved nothing yet."""
    return world.decide(lambda: begun_by(world.launch, out) if is_restarted() else None)


def _streams(spec: RunSpec, world: World) -> Streams:
    config = spec.training
    return Streams(
        *spec.to_train(),
        config.batch,
        config.window,
        seed=config.seed,
        shuffle_offset=config.shuffle_offset,
        line_end=spec.line_end,
        rows=world.rows(config.batch),
        unit=spec.corpus.vocab.unit,
    )


def _trainer(
    spec: RunSpec, stepper: Stepper, streams: Streams, folder: RunFolder, listener: Listener
) -> Trainer:
    folder.check_room(spec.model.parameters)
    return Trainer(spec, stepper, streams, folder, listener)


def _run(trainer: Trainer, adopted: str = "") -> Result:
    # steps after the last save are logged again; a run that never saved may have left lines
    trainer.folder.drop_metrics_after(trainer.progress.step if trainer.resumed else -1)
    trainer.listener.on_plan(_plan(trainer, adopted))
    return finish(trainer, trainer.train())


def _plan(trainer: Trainer, adopted: str) -> Plan:
    spec, parts = trainer.spec, trainer.spec.parts
    sizes = {"train": trainer.streams.length, "val": length(parts.val), "test": length(parts.test)}
    chars = {part: spec.chars(size) for part, size in sizes.items()}
    return Plan(
        folder=trainer.folder.path,
        model=spec.model,
        training=spec.training,
        corpus=spec.corpus.name,
        chars=chars,
        hardware=trainer.stepper.hardware.describe(),
        resumed_at=trainer.progress.step,
        origin=adopted,
        long_symbols=len(spec.corpus.vocab.long),
    )
