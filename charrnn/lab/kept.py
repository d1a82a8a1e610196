"""Runs that a comparison keeps: they must be those that it would train itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import ModelConfig, TrainConfig, write_duration
from charrnn.errors import CheckpointError, ConfigError
from charrnn.paths import BEST, LAST
from charrnn.settings import declared
from charrnn.text.corpus import Corpus
from charrnn.training.rundir.metrics import METRICS

# what may differ between runs that are compared: how they were computed
MACHINE = frozenset({"device", "precision", "threads"})
_BUDGETS = ("epochs", "steps", "seconds")


def is_finished(folder: Path) -> bool:
    """Whether the run in ``folder`` has ended: its metrics have a result."""
    try:
        last = (folder / METRICS).read_bytes().splitlines()[-1]
        return json.loads(last).get("final") is True
    except (OSError, ValueError, IndexError, AttributeError):
        return False


def kept_run(folder: Path, name: str) -> Checkpoint | None:
    """A checkpoint of the run of the cell ``name`` in ``folder``; None if nothing is kept there.

    Raises:
        CheckpointError: it is damaged, or that of another cell.

    """
    file = next((file for file in (BEST, LAST) if (folder / file).exists()), None)
    if file is None or not ((folder / LAST).exists() or is_finished(folder)):
        return None
    found = load(folder / file, extra=file == LAST)
    if not found.config.agrees("cell", name):
        raise CheckpointError(f"{folder} holds a run of {found.config.cell}, not of {name}")
    return found


def check_kept(
    folder: Path, run: Checkpoint, model: ModelConfig, corpus: Corpus, settings: Mapping[str, Any]
) -> None:
    """Check that the ``run`` in ``folder`` is that of ``model`` on ``corpus`` with ``settings``.

    Raises:
        ConfigError: it is another; says what to ask for instead.

    """
    about = run.about("corpus")
    if about.get("sha256") != corpus.sha256:
        reason = f"{folder} holds a run on another text, {about.get('name')}"
        raise ConfigError(reason, "name that text, or choose another {out}")
    if other := _different(run, model, settings):
        wanted = " and ".join(f"{{{name}}}" for name in other)
        reason = f"{folder} holds a run with other settings"
        raise ConfigError(reason, f"set {wanted}, or choose another {{out}}", **other)


def _different(run: Checkpoint, model: ModelConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of ``run`` that are not those asked for, as they are written."""
    was = run.about("training")
    other: dict[str, Any] = {}
    if (run.config.hidden, run.config.parameters) != (model.hidden, model.parameters):
        other["parameters"] = run.config.parameters
    own = {option.name for option in model.definition.options}
    for option in model.options:
        same = run.config.agrees(option.name, model.value(option.name))
        if option.name in settings.keys() | own and not same:
            write = option.notation.write if option.notation else str
            other[option.name] = write(run.config.value(option.name))
    for option in declared(TrainConfig):
        name = option.name
        if name in settings.keys() - MACHINE and settings[name] != was.get(name):
            budget = next((b for b in _BUDGETS if was.get(b)), name)
            name = budget if name in _BUDGETS else name
            value = was.get(name)
            other[name] = write_duration(value) if name == "seconds" and value else value
    return other
