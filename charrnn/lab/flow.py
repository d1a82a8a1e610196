"""Gradient flow in networks of several cells, or in a run, before and after training."""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from charrnn.config import Clip, ModelConfig, TrainConfig
from charrnn.lab.gradients import Curve, gradient_flow, passages, with_gain
from charrnn.lab.short_runs import ShortRun, short_run
from charrnn.model.network import CharNetwork
from charrnn.settings import MAX_INT64
from charrnn.text.corpus import Corpus
from charrnn.text.reversal import turned
from charrnn.text.splits import Parts
from charrnn.text.vocab import Ids
from charrnn.textmodel import TextModel
from charrnn.training.rundir.metrics import METRICS, grad_norms

BEFORE, AFTER = "before", "after"  # training
CLIPPED = {"norm": "clipped by norm", "value": "clipped by value", "none": "not clipped"}
LAST = 50  # steps whose mean loss is told


@dataclass(frozen=True)
class Flow:
    """What an experiment found.

    Attributes:
        curves: the gradients of the states against the lag, for each network and stage.
        norms: the norms of the gradients of training runs, before clipping, by how they were
            clipped (``{"none": …, "norm": …}``).
        nats: the loss at the end of these runs, by the same names; empty if unknown.
        clipped: the network that both are about.
        clip: the largest norm, or with ``value`` the largest entry; None if unknown.
        unit: what a step reads: a character, a byte, or a symbol of any length.

    """

    curves: list[Curve]
    norms: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    nats: dict[str, float] = field(default_factory=dict)
    clipped: str = ""
    clip: float | None = None
    unit: str = "character"

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values; what is not finite is None."""
        norms = {
            kind: [float(norm) if np.isfinite(norm) else None for norm in found]
            for kind, found in self.norms.items()
        }
        nats = {kind: nats if np.isfinite(nats) else None for kind, nats in self.nats.items()}
        about = {"clipped": self.clipped, "clip": self.clip, "nats": nats, "norms": norms}
        return {"curves": [curve.to_dict() for curve in self.curves]} | about


def flow_of_cells(
    networks: Mapping[str, ModelConfig],
    training: TrainConfig,
    corpus: Corpus,
    parts: Parts,
    *,
    gain: float,
    on_run: Callable[[str, ShortRun], object] = lambda name, run: None,
) -> Flow:
    """Train each of the ``networks``, and follow the gradients before and after.

    The first one is also followed with recurrent weights ``gain`` times as large, and trained from
    there with each kind of clipping.

    Args:
        networks: the networks by name.
        training: how they are trained, for a number of steps.
        corpus: the text.
        parts: its parts: the networks are trained on one, and followed on the validation part if
            that is long enough.
        gain: the factor.
        on_run: is told the name and the result of each training run.

    Raises:
        CorpusError: the text is too short.
        Interrupted: a signal arrived.

    """
    unit = corpus.vocab.unit
    text = passages(corpus.ids, parts.val, parts.train, unit=unit)
    found, first = list[Curve](), next(iter(networks))
    for name, config in networks.items():
        fresh = CharNetwork(config, training.seed)
        found += gradient_flow(fresh, text, name, BEFORE)
        run = short_run(fresh, training, corpus.ids, parts.train)
        on_run(name, run)
        found += gradient_flow(run.network, text, name, AFTER)
    large, change = with_gain(CharNetwork(networks[first], training.seed), gain), f"U × {gain:g}"
    found += gradient_flow(large, text, first, change)
    norms, nats = dict[str, NDArray[np.float64]](), dict[str, float]()
    for kind in get_args(Clip):
        clipped = dataclasses.replace(training, clip_by=kind)
        run = short_run(large, clipped, corpus.ids, parts.train)
        on_run(f"{first}, {change}, {CLIPPED[kind]}", run)
        norms[kind], nats[kind] = run.norms, mean_loss(run)
    return Flow(found, norms, nats, f"{first}, {change}", training.clip, unit)


def flow_of_run(model: TextModel, ids: Ids | None = None) -> Flow:
    """The gradients of a trained ``model``, and of its network with fresh random weights.

    Args:
        model: the model.
        ids: the text to read; by default the validation part of its own corpus, from the cache.

    Raises:
        CorpusError: the text is too short, or not available.
        CheckpointError: the network reads both sides of a character, or the checkpoint does not
            say how its corpus was split.

    """
    model.checkpoint.config.check_causal("be followed through time")
    if ids is None:
        ids, own = model.corpus()
        parts = [own.val, own.train]
    else:
        parts = [((0, len(ids)),)]
    if model.reverse:
        parts = [turned(ids, ranges)[1] for ranges in parts]
        ids, _ = turned(ids, ())
    unit = model.vocab.unit
    text = passages(ids, *parts, unit=unit)
    config = model.checkpoint.config
    training = model.checkpoint.about("training")
    seed = training.get("seed")
    fresh = CharNetwork(config, seed if type(seed) is int and 0 <= seed <= MAX_INT64 else 0)
    trained = CharNetwork(config)
    trained.load_numpy(model.checkpoint.weights)
    curves = gradient_flow(fresh, text, model.name, BEFORE)
    curves += gradient_flow(trained, text, model.name, AFTER)
    kind, clip = training.get("clip_by", "norm"), training.get("clip")
    reported = grad_norms(model.path.with_name(METRICS)) if model.path else []
    norms = {str(kind): np.array(reported)} if reported and kind in get_args(Clip) else {}
    return Flow(curves, norms, {}, model.name, clip if type(clip) is float else None, unit)


def mean_loss(run: ShortRun) -> float:
    """The mean loss of the last steps of a run, in nats a character."""
    return float(run.losses[-LAST:].mean())
