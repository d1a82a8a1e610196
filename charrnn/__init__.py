"""charrnn: character-level text generation with recurrent networks.

    import charrnn

    result = charrnn.train("corpus.txt", seconds=60)
    model = charrnn.load(result.best)
    print(model.sample(temperature=0.8, length=500))
    print(model.score("All happy families").bits_per_char)

Names are imported when they are first used, so that ``import charrnn`` costs nothing and sampling
never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "CharRNNError": "charrnn.errors",
    "Checkpoint": "charrnn.checkpoint.file",
    "ModelConfig": "charrnn.config",
    "SampleConfig": "charrnn.generation.sample_config",
    "TextConfig": "charrnn.config",
    "TextModel": "charrnn.textmodel",
    "TrainConfig": "charrnn.config",
    "Vocab": "charrnn.text.vocab",
    "list_checkpoints": "charrnn.paths",
    "load": "charrnn.textmodel",
    "train": "charrnn.training.api",
}

__all__ = [
    "CharRNNError",
    "Checkpoint",
    "ModelConfig",
    "SampleConfig",
    "TextConfig",
    "TextModel",
    "TrainConfig",
    "Vocab",
    "__version__",
    "list_checkpoints",
    "load",
    "train",
]

if TYPE_CHECKING:
    from charrnn.checkpoint.file import Checkpoint
    from charrnn.config import ModelConfig, TextConfig, TrainConfig
    from charrnn.errors import CharRNNError
    from charrnn.generation.sample_config import SampleConfig
    from charrnn.paths import list_checkpoints
    from charrnn.text.vocab import Vocab
    from charrnn.textmodel import TextModel, load
    from charrnn.training.api import train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'charrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
