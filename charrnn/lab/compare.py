"""Cells compared: networks of equally many weights, trained on the same text for the same time."""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn import cells
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import ModelConfig, draw_seed, model_options
from charrnn.errors import (
    CheckpointError,
    ConfigError,
    CorpusError,
    Interrupted,
    NonFiniteLossError,
)
from charrnn.hints import Hint
from charrnn.lab.kept import MACHINE, check_kept, is_finished, kept_run
from charrnn.lab.networks import networks
from charrnn.model_config import MAX_WIDTH
from charrnn.paths import BEST
from charrnn.text.corpus import Corpus
from charrnn.training.api import train
from charrnn.training.events import Listener
from charrnn.training.recipes import apply_preset
from charrnn.training.rundir.discovery import check_vacant
from charrnn.training.rundir.metrics import METRICS, validations
from charrnn.training.texts import TextChoice

SETTINGS: Mapping[str, Any] = {
    "embedding": 64, "layers": 2, "batch": 32, "window": 64, "lr": 4e-3, "patience": 0,
    "fit_temperature": False,
}  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """The run of one cell.

    Attributes:
        cell: its name.
        hidden: units of each layer.
        parameters: weights of the network.
        folder: the run's folder.
        best: the lowest validation loss, in nats per character, of the whole validation part; None
            without one.
        validations: seconds of training, characters read and nats per character of each; they may
            have read a sample of the validation part.
        failure: why the run ended early; None if it did not.

    """

    cell: str
    hidden: int
    parameters: int
    folder: Path
    best: float | None
    validations: list[tuple[float, int, float]]
    failure: str | None = None

    @property
    def chars(self) -> int:
        """Characters read until the last validation."""
        return self.validations[-1][1] if self.validations else 0

    @property
    def seconds(self) -> float:
        """Seconds of training until the last validation."""
        return self.validations[-1][0] if self.validations else 0.0

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values."""
        figures = {"chars": self.chars, "seconds": self.seconds, "folder": str(self.folder)}
        return dataclasses.asdict(self) | figures


def hidden_for(cell: str, parameters: int, vocab_size: int, settings: Mapping[str, Any]) -> int:
    """The most units per layer with which a network has at most ``parameters`` weights.

    Raises:
        ConfigError: so few weights are not even enough for the smallest network.

    """

    def weights(hidden: int) -> int:
        return networks((cell,), vocab_size, {**settings, "hidden": hidden})[cell].parameters

    least = networks((cell,), vocab_size, settings)[cell].definition.least_hidden
    if weights(least) > parameters:
        reason = f"is {parameters:,}: the smallest {cell} network has {weights(least):,}"
        raise ConfigError(reason, "raise it, or lower {embedding}", setting="parameters")
    low, high = least, MAX_WIDTH + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if weights(middle) <= parameters else (low, middle)
    return low


def compare(
    corpus: Sequence[str | Path],
    names: Sequence[str],
    *,
    parameters: int,
    out: Path,
    resume: bool = False,
    listener: Listener | None = None,
    on_run: Callable[[Compared], object] = lambda run: None,
    **settings: Any,
) -> list[Compared]:
    """Train a network of each cell in a folder of its own; the best is first.

    Args:
        corpus: paths of texts, as for ``charrnn.train``.
        names: the cells.
        parameters: the most weights of each network.
        out: the folder in which each cell has a folder with its name.
        resume: whether to keep the runs that ``out`` has, and continue those that were stopped.
        listener: is told about each run.
        on_run: is told the result of each.
        **settings: further fields of ``ModelConfig`` and ``TrainConfig``, the same for all cells;
            those that only some cells have go to these. What is omitted is as in ``SETTINGS``.

    Raises:
        UserError: the request is invalid or cannot be carried out.
        TrainingError: a run failed. Of several, one whose loss becomes infinite does not end the
            others, and has as its result what it reached before.
        Interrupted: a signal arrived; the run is saved.

    """
    if "-" in map(str, corpus):
        raise CorpusError("the text is read once for each cell: name a file, not standard input")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is not a folder", "choose another {out}")
    values = {**SETTINGS, **settings}
    of_model = {option.name for option in model_options()}
    shape = {name: value for name, value in values.items() if name in of_model}
    training = {name: value for name, value in values.items() if name not in of_model}
    networks(names, 1, shape)  # before the text is read
    apply_preset(training, None)
    text = TextChoice.of(tuple(corpus), {}).encode()
    models = {name: _model(name, parameters, len(text.vocab), shape) for name in names}
    kept = _kept(models, text, values, out, resume)
    if "seed" not in training:
        training["seed"] = _seed_of(kept)
        if listener is not None and len(kept) < len(names):
            listener.on_note(f"seed {training['seed']}")
    found: list[Compared] = []
    for name, model in models.items():
        how = training | _own(name, shape) | {"cell": name, "hidden": model.hidden}
        if name in kept:
            how = {option: how[option] for option in MACHINE & how.keys()} | {"resume": True}
        found.append(_run(corpus, out / name, model, listener, how, alone=len(names) == 1))
        on_run(found[-1])
    return sorted(found, key=lambda run: math.inf if run.best is None else run.best)


def _run(
    corpus: Sequence[str | Path],
    folder: Path,
    model: ModelConfig,
    listener: Listener | None,
    how: dict[str, Any],
    *,
    alone: bool,
) -> Compared:
    """Train ``model`` in ``folder``, which is named like its cell, unless it is finished there.

    A loss that is not finite is an error if the run is ``alone``, else part of the result.
    """
    try:
        if "resume" not in how or not is_finished(folder):
            train(*corpus, out=folder, listener=listener, **how)
    except Interrupted as stop:
        stop.hint = Hint("to continue, repeat the comparison with {resume}")  # not the run
        raise
    except NonFiniteLossError as error:
        if alone:
            raise
        size = model.hidden, model.parameters
        return _failed(folder, Compared(folder.name, *size, folder, None, [], error.message))
    return read_run(folder, folder.name)


def _model(name: str, parameters: int, V: int, shape: Mapping[str, Any]) -> ModelConfig:
    """The largest network of the cell ``name`` with at most ``parameters`` weights."""
    own = _own(name, shape)
    own["hidden"] = hidden_for(name, parameters, V, own)
    return networks((name,), V, own)[name]


def _kept(
    models: Mapping[str, ModelConfig],
    text: Corpus,
    settings: Mapping[str, Any],
    out: Path,
    resume: bool,
) -> dict[str, Checkpoint]:
    """The runs in ``out`` that are kept or continued; all others can begin in their folders."""
    kept = {}
    for name, model in models.items():
        run = kept_run(out / name, name) if resume else None
        if run is None:
            check_vacant(out / name)
        else:
            check_kept(out / name, run, model, text, settings)
            kept[name] = run
    return kept


def _seed_of(kept: Mapping[str, Checkpoint]) -> int:
    """The seed of the first run that is kept, or a random one."""
    seeds = [run.about("training").get("seed") for run in kept.values()]
    return next((seed for seed in seeds if isinstance(seed, int)), draw_seed())


def _failed(folder: Path, run: Compared) -> Compared:
    """``run``, which failed, with what it reached before, if anything was saved."""
    if not (folder / BEST).exists():
        return run
    return dataclasses.replace(read_run(folder, run.cell), failure=run.failure)


def _own(name: str, shape: Mapping[str, Any]) -> dict[str, Any]:
    """``shape`` without the settings that only other cells have."""
    of_others = {o.name for o in cells.options()} - {o.name for o in cells.get(name).options}
    return {name: value for name, value in shape.items() if name not in of_others}


def read_run(folder: Path, name: str) -> Compared:
    """What the run in ``folder`` reached.

    Raises:
        CheckpointError: it has no checkpoint, or one of another cell.

    """
    found = load(folder / BEST)
    config, best = found.config, found.about("losses").get("val")
    if not config.agrees("cell", name):
        raise CheckpointError(f"{folder} holds a run of {config.cell}, not of {name}")
    known = best if isinstance(best, float) and math.isfinite(best) else None
    read = validations(folder / METRICS)
    return Compared(name, config.hidden, config.parameters, folder, known, read)
