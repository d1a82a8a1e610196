"""The examples in the README of the room do what they say."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn.checkpoint.file import Checkpoint
from charrnn.generation.numpy_engine import Engine
from tests.support.checkpoints import ROOT
from tests.support.networks import letters, model, random_weights

README = (ROOT / "charrnn/export/README.md").read_text()
V = len(letters())


def examples(suffix: str) -> list[str]:
    """The Python code under the heading of a format."""
    section = README.partition(f"\n## `{suffix}`")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)


def small(**sizes: Any) -> Checkpoint:
    config = model("lstm", V, embedding=7, hidden=12, **sizes)
    return Checkpoint(config, letters(), random_weights(config))


def test_the_onnx_example_writes_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the seed of the test, the text of our engine; onnxruntime is played by a stand-in."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.support.onnx_session import InferenceSession

    checkpoint = small(layers=2, sum_layers=True)
    charrnn.export_model(charrnn.TextModel(checkpoint), "war-and-peace.onnx")
    stand_in = SimpleNamespace(InferenceSession=InferenceSession)
    monkeypatch.setitem(sys.modules, "onnxruntime", stand_in)
    [code] = examples(".onnx")
    exec(code.replace("default_rng()", "default_rng(1)"), {})
    engine, rng, read = Engine(checkpoint.config, checkpoint.weights), np.random.default_rng(1), 0
    ids = []
    for _ in range(300):
        logits = engine.step(np.array([read]))[0]
        p = np.exp((logits - logits.max()) / 0.8)
        read = rng.choice(V, p=p / p.sum())
        ids.append(read)
    assert capsys.readouterr().out == checkpoint.vocab.decode(ids)


@pytest.mark.parametrize("sum_layers", [False, True])
def test_the_torch_example_gives_our_logits(sum_layers: bool) -> None:
    checkpoint = small(layers=3, sum_layers=sum_layers)
    charrnn.export_model(charrnn.TextModel(checkpoint), "model.torch.safetensors")
    plain, summing = examples(".torch.safetensors")
    scope: dict[str, Any] = {}
    define, load = plain.split("\nwith ")
    exec(define, scope)
    exec(summing, scope)
    code = f"with {load}"
    exec(code.replace("Network(", "Summing(") if sum_layers else code, scope)
    ids = np.random.default_rng(1).integers(0, V, (1, 20))
    with torch.no_grad():
        first, state = scope["network"](torch.from_numpy(ids[:, :8]))
        rest, _ = scope["network"](torch.from_numpy(ids[:, 8:]), state)
    engine = Engine(checkpoint.config, checkpoint.weights)
    wanted = np.stack([engine.step(column).copy() for column in ids.T], axis=1)
    np.testing.assert_allclose(torch.cat((first, rest), 1), wanted, rtol=0, atol=1e-5)
