"""A run that goes on: what it was, what of it may change, and what is said of a change."""

from __future__ import annotations

import dataclasses
from typing import Any

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import TextConfig, TrainConfig
from charrnn.errors import CheckpointError, ConfigError, CorpusError, counted
from charrnn.hints import omit
from charrnn.settings import declared
from charrnn.text.corpus import Corpus, cached_corpus
from charrnn.training.events import Listener
from charrnn.training.loop.checkpointing import environment
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.trainer import Trainer
from charrnn.training.state import RunSpec, SplitSpec
from charrnn.training.texts import TextChoice, parts_of, reading

# what may change when a run goes on; everything else is part of what the run is
CHANGEABLE = frozenset(
    {"epochs", "steps", "seconds", "patience", "lr", "device", "precision", "threads"}
)
BUDGETS = ("epochs", "steps", "seconds")


def spec_of(last: Checkpoint, text: TextChoice, settings: dict[str, Any]) -> RunSpec:
    """The spec of the run in ``last``, with what may change changed.

    Raises:
        ConfigError: ``settings`` or ``text`` ask for something that the run cannot become.
        CheckpointError: ``last`` does not say what the run was.
        CorpusError: its text is not there, or is another one.

    """
    card = last.meta
    try:
        named, split_spec = card["corpus"], SplitSpec(**card["corpus"]["split"])
        config = card["training"]
        name, digest, encoding = named["name"], named["sha256"], named["encoding"]
        max_bytes, start_from = named.get("max_bytes"), card.get("start_from")
        texts = (name, digest, encoding, start_from or "")
        if not isinstance(config, dict) or not all(isinstance(part, str) for part in texts):
            raise TypeError("settings and corpus of that run")
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the last checkpoint cannot be resumed: no {error}") from None
    _check_unchanged(settings, last.config.to_dict() | config)
    beginning = max_bytes if type(max_bytes) is int and max_bytes > 0 else None
    fractions = {"val_frac": split_spec.val_frac, "test_frac": split_spec.test_frac}
    was = {**reading(encoding), **fractions, "split": split_spec.kind, "max_bytes": beginning}
    _check_unchanged(_asked(text), was)
    if any(budget in settings for budget in BUDGETS):
        config = config | dict.fromkeys(BUDGETS, 0)
    text = dataclasses.replace(text, max_bytes=beginning, **reading(encoding))
    # the cache knows a text by its encoding as the card spells it
    found = text.encode() if text.paths else cached_corpus(digest, name, encoding)
    corpus = _corpus_of(last, found, name, digest)
    changed = {name: value for name, value in settings.items() if name in CHANGEABLE}
    config = TrainConfig.from_dict(config | changed)
    try:
        parts = parts_of(corpus, split_spec)
    except ConfigError as error:
        raise CheckpointError(f"the last checkpoint cannot be resumed: {error}") from None
    return RunSpec(last.config, config, corpus, split_spec, parts, beginning, start_from)


def _asked(text: TextChoice) -> dict[str, Any]:
    """The settings of ``text`` that were asked for."""
    options = declared(TextConfig)
    return {o.name: value for o in options if (value := getattr(text, o.name)) != o.default}


def _check_unchanged(asked: dict[str, Any], was: dict[str, Any]) -> None:
    """See to it that what is ``asked`` for and cannot change is what the run ``was``.

    Raises:
        ConfigError: it is not.

    """
    other = sorted(name for name in asked.keys() - CHANGEABLE if asked[name] != was.get(name))
    if other:
        raise ConfigError("a resumed run keeps its settings", f"{omit(other)}, or start a new run")


def _corpus_of(last: Checkpoint, corpus: Corpus | None, name: str, digest: str) -> Corpus:
    """``corpus``, if it is the text of the run in ``last``."""
    if corpus is None:
        raise CorpusError(f"the encoded {name} is no longer in the cache: name the corpus again")
    if corpus.sha256 != digest:
        raise CorpusError(f"{corpus.name} is not the text of that run: its sha256 differs")
    alphabets = [(vocab.is_bytes, vocab.codes) for vocab in (corpus.vocab, last.vocab)]
    if alphabets[0] != alphabets[1]:  # compiled kernels believe that ids are within it
        raise CheckpointError(
            f"the last checkpoint cannot be resumed: its alphabet is not that of {corpus.name}"
        )
    return corpus


def _same_budget(trainer: Trainer, last: Checkpoint) -> bool:
    was = last.about("training")
    return all(getattr(trainer.config, name) == was.get(name) for name in BUDGETS)


def renew_patience(trainer: Trainer, last: Checkpoint) -> None:
    """Count worse validations anew in a run that got another budget: its rate rises again."""
    if not _same_budget(trainer, last):
        trainer.progress.worse = 0


def check_incomplete(trainer: Trainer, last: Checkpoint) -> None:
    """See to it that there is something to go on with.

    Raises:
        ConfigError: the budget is spent, or is what it was, and the result is written.

    """
    progress, patience = trainer.progress, last.about("training").get("patience")
    # the clock may stand a little before the budget's end, which is no reason to train on
    same = _same_budget(trainer, last) and trainer.config.patience == patience
    if (same or trainer.complete) and trainer.folder.has_result(progress.step):
        more = "{patience}, " if trainer.out_of_patience else ""
        raise ConfigError(
            f"the run in {trainer.folder.path} is complete after "
            f"{counted(progress.step, 'step')} and {progress.elapsed_s:.0f} s",
            f"continue it with a larger {more}{{epochs}}, {{steps}} or {{seconds}}",
        )


def warn_of_changes(last: Checkpoint, stepper: Stepper, listener: Listener) -> None:
    """One warning that names whatever keeps the continuation from being exact."""
    before, now = last.about("resume").get("environment"), environment(stepper)
    before = before if isinstance(before, dict) else {}
    # an older charrnn may not have noted everything
    changes = [
        f"{k} {before.get(k)} → {v}"
        for k, v in now.items()
        if before.get(k, v if before else None) != v
    ]
    if changes:
        listener.on_note(f"not an exact continuation: {', '.join(changes)}")
