"""``train``: from texts to a folder of checkpoints. The command line calls this."""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from charrnn import interrupts
from charrnn.arguments import check_known, checked, plain
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import TextConfig, TrainConfig, draw_seed, model_options
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.hints import Hint
from charrnn.model.kernels.memory import returning_memory
from charrnn.model.network import CharNetwork
from charrnn.paths import NEARBY, find_checkpoint
from charrnn.settings import declared
from charrnn.text.corpus import Corpus, cached_corpus
from charrnn.text.files import names
from charrnn.text.splits import check_split, length
from charrnn.text.streams import Streams
from charrnn.training.distributed import World, alike
from charrnn.training.events import Listener, Plan, Result, Silence
from charrnn.training.hardware.device import (
    Hardware,
    own_torch_settings,
)
from charrnn.training.hardware.memory import naming_what_is_too_large
from charrnn.training.loop.checkpointing import restore
from charrnn.training.loop.finalize import finish
from charrnn.training.loop.finetune import adopt, keep_shape
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.resume import (
    check_incomplete,
    renew_patience,
    spec_of,
    warn_of_changes,
)
from charrnn.training.loop.trainer import Trainer
from charrnn.training.machinery import flops_of, hardware_of, hardware_settings, stepper_of
from charrnn.training.processes import is_restarted, join_world
from charrnn.training.recipes import apply_preset, choose
from charrnn.training.rundir.directory import RunFolder, new_folder, occupied
from charrnn.training.rundir.discovery import begun_by, check_vacant, old_folder
from charrnn.training.state import FURTHEST, RunSpec
from charrnn.training.texts import TextChoice, parts_of, stem_of

NAMED = 20  # files that were skipped and are named, each in a note


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
    options = *model_options(), *declared(TrainConfig), *declared(TextConfig)
    with alike():
        check_known(settings, options, ("out", "resume", "start_from", "preset", "listener"))
        out, settings = _checked(out, resume, start_from, preset, settings)
        of_text = {o.name for o in declared(TextConfig)} & settings.keys()
        text = TextChoice.of(corpus, {name: settings.pop(name) for name in of_text}, out)
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


def _start(
    text: TextChoice,
    out: Path | None,
    start_from: str | Path | None,
    preset: str | None,
    settings: dict[str, Any],
    listener: Listener,
    world: World,
) -> Result:
    """Start a new run. Whatever can be checked is checked before the text is read."""
    text, settings, origin = world.agree(lambda: _prepared(text, settings, start_from, preset))
    hardware = hardware_of(hardware_settings(settings), world)
    world.decide(lambda: check_vacant(out))
    corpus = _encoded(text, bool(settings.get("lines")), world)
    _note_surprises(corpus, text.cache, listener)
    flops = flops_of(hardware, settings, world)
    spec = world.agree(
        lambda: _new_spec(text, corpus, start_from, preset, settings, hardware, flops)
    )
    if spec.split.val_frac and not spec.parts.val:  # the nearest beginning of a record is the end
        none = Hint("a larger {val_frac} may leave some")
        listener.on_note("no whole record is left to validate on", none)
    with naming_what_is_too_large(spec.model, spec.training, hardware.device):
        network, adopted = world.agree(lambda: _network(spec, origin))
        streams = world.agree(lambda: _streams(spec, world))
        stepper = stepper_of(network, spec.training, hardware, listener, world)
        with new_folder(stem_of(corpus.name), out, listener, world) as folder:
            return _run(_trainer(spec, stepper, streams, folder, listener), adopted)


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
        with naming_what_is_too_large(spec.model, spec.training, hardware.device):
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


def _encoded(text: TextChoice, records: bool, world: World) -> Corpus:
    """The text as ids; the main process encodes it, and the others find it in the cache."""
    encoded: list[Corpus] = []  # too large to send to the other processes

    def encode() -> tuple[str, str, str]:
        corpus = text.encode(records)
        encoded.append(corpus)
        return corpus.sha256, corpus.name, corpus.encoding

    def found() -> Corpus:
        (sha256, name, encoding), limited = key, text.max_bytes is not None
        how: dict[str, Any] = {"records": records, "limited": limited, "symbols": text.rule}
        known = encoded[0] if encoded else None
        known = known or cached_corpus(sha256, name, encoding, text.cache, **how)
        return known or text.encode(records)

    key = world.decide(encode, slow=True)
    return world.agree(found)


def _note_surprises(corpus: Corpus, cache: Path, listener: Listener) -> None:
    for message in corpus.skipped[:NAMED]:
        listener.on_note(f"skipped: {message}")
    if more := len(corpus.skipped[NAMED:]):
        listener.on_note(f"skipped {counted(more, 'more file')}")
    if cache.name == NEARBY:
        kept = f"no cache folder can be written: the encoded text is kept in {cache}"
        listener.on_note(kept, Hint("set CHARRNN_CACHE to another folder"))
    if better := corpus.markless_encoding:
        mark = f"{corpus.name} begins with a byte order mark"
        listener.on_note(mark, Hint("{encoding} omits it", {"encoding": better}))
    if (kind := corpus.kind_with_nul) is not None:
        reads = Hint("{encoding} reads it", {"encoding": kind.encoding})
        other = Hint("{is_bytes} reads any bytes")
        nul = f"{corpus.name} has NUL characters, it looks like {kind.name}"
        listener.on_note(nul, reads if kind.encoding else other)
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
    split_spec = text.split_spec(len(corpus))
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
    )
