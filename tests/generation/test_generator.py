"""Samples: the same for a seed, stopped where they should, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError, UnknownCharacterError
from charrnn.generation.generator import Generator, first_id
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.stops import StopFilter, stop_ids
from tests.support.networks import CELLS, letters, model, random_weights

VOCAB = letters()


def engine(cell: str = "lstm") -> Engine:
    config = model(cell, len(VOCAB), embedding=16, hidden=32)
    return Engine(config, random_weights(config))


def texts(prime: str = "", lines: bool = False, cell: str = "lstm", **values: Any) -> list[str]:
    config = SampleConfig(**values)
    return Generator(VOCAB, engine(cell), config, prime=prime, lines=lines).texts()


@pytest.mark.parametrize("cell", CELLS)
def test_a_sample_is_the_same_whatever_the_count(cell: str) -> None:
    many = texts(cell=cell, length=150, count=7, seed=3)
    assert many[:3] == texts(cell=cell, length=150, count=3, seed=3)
    assert many[:1] == texts(cell=cell, length=150, seed=3)
    assert len(set(many)) == 7


def test_samples_do_not_depend_on_how_they_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = texts(length=30, count=7)
    monkeypatch.setattr("charrnn.generation.relay.GROUP", 3)
    assert texts(length=30, count=7) == whole


def test_filters_and_counts() -> None:
    filters: dict[str, Any] = {"top_k": 5, "top_p": 0.8, "min_p": 0.05, "temperature": 0.7}
    assert texts(length=80, count=5, **filters)[0] == texts(length=80, **filters)[0]


def test_seeds_differ_and_repeat() -> None:
    assert texts(length=60, seed=1) == texts(length=60, seed=1)
    assert texts(length=60, seed=1) != texts(length=60, seed=2)


def test_a_longer_sample_begins_as_the_shorter() -> None:
    assert texts(length=200)[0].startswith(texts(length=70)[0])


def test_prime_is_read_not_printed() -> None:
    primed = texts(length=10, prime="hello, ", temperature=0)[0]
    rest = texts(length=9, prime="hello, " + primed[0], temperature=0)[0]
    assert primed[1:] == rest


def test_empty_prime_reads_the_line_end() -> None:
    assert texts(length=40) == texts(length=40, prime="\n")
    assert first_id(letters("abbc")) == 1


def backwards(**values: Any) -> list[str]:
    config = SampleConfig(**values)
    return Generator(VOCAB, engine(), config, prime="the end.", reverse=True).texts()


def test_a_network_that_writes_from_right_to_left_is_turned_round() -> None:
    settings: dict[str, Any] = {"length": 40, "count": 3, "seed": 5}
    plain = texts(prime="the end."[::-1], **settings)
    assert backwards(**settings) == [text[::-1] for text in plain]
    stop = plain[0][10:12]
    place = plain[0].index(stop)
    [cut] = backwards(length=40, seed=5, stop=(stop[::-1],))
    assert cut == plain[0][:place][::-1]
    [kept] = backwards(length=40, seed=5, stop=(stop[::-1],), keep_stop=True)
    assert kept == stop[::-1] + cut


def test_what_is_written_from_its_end_has_one() -> None:
    with pytest.raises(ConfigError, match="length is 0: what is written from its end needs an end"):
        backwards(length=0)


def test_unknown_characters_in_the_prime() -> None:
    with pytest.raises(UnknownCharacterError):
        texts(prime="Ä")
    assert texts(length=20, prime="aÄb", unknown="skip") == texts(length=20, prime="ab")
    assert texts(length=20, prime="aÄb", unknown="replace") == texts(length=20, prime="a b")


def test_lines_end_at_the_first_line_end() -> None:
    whole = texts(length=300, count=4)
    lines = texts(length=300, count=4, lines=True)
    assert lines == [text.split("\n")[0] for text in whole]


def test_a_sample_ends_before_the_first_stop_text() -> None:
    whole = texts(length=300)[0]
    stop = whole[100:103]
    assert texts(length=300, stop=(stop, "zzzzz"))[0] == whole[: whole.index(stop)]
    assert texts(length=0, stop=(stop,))[0] == whole[: whole.index(stop)]


def test_a_stop_text_can_be_kept() -> None:
    whole = texts(length=300)[0]
    stop = whole[100:103]
    wanted = whole[: whole.index(stop) + 3]
    assert texts(length=300, stop=(stop, "zzzzz"), keep_stop=True) == [wanted]
    assert texts(length=0, stop=(stop,), keep_stop=True) == [wanted]
    assert texts(length=len(wanted) - 1, stop=(stop,), keep_stop=True) == [wanted[:-1]]
    line = whole.split("\n")[0]
    assert texts(length=300, stop=("zzzzz",), keep_stop=True, lines=True) == [line]
    assert texts(length=300, stop=("\n",), keep_stop=True, lines=True) == [line + "\n"]


def test_endless_samples_stream_one_by_one() -> None:
    generator = Generator(VOCAB, engine(), SampleConfig(length=0))
    made: list[int] = []
    for piece in generator.pieces():
        assert piece.sample == 0
        assert not piece.last
        made += piece.ids
        if len(made) > 500:
            break
    assert VOCAB.decode(made[:400]) == texts(length=400)[0]
    with pytest.raises(ConfigError):
        Generator(VOCAB, engine(), SampleConfig(length=0, count=2))


def test_pieces_come_in_order() -> None:
    pieces = list(Generator(VOCAB, engine(), SampleConfig(length=90, count=3)).pieces())
    samples = [piece.sample for piece in pieces]
    assert samples == sorted(samples)
    assert [piece.sample for piece in pieces if piece.last] == [0, 1, 2]
    assert len(pieces[0].ids) == 1


@given(
    st.lists(st.integers(0, 2), max_size=40),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), max_size=3),
    st.lists(st.integers(1, 7), min_size=40, max_size=40),
    st.booleans(),
)
def test_stop_filter(
    ids: list[int], stops: list[tuple[int, ...]], cuts: Sequence[int], keep: bool
) -> None:
    held, out, place = StopFilter([], stops) if keep else StopFilter(stops), [], 0
    for cut in cuts:
        out += held.push(ids[place : place + cut])
        place += cut
        # what is out is never taken back and holds no stop text
        assert out == ids[: len(out)]
    out += held.finish()
    ends = [
        (end, end - len(stop))
        for stop in stops
        for end in range(len(stop), len(ids) + 1)
        if tuple(ids[end - len(stop) : end]) == stop
    ]
    assert held.stopped == bool(ends)
    assert out == (ids[: min(ends)[0 if keep else 1]] if ends else ids)


def test_stop_texts_that_can_never_be_written_are_refused() -> None:
    assert stop_ids(VOCAB, ["ab"]) == [tuple(VOCAB.encode("ab"))]
    with pytest.raises(UnknownCharacterError, match=r"stop 'aÄ' .*'Ä' \(U\+00C4\) at position 1 "):
        stop_ids(VOCAB, ["ab", "aÄ"])


def test_lines_without_a_line_end_in_the_vocabulary() -> None:
    vocab = letters("ab")
    config = ModelConfig(2, embedding=8, hidden=16)
    network = Engine(config, random_weights(config))
    generator = Generator(vocab, network, SampleConfig(length=9), lines=True)
    assert len(next(generator.samples())) == 9


def test_bytes() -> None:
    histogram = np.zeros(256, np.int64)
    histogram[[10, 32, 0xC3, 0xA4, 97]] = 1
    vocab = type(VOCAB).from_counts(histogram, is_bytes=True)
    config = ModelConfig(len(vocab), embedding=8, hidden=16)
    generator = Generator(
        vocab, Engine(config, random_weights(config)), SampleConfig(length=50, stop=("ä",))
    )
    assert "ä".encode() not in vocab.decode_bytes(next(generator.samples()))


def test_every_weight_dtype_writes_and_none_changes_the_score() -> None:
    import charrnn

    texts, scores = {}, set()
    for form in ("float32", "float16", "int8"):
        model = charrnn.load("war-and-peace", weight_dtype=form)
        texts[form] = model.sample("He ", temperature=0, length=60)
        scores.add(model.score("He said nothing."))
    assert len(scores) == 1  # whatever the form, scoring takes the weights as they are
    assert texts["float16"][:10] == texts["float32"][:10]
    assert all(len(text) == 60 for text in texts.values())
