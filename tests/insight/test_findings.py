"""Traits of a text, and the units that follow them; chance is no finding."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from charrnn.insight.findings import correlations, find
from charrnn.insight.traits import texts, traits
from charrnn.text.vocab import Vocab
from tests.support.texts import in_words


def test_traits_are_those_of_the_text() -> None:
    text = 'He said "go (now)!"\nYes.'
    found = traits(text)
    told = {name: values.tolist() for name, values in found.items()}
    opened, closed = text.index('"'), text.rindex('"')
    assert told["inside quotation marks"] == [opened <= i < closed for i in range(len(text))]
    assert told["inside brackets"] == [text.index("(") <= i < text.index(")") for i in range(24)]
    assert told["how far into the line"] == [*range(1, 20), 0, 1, 2, 3, 4]
    assert told["how far into the word"][:8] == [1, 2, 0, 1, 2, 3, 4, 0]
    assert told["how far into the sentence"][17:] == [0, 1, 2, 3, 4, 5, 0]
    assert [text[i] for i in np.flatnonzero(found["just read: a capital"])] == ["H", "Y"]


def test_what_is_open_is_closed_at_a_blank_line() -> None:
    found = traits('"never closed (\r\n\r\nnext')
    assert not found["inside quotation marks"][-4:].any()
    assert not found["inside brackets"][-4:].any()
    assert found["inside quotation marks"][:14].all()


def test_the_situation_after_a_symbol_is_that_after_its_characters() -> None:
    text = 'Anna: "Well, (so "Prince" said) 12 ... yes!\r\n\r\nNo (I"m) [so' * 3
    whole = traits(text)
    for seed in range(20):
        ends = np.unique(np.random.default_rng(seed).integers(1, len(text), 40)).tolist()
        places = [0, *ends, len(text)]
        spans = list(pairwise(places))
        symbols = [text[a:b] for a, b in spans]
        found = traits([*symbols, ""])  # one of no characters changes nothing
        for name, values in whole.items():
            if name.startswith("just read"):  # some character of the symbol is so
                assert found[name].tolist() == [*(values[a:b].max() for a, b in spans), 0]
            else:
                assert np.array_equal(found[name], values[[*(e - 1 for e in places[1:]), -1]])


def test_a_network_of_words_or_bytes_reads_the_same_characters() -> None:
    text = "Élan “naïve” (Œuvre)\n" * 12
    words = in_words(text)
    assert "".join(texts(words, words.encode(text))) == text
    assert "naïve" in texts(words, words.encode(text))
    raw = text.encode()
    vocab = Vocab.from_counts(np.bincount(np.frombuffer(raw, np.uint8)), is_bytes=True)
    found = texts(vocab, vocab.encode(raw))
    assert "".join(found) == text
    assert len(found) == len(raw)
    assert found[:3] == ["", "É", "l"]
    last = [place for place, character in enumerate(found) if character]
    for name, values in traits(found).items():
        assert np.array_equal(values[last], traits(text)[name])
    assert "".join(texts(vocab, vocab.encode(raw)[1:3])) == "\ufffdl"


def test_correlations_are_pearsons() -> None:
    rng = np.random.default_rng(2)
    units, values = rng.normal(size=(300, 5)).astype(np.float16), rng.normal(size=300)
    units[:, 3] = 0.25
    found = correlations(units, values.astype(np.float32))
    for column in (0, 1, 2, 4):
        assert found[column] == pytest.approx(np.corrcoef(units[:, column], values)[0, 1], abs=1e-3)
    assert found[3] == 0


def test_the_unit_that_follows_a_trait_is_found() -> None:
    rng = np.random.default_rng(3)
    units = rng.uniform(-1, 1, (2000, 40)).astype(np.float16)
    trait = (rng.uniform(size=2000) < 0.3).astype(np.float32)
    units[:, 27] = 0.5 - trait + units[:, 27] / 5
    (found,) = find(units, {"a trait": trait, "never": np.zeros(2000, np.float32)}, width=20)
    assert (found.trait, found.layer, found.unit) == ("a trait", 1, 7)
    assert found.r < -0.9


def test_chance_is_no_finding() -> None:
    """Of 4,000 units one fits 30 places by chance, but not those where it was not chosen."""
    rng = np.random.default_rng(4)
    units = rng.uniform(-1, 1, (60, 4000)).astype(np.float16)
    trait = (rng.uniform(size=60) < 0.5).astype(np.float32)
    assert np.abs(correlations(units[:30], trait[:30])).max() > 0.6
    assert not find(units, {"a trait": trait}, width=4000)
