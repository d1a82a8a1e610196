"""``fill`` as people call it: a text with gaps goes in, texts without come out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import charrnn
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, ConfigError, DecodingError, UnknownCharacterError
from charrnn.text.vocab import Vocab
from tests.support.checkpoints import META, tiny
from tests.support.networks import letters, random_weights


def text_model(vocab: Vocab | None = None, seed: int = 0, **settings: Any) -> charrnn.TextModel:
    vocab = vocab or letters()
    config = ModelConfig(len(vocab), embedding=8, hidden=16, **settings)
    return charrnn.TextModel(charrnn.Checkpoint(config, vocab, random_weights(config, seed), META))


BOTH = text_model(bidirectional=True)
FORWARD, REVERSE = text_model(), text_model(seed=1, reverse=True)


@pytest.mark.parametrize(("model", "reverse"), [(BOTH, None), (FORWARD, None), (FORWARD, REVERSE)])
def test_gaps_are_filled_where_they_are(
    model: charrnn.TextModel, reverse: charrnn.TextModel | None
) -> None:
    fillings = charrnn.fill(model, "the ___ of __", reverse=reverse, count=5)
    assert len(fillings) == 5
    assert [f.nats for f in fillings] == sorted(f.nats for f in fillings)
    assert len({f.text for f in fillings}) == 5
    for filling in fillings:
        one, two = filling.gaps
        assert (len(one), len(two)) == (3, 2)
        assert filling.text == f"the {one} of {two}"
    assert charrnn.fill(model, "the ___ of __", reverse=reverse)[0] == fillings[0]


def test_another_mark_and_free_lengths() -> None:
    assert len(charrnn.fill(BOTH, "a ?? b", gap="?")[0].gaps[0]) == 2
    assert len(charrnn.fill(BOTH, "a [..][..] b", gap="[..]")[0].gaps[0]) == 2
    found = charrnn.fill(BOTH, "a _ b", longest=4, count=1000)
    assert {len(filling.gaps[0]) for filling in found} == {1, 2, 3, 4}


def test_bytes_are_utf_8_or_those_of_a_byte_vocabulary() -> None:
    vocab = letters(" abcdé_")
    model = text_model(vocab, bidirectional=True)
    assert charrnn.fill(model, "é _ a".encode(), gap="_")[0].text.startswith("é ")
    with pytest.raises(DecodingError):
        charrnn.fill(model, b"\xff _")
    raw = Vocab(tuple(sorted({*"é a".encode(), *b"bcd_"})), (1,) * 8, is_bytes=True)
    of_bytes = text_model(raw, bidirectional=True)
    by_text, by_bytes = (charrnn.fill(of_bytes, text)[0] for text in ("é __ a", "é __ a".encode()))
    assert by_text == by_bytes
    assert by_text.text.startswith("é ")


def test_an_unknown_character_is_named_with_its_place() -> None:
    with pytest.raises(UnknownCharacterError, match=r"'Ä' \(U\+00C4\) at position 6 "):
        charrnn.fill(BOTH, "a __ bÄ")
    notes: list[str] = []
    found = charrnn.fill(BOTH, "a __ bÄ", unknown="skip", on_note=notes.append)
    assert found[0].text.endswith(" b")
    [said] = notes
    assert said.startswith("1 of 7 characters is not in the vocabulary and was skipped (first: 'Ä'")


def test_a_text_without_a_gap_is_refused() -> None:
    for text in ("the end", "", b"the end"):
        with pytest.raises(ConfigError, match="nowhere in the text; put it where characters are"):
            charrnn.fill(BOTH, text)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"gap": ""}, "gap is ''"),
        ({"count": 0}, "count is 0"),
        ({"longest": 0}, "longest is 0"),
        ({"longest": 65}, "longest is 65"),
        ({"reverse": REVERSE}, "reverse is of no use: model reads both sides itself; omit it"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        charrnn.fill(BOTH, "a _", **wrong)


@pytest.mark.parametrize(
    ("model", "reverse", "said"),
    [
        (REVERSE, None, "reads from right to left and can only rank .* set reverse to it"),
        (FORWARD, FORWARD, "does not read from right to left; set reverse to a network"),
        (FORWARD, BOTH, "does not read from right to left"),
        (FORWARD, text_model(letters("ab"), reverse=True), "have different vocabularies"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(
    model: charrnn.TextModel, reverse: charrnn.TextModel | None, said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        charrnn.fill(model, "a _", reverse=reverse)


def test_a_model_of_records_reads_the_text_as_one() -> None:
    checkpoint = tiny(letters("\n abc"))
    lines = replace(checkpoint, meta={"corpus": META["corpus"] | {"lines": True, "records": True}})
    found = charrnn.fill(charrnn.TextModel(lines), "ab__ca", count=64)
    plain = charrnn.fill(charrnn.TextModel(checkpoint), "\nab__ca\n", count=64)
    within = [f.text[1:-1] for f in plain if "\n" not in f.gaps[0]]
    assert [f.text for f in found] == within
    assert 0 < len(within) == 4 * 4 < len(plain)


def test_a_bidirectional_model_says_what_it_cannot_do() -> None:
    cannot = (
        r"the network reads both sides of a character: it cannot {}.*; charrnn.fill\(\) fills gaps"
    )
    calls: list[tuple[str, Any]] = [
        ("write", lambda: BOTH.sample()),
        ("write", lambda: BOTH.stream("", charrnn.SampleConfig())),
        ("say how probable", lambda: BOTH.score("the end")),
        ("say how probable", lambda: next(BOTH.score_lines("the end"))),
        ("say how probable", lambda: charrnn.score_adapting(BOTH, BOTH.encode("the end"))),
        ("predict what follows", lambda: BOTH.next("the end")),
        ("say how probable", lambda: BOTH.log_probs("the end")),
        ("be traced", lambda: charrnn.insight_page(BOTH)),
    ]
    for what, call in calls:
        with pytest.raises(CheckpointError, match=cannot.format(what)):
            call()
