"""A record is drawn with the probability that every score gives it."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn import cells
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.record_config import RecordConfig
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.vocab import Vocab
from charrnn.textmodel import TextModel
from tests.support.checkpoints import META
from tests.support.networks import letters, random_weights

ABC = letters("\nabc")
RECORDS = ["ab", "a", "", "ab", "cabbacab", "ab", "c", "b" * 40]


def model(vocab: Vocab = ABC, cell: str = "lstm", read: bool = True) -> TextModel:
    """A model of records with random weights."""
    config = ModelConfig(len(vocab), cell=cell, embedding=4, hidden=8, layers=2)
    meta = META | {"corpus": META["corpus"] | {"lines": True, "records": read}}
    weights = random_weights(config, seed=3)
    return TextModel(Checkpoint(config, vocab, weights, meta), weight_dtype="float32")


def direct(own: TextModel, record: str) -> float:
    """The nats of a record, step by step from the zero state, after a line end."""
    engine = Engine(own.checkpoint.config, own.checkpoint.weights)
    ids, nats = own.vocab.encode(f"\n{record}\n").tolist(), 0.0
    for read, wanted in itertools.pairwise(ids):
        logits = engine.step(np.array([read]))[0].astype(np.float64)
        nats += math.log(np.exp(logits).sum()) - logits[wanted]
    return nats


@pytest.mark.parametrize("cell", cells.names())
def test_the_nats_of_a_record_are_those_of_reading_it_after_a_line_end(cell: str) -> None:
    own = model(cell=cell)
    for record in RECORDS:
        found = own.score(record + "\n")
        assert found.chars == len(record) + 1
        assert found.nats == pytest.approx(direct(own, record), abs=1e-4)


def whole(own: TextModel, text: str) -> tuple[float, int]:
    score = own.score(text)
    return score.nats, score.chars


def by_line(own: TextModel, text: str) -> tuple[float, int]:
    lines = [line.score for line in own.score_lines(text)]
    return sum(line.nats for line in lines), sum(line.chars for line in lines)


def adapting(own: TextModel, text: str) -> tuple[float, int]:
    from charrnn.training.evaluation.dynamic import Adaptation, score_adapting

    score = score_adapting(own, own.vocab.encode(text), how=Adaptation(lr=0, pull=0))
    return score.nats, score.chars


def validating(own: TextModel, text: str) -> tuple[float, int]:
    import torch

    from charrnn.model.network import CharNetwork
    from charrnn.training.evaluation.loss import evaluate

    network = CharNetwork(own.checkpoint.config)
    network.load_numpy(own.checkpoint.weights)
    assert own.records is not None
    ids, ranges = own.records.apart(own.vocab.encode(text))
    score = evaluate(network, ids, ranges, device=torch.device("cpu"))
    return score.nats, score.chars


HOW = [whole, by_line, adapting, validating]


@pytest.mark.parametrize("how", HOW)
def test_a_file_of_records_has_the_nats_of_its_records(
    how: Callable[[TextModel, str], tuple[float, int]],
) -> None:
    own = model()
    wanted = sum(direct(own, record) for record in RECORDS)
    chars = sum(len(record) + 1 for record in RECORDS)
    for order in (RECORDS, RECORDS[::-1], sorted(RECORDS)):
        text = "\n".join(order)
        nats, counted = how(own, text + "\n")
        assert counted == chars
        assert nats == pytest.approx(wanted, rel=1e-5)
        if order[-1]:  # the end of a file ends a record
            assert how(own, text)[1] == counted
            assert how(own, text)[0] == pytest.approx(nats, rel=1e-6)


def test_a_record_has_the_same_score_alone_first_and_last() -> None:
    own = model()
    lines = list(own.score_lines("\n".join(["ab", "ca", "ab", "c", "ab"])))
    assert [line.text for line in lines] == ["ab", "ca", "ab", "c", "ab"]
    assert all(line.pieces == [*line.text, "\n"] for line in lines)
    [alone] = own.score_lines("ab")
    for line in lines[::2]:
        assert line.score.chars == 3
        assert line.nats == pytest.approx(alone.nats, abs=1e-6)
        assert line.score.nats == pytest.approx(own.score("ab\n").nats, abs=1e-6)


def test_line_ends_with_returns_and_bytes_are_records_too() -> None:
    own = model()
    wanted = own.score("ab\nc\n")
    assert own.score("ab\r\nc\r\n") == wanted
    assert own.score(b"ab\r\nc") == wanted
    assert [line.text for line in own.score_lines("ab\r\nc\r\n")] == ["ab", "c"]
    raw = model(Vocab(ABC.codes, ABC.counts, is_bytes=True))
    assert raw.score(b"ab\r\nc") == wanted


def test_records_of_the_first_version_end_with_their_returns() -> None:
    own = model(letters("\r\n\r\nabc"), read=False)
    wanted = own.score("ab\r\nc\r\n")
    assert wanted.chars == 7
    assert own.score("ab\nc") == wanted


def test_no_record_is_nothing_to_score() -> None:
    with pytest.raises(CorpusError, match="at least"):
        model().score("")
    assert model().score("\n").chars == 1


def test_ranges_score_the_records_that_are_in_them() -> None:
    own = model()
    ids = own.vocab.encode("ab\nca\nbbb\n")
    assert own.score_ranges(ids, ((3, 6),)) == own.score("ca\n")
    assert own.score_ranges(ids, ((0, 3), (6, 10))).nats == pytest.approx(
        own.score("bbb\nab\n").nats, rel=1e-6
    )


def drawn(own: TextModel, prime: str = "", count: int = 20_000, **more: Any) -> Counter[str]:
    config = SampleConfig(temperature=1.0, length=40, count=count, seed=1, **more)
    return Counter(own.samples(prime, config))


def agrees(found: int, probability: float, count: int) -> bool:
    """Whether it is within five standard deviations."""
    return abs(found - probability * count) < 5 * math.sqrt(count * probability) + 1


def test_samples_are_drawn_with_the_probability_that_a_score_says() -> None:
    own, n = model(), 20_000
    found = drawn(own)
    likely = [record for record, count in found.items() if count > n / 500]
    assert len(likely) > 20
    for record in likely:
        assert agrees(found[record], math.exp(-own.score(record + "\n").nats), n)


def test_the_probabilities_of_all_records_are_one() -> None:
    """What is not in a record of up to four characters is in the beginning of a longer one."""
    own, total = model(letters("\nab")), 0.0
    for length in range(5):
        for record in itertools.product("ab", repeat=length):
            total += math.exp(-own.score("".join(record) + "\n").nats)
    for record in itertools.product("ab", repeat=5):
        [line] = own.score_lines("".join(record))
        total += math.exp(-sum(line.nats[:-1]))
    assert total == pytest.approx(1, abs=1e-5)


def test_a_prime_begins_a_record() -> None:
    own, n = model(), 20_000
    for prime in ("ab", "c\nab", "c\r\nab"):
        found = drawn(own, prime)
        [line] = own.score_lines("ab")
        begun = sum(line.nats[:2])
        for rest in ("", "a", "b", "c"):
            nats = own.score(f"ab{rest}\n").nats - begun
            assert agrees(found[rest], math.exp(-nats), n)


def test_lines_can_be_turned_off() -> None:
    own = model()
    assert "\n" in own.sample("c\nab", lines=False, length=300, seed=1)
    assert "\n" not in own.sample("c\nab", length=300, seed=1)


@pytest.mark.parametrize("read", [True, False])
def test_samples_omit_the_whole_line_end(read: bool) -> None:
    own = model(letters("\r\n\r\n\r\n\ra"), read=read)
    texts = list(own.samples("", SampleConfig(length=50, count=200, seed=1)))
    scored = list(own.samples("", SampleConfig(length=50, count=200, seed=1), lines=False))
    assert any("\r\n" in text for text in scored)
    assert texts == [re.split("\r?\n", text)[0] for text in scored]


def test_samples_that_are_cut_are_counted() -> None:
    own = model()
    texts = own.samples("", SampleConfig(length=2, count=500, seed=1))
    assert texts.cut == 0
    cut = [text for text in texts if len(text) == 2]
    assert 0 < texts.cut == len(cut) < 500
    pieces = own.stream("", SampleConfig(length=2, count=500, seed=1))
    assert sum(last for _, last in pieces) == 500
    assert pieces.cut == texts.cut


@pytest.mark.parametrize(
    "read",
    [
        lambda own: own.sample("aé", length=3),
        lambda own: own.next("aé"),
        lambda own: own.sample_records(SampleConfig(), RecordConfig(prefix="aé")),
        lambda own: own.likely(prefix="aé"),
    ],
    ids=["prime", "next", "prefix", "likely"],
)
def test_an_unknown_character_has_its_place_in_what_was_given(
    read: Callable[[TextModel], object],
) -> None:
    """Not in what a network of records reads, which begins with a line end."""
    with pytest.raises(UnknownCharacterError, match=r"character 'é' \(U\+00E9\) at position 1 is"):
        read(model())
