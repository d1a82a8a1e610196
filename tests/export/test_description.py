"""What an exported file says of its model."""

from __future__ import annotations

import json

import numpy as np

import charrnn
from charrnn.export.description import description
from charrnn.text.vocab import Vocab
from tests.support.checkpoints import META, tiny
from tests.support.networks import letters


def about(vocab: Vocab, **meta: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(description(tiny(vocab, meta)))
    return found


def test_ids_can_be_decoded() -> None:
    text = "\n añ€😀\x1b"
    vocab = letters(text)
    found = about(vocab)
    assert found["symbols"] == sorted(text)
    assert found["first"] == 0  # the line end
    assert (found["bytes"], "expression" in found) == (False, False)


def test_bytes_are_numbers() -> None:
    counts = np.zeros(256, np.int64)
    counts[[0, 10, 200, 255]] = 5
    found = about(Vocab.from_counts(counts, is_bytes=True))
    assert (found["symbols"], found["bytes"], found["first"]) == ([0, 10, 200, 255], True, 1)


def test_symbols_of_several_characters_follow_the_others() -> None:
    vocab = Vocab((67, 108), (3, 9, 1, 1), False, ("Br", "Cl"), "Br|Cl")
    found = about(vocab)
    assert found["symbols"] == ["C", "l", "Br", "Cl"]
    assert (found["expression"], found["first"]) == ("Br|Cl", 1)  # the most frequent


def test_it_tells_where_the_model_comes_from_and_nothing_else_of_its_training() -> None:
    found = about(letters(), **META, temperature=1.25, licence="terms", training={"seed": 1})
    assert found["corpus"] == META["corpus"]
    assert found["losses"] == META["losses"]
    assert (found["temperature"], found["licence"]) == (1.25, "terms")
    assert (found["reads"], found["by"]) == (
        "from left to right", f"charrnn {charrnn.__version__}"
    )  # fmt: skip
    assert not {"training", "made"} & found.keys()


def test_hostile_names_are_plain_ascii() -> None:
    name = '\x1b]0;x\x07"\ud800../\u202e\0'
    text = description(tiny(meta={"corpus": {"name": name}, "licence": [name]}))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["corpus"]["name"] == name
