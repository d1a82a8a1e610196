"""A short sample of the network during training, by the reference engine of ``sample``."""

from __future__ import annotations

import numpy as np

from charrnn.generation.filling import BothSides, fill_gaps
from charrnn.generation.generator import Generator, first_id
from charrnn.generation.halves import Tensors
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.sample_config import SampleConfig
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.state import RunSpec

LENGTH = 150
LINES = 4  # records
GAP, BETWEEN = 6, 24  # characters, of a bidirectional network


def preview(spec: RunSpec, stepper: Stepper) -> str:
    """A short sample at temperature 0.8, or a few short records, or a passage with gaps filled.

    Its generator is its own, so training is not affected.
    """
    with stepper.averaged_weights():
        weights: Tensors = dict(stepper.network.to_numpy())
    if spec.model.bidirectional:
        return _filled(spec, weights)
    lines = spec.line_end is not None
    seed, count = spec.training.seed, LINES if lines else 1
    config = SampleConfig(temperature=0.8, length=LENGTH, seed=seed, count=count)
    vocab, reverse = spec.corpus.vocab, spec.model.reverse
    engine = Engine(spec.model, weights)
    texts = Generator(vocab, engine, config, lines=lines, reverse=reverse).texts()
    return "\n".join(texts)[:LENGTH]


def _filled(spec: RunSpec, weights: Tensors) -> str:
    """The beginning of the validation part; what the network put into gaps stands in brackets."""
    (start, stop), *_ = spec.parts.val or spec.parts.train
    ids, vocab = (
        spec.corpus.ids[start : min(stop, start + LENGTH)].astype(np.intp),
        spec.corpus.vocab,
    )
    pieces = [ids[begin : begin + BETWEEN] for begin in range(0, len(ids), BETWEEN + GAP)]
    filler = BothSides(spec.model, weights, first_id(vocab))
    [found] = fill_gaps(filler, pieces, [(GAP,)] * (len(pieces) - 1), 1)
    known, gaps = (list(map(vocab.decode, parts)) for parts in (pieces, found.gaps))
    return "".join(f"{piece}[{gap}]" for piece, gap in zip(known, gaps, strict=False)) + known[-1]
