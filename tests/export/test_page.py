"""The web page: whole in itself, safe whatever a checkpoint says, small, and clear in refusing."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import cells
from charrnn.checkpoint.file import Checkpoint
from charrnn.checkpoint.int8 import quantize
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.export import page
from charrnn.export.page import CELLS, ENGINE
from charrnn.export.weights import packed
from charrnn.text.vocab import Vocab
from tests.export.pages import Parts, written
from tests.support.checkpoints import META, ROOT, tiny
from tests.support.networks import letters, random_weights

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--\u2028\u202e"
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "p", "noscript", "form",
    "label", "span", "textarea", "div", "output", "input", "button", "pre", "b", "footer", "script",
}  # fmt: skip


def hostile() -> charrnn.TextModel:
    """A model whose every text tries to be more than a text."""
    meta = META | {"corpus": META["corpus"] | {"name": EVIL}, "licence": EVIL}
    long = ("</script>", "<!--<script>", "<img src=x onerror=alert(3)>")
    vocab = Vocab((10, 32, 60), (1,) * 6, long=tuple(sorted(long)), expression="<[^<]+>|<!--.*")
    tiny(vocab, meta).save(Path('</script><b>x&y".safetensors'.replace("/", "∕")))
    return charrnn.load(next(Path().glob("*.safetensors")))


def test_a_hostile_checkpoint_puts_nothing_into_the_page_but_text() -> None:
    model = hostile()
    plain = charrnn.TextModel(tiny(meta=META | {"licence": "Free for all."}))
    found, harmless = Parts(written(model)), Parts(written(plain))
    names = [name for name, _ in found.elements]
    assert names == [name for name, _ in harmless.elements]
    assert set(names) == ELEMENTS
    for _, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href")]
    assert "<img src=x onerror=alert(2)>" in found.text  # to be read
    assert "\u202e" not in found.text
    described = json.loads(found.block("model"))
    assert (described["codes"], described["long"]) == ([10, 32, 60], list(model.vocab.long))
    assert "<" not in found.block("model")
    for (_, _, own), (_, _, other) in zip(found.blocks, harmless.blocks, strict=True):
        assert own == other or "<" not in own


def test_the_security_policy_allows_the_scripts_of_this_room_and_nothing_else() -> None:
    found = Parts(written(hostile()))
    [policy] = [a["content"] for n, a in found.elements if n == "meta" and "http-equiv" in a]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))

    def digest(text: str) -> str:
        return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    code = [text for name, a, text in found.blocks if name == "script" and "type" not in a]
    [style] = [text for name, _, text in found.blocks if name == "style"]
    assert rules == {
        "default-src": "'none'",
        "script-src": " ".join([*map(digest, code), "'wasm-unsafe-eval'"]),
        "worker-src": "blob:",
        "style-src": digest(style),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    web = ROOT / "charrnn/export/web"
    assert {path.name for path in web.iterdir()} == {*ENGINE, "page.js", "page.css"}
    for name in ENGINE:
        assert (web / name).read_text() in code[0]
    assert not re.search(r"https?:|innerHTML|eval\(|fetch\(|document\.write", "".join(code) + style)


def test_every_field_has_a_name_and_the_page_says_what_it_knows() -> None:
    found = Parts(written(charrnn.TextModel(tiny())))
    fields = [(n, a) for n, a in found.elements if n in ("textarea", "input", "button")]
    assert {a.get("id") for _, a in fields} == {
        "prime", "temperature", "length", "seed", "write", "stop",
    }  # fmt: skip
    labels = [a.get("for") for name, a in found.elements if name == "label"]
    assert len(labels) == 4  # the others are around their fields
    assert "prime" in labels
    assert "temperature" in labels  # else the label would be that of the first field in it
    for said in ("lstm 2 × 16", "30 symbols", "trained on novel.txt", "val 1.5000 nats/char"):
        assert said in found.text
    assert f"{tiny().config.parameters:,} weights" in found.text
    licensed = tiny(meta=META | {"licence": "Free for all."})
    assert "Free for all." in Parts(written(charrnn.TextModel(licensed))).text


def test_lines_are_counted() -> None:
    lines = META | {"corpus": META["corpus"] | {"lines": True}}
    text = Parts(written(charrnn.TextModel(tiny(meta=lines)))).text
    assert "Lines" in text
    assert "Beginning of each line" in text


def odd(**settings: Any) -> charrnn.TextModel:
    """A model of another kind."""
    config = ModelConfig(len(letters()), embedding=8, hidden=16, layers=2, **settings)
    return charrnn.TextModel(Checkpoint(config, letters(), random_weights(config), META))


@pytest.mark.parametrize(("settings", "said"), [
    ({"reverse": True}, "model reads from right to left: a web page cannot write with it"),
    ({"bidirectional": True}, "the network reads both sides of a character: it cannot write"),
    *(({"cell": name}, f"a web page cannot run the cell {name}, only lstm, gru")
      for name in cells.names() if cells.get(name).name not in CELLS),
], ids=str)  # fmt: skip
def test_what_the_engine_does_not_know_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        charrnn.export_model(odd(**settings), "page.html")
    assert said in str(refused.value)
    assert not list(Path().glob("*.html"))


def test_a_network_that_is_too_large_for_browsers_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page, "MOST_WEIGHTS", tiny().config.parameters)
    charrnn.export_model(charrnn.TextModel(tiny()), "page.html")
    monkeypatch.setattr(page, "MOST_WEIGHTS", tiny().config.parameters - 1)
    with pytest.raises(CheckpointError, match="a web page cannot hold "):
        charrnn.export_model(charrnn.TextModel(tiny()), "other.html")
    assert not Path("other.html").exists()


def values(checkpoint: Checkpoint) -> dict[str, Any]:
    """The packed weights by name, read as the page does, and whether int8."""
    index, data = packed(checkpoint)
    assert all(entry["start"] % 4 == 0 for entry in index)
    return {
        entry["name"]: np.frombuffer(data, entry["type"], entry["size"], entry["start"])
        for entry in index
    }


@pytest.mark.parametrize("stored", ["float32", "float16", "int8"])
def test_weights_are_small_and_those_of_the_engines(stored: Any) -> None:
    tiny().save(Path("model.safetensors"), weight_dtype=stored)
    checkpoint = charrnn.load("model.safetensors").checkpoint
    found = values(checkpoint)
    for name, shape in checkpoint.config.shapes().items():
        weight, kept = checkpoint.weights[name], found[name]
        if kept.dtype != np.int8:
            assert kept.dtype == ("float32" if stored == "float32" else "float16")
            np.testing.assert_array_equal(kept.reshape(shape), weight)
            continue
        whole, scales = quantize(np.ascontiguousarray(weight))
        np.testing.assert_array_equal(kept.reshape(shape), whole)
        np.testing.assert_array_equal(found[f"{name}.scales"], scales)
    in_int8 = {name for name, value in found.items() if value.dtype == np.int8}
    first = {"layers.0.weight_ih"} if stored == "int8" else set()
    assert in_int8 == {
        "layers.0.weight_hh", "layers.1.weight_ih", "layers.1.weight_hh", *first
    }  # fmt: skip


def test_the_bundled_network_is_a_page_of_eight_megabytes() -> None:
    model = charrnn.load(ROOT / "checkpoints/war-and-peace")
    text = written(model)
    assert len(text) < 8e6
    block = Parts(text).block("weights")
    assert b64decode(block, validate=True) == packed(model.checkpoint)[1]
