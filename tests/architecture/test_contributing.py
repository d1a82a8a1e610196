"""The examples in CONTRIBUTING.md: each is all that it takes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import charrnn
from charrnn import cells
from charrnn.config import TrainConfig
from charrnn.generation import filters
from charrnn.settings import declared, setting
from tests.support.checkpoints import ROOT, tiny

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def example(heading: str) -> str:
    """The Python code under a heading."""
    section = CONTRIBUTING.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    [code] = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    return str(code)


@pytest.fixture
def softsign() -> Iterator[str]:
    exec(example("Add a recurrent cell"), {})
    yield "rnn-softsign"
    cells.unregister("rnn-softsign")


@pytest.mark.usefixtures("bare_environment")
def test_the_cell_trains_samples_and_scores(softsign: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question\n" * 100)
    result = charrnn.train(text, cell=softsign, hidden=16, layers=1, steps=60, seed=1)
    model = charrnn.load(result.best)
    assert model.checkpoint.config.cell == softsign
    assert len(model.sample(length=50, seed=1)) == 50
    assert model.score("to be or not to be").nats_per_char < 3
    if find_spec("onnx"):
        charrnn.export_model(model, tmp_path / "model.onnx")


def test_the_filter_filters() -> None:
    model = charrnn.TextModel(tiny())
    with patch.dict(filters.FILTERS):
        code = "from __future__ import annotations\n" + example("Add a sampling filter")
        exec(code, {"sampling_filter": filters.sampling_filter})
        plain = model.sample(length=500, seed=1)
        assert not set("0123456789") & set(model.sample(length=500, seed=1, no_digits=True))
    assert len(plain) == 500


def test_the_option_is_one_line() -> None:
    body = "class More(TrainConfig):\n" + example("Add a training option")
    scope: dict[str, Any] = {"TrainConfig": TrainConfig, "setting": setting}
    exec("from dataclasses import dataclass\n@dataclass(frozen=True)\n" + body, scope)
    [option] = declared(scope["More"], "label_smoothing")
    assert (option.flag, option.variable) == ("--label-smoothing", "CHARRNN_LABEL_SMOOTHING")
    with pytest.raises(charrnn.CharRNNError, match="label_smoothing is 2"):
        scope["More"](steps=1, label_smoothing=2)
    assert dataclasses.asdict(scope["More"](steps=1))["label_smoothing"] == 0.0
