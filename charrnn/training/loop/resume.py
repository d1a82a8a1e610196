"""Resuming: what the run was, what may change, and what the user is told about a change."""

from __future__ import annotations

import dataclasses
from typing import Any

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig, TextConfig, TrainConfig, model_options
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.hints import omit
from charrnn.settings import declared
from charrnn.text.corpus import Corpus, cached_corpus
from charrnn.text.recorded import read_as
from charrnn.training.events import Listener
from charrnn.training.loop.checkpointing import cannot_resume, environment
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.trainer import Trainer
from charrnn.training.state import RunSpec, SplitSpec
from charrnn.training.texts import TextChoice, parts_of, reading

# what may change when a run is resumed; everything else is part of the run
BUDGETS = ("epochs", "steps", "seconds")
MACHINES = ("device", "precision", "threads", "grad_compression", "sync_every")
CHANGEABLE = frozenset({*BUDGETS, *MACHINES, "patience", "lr"})


@dataclasses.dataclass(frozen=True)
class _Recorded:
    """What the last checkpoint's metadata say about the run; they may come from anywhere."""

    name: str  # of the corpus, as are the next two
    sha256: str
    encoding: str
    records: bool
    split: SplitSpec
    read: dict[str, Any]  # max_bytes and skip_bad
    symbols: str | None  # an expression
    start_from: str | None
    training: dict[str, Any]

    @classmethod
    def of(cls, last: Checkpoint) -> _Recorded:
        """Raises CheckpointError if something is missing."""
        card = last.meta
        try:
            corpus, training, start_from = card["corpus"], card["training"], card.get("start_from")
            split = SplitSpec(**corpus["split"])
            texts = corpus["name"], corpus["sha256"], corpus["encoding"]
            if not isinstance(training, dict) or not all(
                isinstance(text, str) for text in (*texts, start_from or "")
            ):
                raise TypeError("settings and corpus")
        except (KeyError, TypeError) as error:
            raise cannot_resume(f"it lacks {error}") from None
        records = corpus.get("records") is True  # version 0.1 did not read records
        symbols = last.vocab.expression or None
        return cls(*texts, records, split, read_as(corpus), symbols, start_from, training)

    def text_settings(self) -> dict[str, Any]:
        """The values of the fields of ``TextConfig``."""
        fractions = {"val_frac": self.split.val_frac, "test_frac": self.split.test_frac}
        how = {"split": self.split.kind, "symbols": self.symbols}
        return {**reading(self.encoding), **self.read, **fractions, **how}


def spec_of(last: Checkpoint, text: TextChoice, settings: dict[str, Any]) -> RunSpec:
    """The specification of the run in ``last``, with the changes that ``settings`` ask for.

    Raises:
        ConfigError: ``settings`` or ``text`` ask for something that must not change.
        CheckpointError: ``last`` lacks something, or is inconsistent.
        CorpusError: the text is missing, or is not that of the run.

    """
    was = _Recorded.of(last)
    _check_unchanged(_other_than(last.config, settings), was.training)
    _check_unchanged(_asked(text), was.text_settings())
    corpus = _corpus(last, was, text)
    training = was.training
    if any(budget in settings for budget in BUDGETS):
        training = training | dict.fromkeys(BUDGETS, 0)
    changes = {name: value for name, value in settings.items() if name in CHANGEABLE}
    config = TrainConfig.from_dict(training | changes)
    try:
        parts = parts_of(corpus, was.split, corpus.line_end if config.lines else None)
    except ConfigError as error:
        raise cannot_resume(str(error)) from None
    origin = {"start_from": was.start_from, **was.read}
    return RunSpec(last.config, config, corpus, was.split, parts, **origin)


def _asked(text: TextChoice) -> dict[str, Any]:
    """The settings of ``text`` that the user gave."""
    options = declared(TextConfig)
    return {o.name: value for o in options if (value := getattr(text, o.name)) != o.default}


def _other_than(model: ModelConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` without those that say what ``model`` is."""
    of_model = {option.name for option in model_options()}
    same = {name for name in of_model & settings.keys() if model.agrees(name, settings[name])}
    return {name: value for name, value in settings.items() if name not in same}


def _check_unchanged(asked: dict[str, Any], was: dict[str, Any]) -> None:
    """Raise ConfigError if a setting that must not change is ``asked`` to be another."""
    other = sorted(name for name in asked.keys() - CHANGEABLE if asked[name] != was.get(name))
    if other:
        raise ConfigError("a resumed run keeps its settings", f"{omit(other)}, or start a new run")


def _corpus(last: Checkpoint, was: _Recorded, text: TextChoice) -> Corpus:
    """The run's corpus: from the files that ``text`` names, or from the cache."""
    corpus: Corpus | None
    if text.paths:
        how = was.read | reading(was.encoding) | {"symbols": was.symbols}
        same = dataclasses.replace(text, **how, known=last.vocab.long)
        corpus = same.encode(was.records)
    else:
        of, limited = (was.sha256, was.name, was.encoding), was.read["max_bytes"] is not None
        how = {"records": was.records, "symbols": last.vocab.rule}
        how |= {"limited": limited, "chars": last.about("corpus").get("chars")}
        corpus = cached_corpus(*of, run=text.out, **how)
    if corpus is None:
        raise CorpusError(f"the encoded {was.name} is no longer in the cache: name the text again")
    if corpus.sha256 != was.sha256:
        raise CorpusError(f"{corpus.name} is not the text of that run: its sha256 differs")
    if corpus.vocab.alphabet != last.vocab.alphabet:  # compiled kernels look ids up unchecked
        raise cannot_resume(f"its vocabulary is not that of {corpus.name}")
    return corpus


def _same_budget(trainer: Trainer, last: Checkpoint) -> bool:
    was = last.about("training")
    return all(getattr(trainer.config, name) == was.get(name) for name in BUDGETS)


def renew_patience(trainer: Trainer, last: Checkpoint) -> None:
    """Reset the count of worse validations if the budget changed: the learning rate rises again."""
    if not _same_budget(trainer, last):
        trainer.progress.worse = 0


def check_incomplete(trainer: Trainer, last: Checkpoint) -> None:
    """Check that there is something left to do.

    Raises:
        ConfigError: the result is written, and the budget is spent or was not changed.

    """
    progress, patience = trainer.progress, last.about("training").get("patience")
    # the clock may be a little short of the budget, but that is no reason to train more
    same = _same_budget(trainer, last) and trainer.config.patience == patience
    if (same or trainer.complete) and trainer.folder.has_result(progress.step):
        more = "{patience}, " if trainer.out_of_patience else ""
        raise ConfigError(
            f"the run in {trainer.folder.path} is complete after "
            f"{counted(progress.step, 'step')} and {progress.elapsed_s:.0f} s",
            f"continue it with a larger {more}{{epochs}}, {{steps}} or {{seconds}}",
        )


def warn_of_changes(last: Checkpoint, stepper: Stepper, listener: Listener) -> None:
    """Note, in one line, every change that keeps the continuation from being exact."""
    before, now = last.about("resume").get("environment"), environment(stepper)
    before = before if isinstance(before, dict) else {}
    # an older version of charrnn may not have recorded everything
    changes = [
        f"{k} {before.get(k)} → {v}"
        for k, v in now.items()
        if before.get(k, v if before else None) != v
    ]
    if changes:
        listener.on_note(f"not an exact continuation: {', '.join(changes)}")
