"""Probabilities as data: tables, ranks and next characters agree with scores."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, ConfigError, UnknownCharacterError
from charrnn.generation import scoring
from charrnn.text import lanes
from charrnn.text.vocab import Vocab
from charrnn.textmodel import TextModel
from tests.generation.test_records import ABC, direct, model
from tests.support.checkpoints import tiny
from tests.support.networks import letters

TEXT = "the old prince, and\nthe new."


def test_log_probs_are_those_of_every_score() -> None:
    own = TextModel(tiny())
    table, ids = own.log_probs(TEXT), own.encode(TEXT)
    assert table.shape == (len(TEXT), len(own.vocab))
    assert table.dtype == np.float32
    assert np.isnan(table[0]).all()
    np.testing.assert_allclose(np.exp(table[1:]).sum(axis=1), 1, atol=1e-6)
    nats = -table[range(1, len(ids)), ids[1:]]
    assert nats.sum() == pytest.approx(own.score(TEXT).nats, rel=1e-6)
    costs = [cost for line in own.score_lines(TEXT) for cost in line.nats]
    np.testing.assert_allclose(nats, costs[1:], atol=1e-6)


def test_log_probs_of_records_begin_with_their_first_character() -> None:
    own = model()
    table = own.log_probs("ab\nc")
    assert table.shape == (5, 4)
    ids = own.encode("ab\nc")
    nats = -table[range(5), ids]
    assert nats[:3].sum() == pytest.approx(direct(own, "ab"), abs=1e-5)
    assert nats[3:].sum() == pytest.approx(direct(own, "c"), abs=1e-5)
    np.testing.assert_array_equal(table[0], table[3])  # each from the zero state


def test_the_characters_of_a_text_have_their_ranks() -> None:
    own = TextModel(tiny())
    table, ids = own.log_probs(TEXT), own.encode(TEXT).tolist()
    chars = list(own.score_chars(TEXT, top=3))
    assert "".join(char.symbol for char in chars) == TEXT
    assert (chars[0].nats, chars[0].rank, chars[0].top) == (None, None, ())
    symbols = list(own.vocab.symbols())
    for char, row, index in zip(chars[1:], table[1:], ids[1:], strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        assert char.rank == order.index(index) + 1
        assert char.nats == pytest.approx(-row[index], abs=1e-6)
        assert [one.symbol for one in char.top] == [symbols[i] for i in order[:3]]
        assert [one.nats for one in char.top] == pytest.approx([-row[i] for i in order[:3]])
    assert all(len(char.top) == len(symbols) for char in list(own.score_chars(TEXT, top=999))[1:])


def test_equally_likely_characters_are_ranked_by_their_ids() -> None:
    checkpoint = tiny(letters("abc"))
    flat = {name: np.zeros_like(value) for name, value in checkpoint.weights.items()}
    own = TextModel(Checkpoint(checkpoint.config, checkpoint.vocab, flat, checkpoint.meta))
    assert [char.rank for char in own.score_chars("abcab")] == [None, 2, 3, 1, 2]
    assert [one.symbol for one in own.next("a")] == ["a", "b", "c"]
    assert [one.probability for one in own.next("a")] == pytest.approx([1 / 3] * 3)


def test_ranks_of_a_text_in_pieces_are_those_of_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    own, text = TextModel(tiny()), TEXT * 150
    exact = list(own.score_chars(text, top=2, exact=True))
    monkeypatch.setattr(scoring, "ONE_PASS", 0)
    monkeypatch.setattr(lanes, "LEAST", 768)
    joined = list(own.score_chars(text, top=2))
    assert own.score(text).error_bound > 0
    assert sum(a.rank != b.rank for a, b in zip(exact, joined, strict=True)) <= 2
    for one, other in zip(exact[1:], joined[1:], strict=True):
        assert one.nats == pytest.approx(other.nats, abs=4e-4)


@pytest.mark.parametrize("prefix", ["", "the ", "the old\nprin", b"the "])
def test_the_next_characters_are_those_that_a_score_knows(prefix: str | bytes) -> None:
    own = TextModel(tiny())
    found = own.next(prefix, top=100)
    assert sum(one.probability for one in found) == pytest.approx(1, abs=1e-5)
    assert [one.nats for one in found] == sorted(one.nats for one in found)
    text = prefix.decode() if isinstance(prefix, bytes) else prefix
    for one in found[:3]:
        row = own.log_probs((text or "\n") + one.symbol)[-1]
        assert one.nats == pytest.approx(-float(row.max()) if one is found[0] else one.nats)
        assert one.nats == pytest.approx(-float(row[own.encode(one.symbol)[0]]), abs=1e-5)


def test_the_next_characters_of_a_record() -> None:
    own = model()
    for prefix in ("", "ab", "c\nab"):
        begun = prefix.rpartition("\n")[2]
        for one in own.next(prefix):
            if one.symbol != "\n":
                [line] = own.score_lines(begun + one.symbol)
                assert one.nats == pytest.approx(line.nats[len(begun)], abs=1e-5)
    assert [len(own.next("a", top=top)) for top in (1, 2, 99)] == [1, 2, 4]


def test_a_model_that_reads_from_right_to_left_is_asked_what_comes_before() -> None:
    forward = TextModel(tiny())
    shape = ModelConfig.from_dict(forward.checkpoint.config.to_dict() | {"reverse": True})
    own = TextModel(Checkpoint(shape, forward.vocab, forward.checkpoint.weights, {}))
    assert own.next("eht") == forward.next("the")
    turned = TEXT[::-1]
    np.testing.assert_array_equal(own.log_probs(turned), forward.log_probs(TEXT)[::-1])
    chars = list(forward.score_chars(TEXT, top=2))
    assert list(own.score_chars(turned, top=2)) == chars[::-1]
    with pytest.raises(ConfigError, match="lines needs a model that reads from left to right"):
        own.score_lines(TEXT, lines=True)


def test_what_cannot_be_asked_is_refused() -> None:
    own = TextModel(tiny())
    with pytest.raises(ConfigError, match="top is 0"):
        own.next("a", top=0)
    with pytest.raises(ConfigError, match="top is -1"):
        own.score_chars("ab", top=-1)
    with pytest.raises(UnknownCharacterError, match="É"):
        own.next("É")
    with pytest.raises(ConfigError, match="lines needs a line end in the vocabulary"):
        TextModel(tiny(letters("abc"))).score_lines("ab", lines=True)


def test_an_overflow_is_no_probability() -> None:
    checkpoint = tiny()
    weights = dict(checkpoint.weights)
    weights["head.bias"] = np.full(len(checkpoint.vocab), np.nan, np.float32)
    own = TextModel(Checkpoint(checkpoint.config, checkpoint.vocab, weights, checkpoint.meta))
    for call in (own.next, own.log_probs, own.score_chars):
        with pytest.raises(CheckpointError, match="overflow"):
            call("ab")


@pytest.mark.parametrize("is_bytes", [False, True])
def test_lines_apart_are_records_whatever_the_model_learned(is_bytes: bool) -> None:
    """Each has the probability with which a sample that ends at a line end draws it."""
    vocab = Vocab(ABC.codes, ABC.counts, is_bytes)
    records = model(vocab)
    plain = TextModel(Checkpoint(records.checkpoint.config, vocab, records.checkpoint.weights, {}))
    assert plain.records is None
    text = "ab\n\ncab\r\nab"
    lines = list(plain.score_lines(text, lines=True))
    assert [line.text for line in lines] == ["ab", "", "cab", "ab"]
    for line in lines:
        assert line.score.chars == len(line.text) + 1
        assert line.score.nats == pytest.approx(direct(plain, line.text), abs=1e-4)
    assert lines == list(records.score_lines(text))
    [first, *_] = plain.score_lines("ab\nc")
    assert math.isnan(first.nats[0])


def test_a_model_that_has_told_probabilities_can_be_sent_to_another_process() -> None:
    own = TextModel(tiny())
    before = own.next("the ")
    assert pickle.loads(pickle.dumps(own)).next("the ") == before
