"""charrnn: character-level text generation with recurrent networks.

    import charrnn

    result = charrnn.train("corpus.txt", seconds=60)
    model = charrnn.load(result.best)
    print(model.sample(temperature=0.8, length=500))
    print(model.score("All happy families").bits_per_char)

Everything that the command line does can be done from here:

    model.samples("Once ", charrnn.SampleConfig(count=3, top_k=40))  # several texts
    model.stream("Once ", charrnn.SampleConfig(length=0))            # one without an end
    model.sample_records(config, charrnn.RecordConfig(unique=True))  # lines that meet conditions
    model.likely(top=100)                                            # the most probable lines
    model.score_lines(text)                                          # a score for each line
    model.score_chars(text, top=5)                                   # and for each character
    model.log_probs(text)                                            # (T, V), a NumPy array
    model.next("Once ", top=10)                                      # the likeliest characters
    model.score_split("val")                                         # a part of its own corpus
    charrnn.fill(model, "Prince Andrew ____ at once", count=5)       # what may stand in a gap
    charrnn.score_adapting(model, model.encode(text))                # while a copy keeps learning
    charrnn.insight_page(model)                                      # what it learned, as HTML
    charrnn.plot("my-run", "another", x="time")                      # their curves, as SVG
    charrnn.export_model(model, "page.html")                         # for use without charrnn
    charrnn.list_checkpoints()
    charrnn.plan("corpus.txt", epochs=20).memory.total               # bytes, before anything runs

Whatever can be wrong is a ``CharRNNError`` (``charrnn.errors`` draws the tree). Names are imported
when they are first used, so ``import charrnn`` costs nothing, and only ``train``, ``plan`` and
``score_adapting`` import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "CharRNNError": "charrnn.errors",
    "Checkpoint": "charrnn.checkpoint.file",
    "ModelConfig": "charrnn.config",
    "RecordConfig": "charrnn.generation.record_config",
    "SampleConfig": "charrnn.generation.sample_config",
    "Score": "charrnn.generation.scoring",
    "TextConfig": "charrnn.config",
    "TextModel": "charrnn.textmodel",
    "TrainConfig": "charrnn.config",
    "Vocab": "charrnn.text.vocab",
    "export_model": "charrnn.export.api",
    "fill": "charrnn.filling",
    "insight_page": "charrnn.insight.api",
    "list_checkpoints": "charrnn.paths",
    "load": "charrnn.textmodel",
    "plan": "charrnn.training.planning",
    "plot": "charrnn.insight.plotting",
    "score_adapting": "charrnn.training.evaluation.dynamic",
    "train": "charrnn.training.api",
}

__all__ = [
    "CharRNNError",
    "Checkpoint",
    "ModelConfig",
    "RecordConfig",
    "SampleConfig",
    "Score",
    "TextConfig",
    "TextModel",
    "TrainConfig",
    "Vocab",
    "__version__",
    "export_model",
    "fill",
    "insight_page",
    "list_checkpoints",
    "load",
    "plan",
    "plot",
    "score_adapting",
    "train",
]

if TYPE_CHECKING:
    from charrnn.checkpoint.file import Checkpoint
    from charrnn.config import ModelConfig, TextConfig, TrainConfig
    from charrnn.errors import CharRNNError
    from charrnn.export.api import export_model
    from charrnn.filling import fill
    from charrnn.generation.record_config import RecordConfig
    from charrnn.generation.sample_config import SampleConfig
    from charrnn.generation.scoring import Score
    from charrnn.insight.api import insight_page
    from charrnn.insight.plotting import plot
    from charrnn.paths import list_checkpoints
    from charrnn.text.vocab import Vocab
    from charrnn.textmodel import TextModel, load
    from charrnn.training.api import train
    from charrnn.training.evaluation.dynamic import score_adapting
    from charrnn.training.planning import plan


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'charrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
