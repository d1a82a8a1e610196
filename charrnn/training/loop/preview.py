"""A short sample of the network during training, by the reference engine of ``sample``."""

from __future__ import annotations

from charrnn.generation.generator import Generator
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.sample_config import SampleConfig
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.state import RunSpec

LENGTH = 150
LINES = 4  # records


def preview(spec: RunSpec, stepper: Stepper) -> str:
    """A short sample at temperature 0.8, or a few short records.

    Its generator is its own, so training is not affected.
    """
    with stepper.averaged_weights():
        engine = Engine(spec.model, dict(stepper.network.to_numpy()))
    lines = spec.line_end is not None
    seed, count = spec.training.seed, LINES if lines else 1
    config = SampleConfig(temperature=0.8, length=LENGTH, seed=seed, count=count)
    vocab, reverse = spec.corpus.vocab, spec.model.reverse
    texts = Generator(vocab, engine, config, lines=lines, reverse=reverse).texts()
    return "\n".join(texts)[:LENGTH]
