"""Records that meet conditions: which are accepted, in what order, and what is said of others."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import CharRNNError, ConfigError, UserError
from charrnn.generation.accepting import Records
from charrnn.generation.record_config import RecordConfig
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.records import form_of
from charrnn.text.vocab import Vocab
from charrnn.textmodel import TextModel
from tests.generation.test_records import ABC, model
from tests.support.checkpoints import tiny
from tests.support.networks import letters, random_weights

HOW: dict[str, Any] = {"temperature": 1.0, "length": 40, "seed": 1}


def accepted(
    own: TextModel, count: int, how: dict[str, Any] | None = None, **wanted: Any
) -> Records:
    config = SampleConfig(count=count, **(HOW | (how or {})))
    return own.sample_records(config, RecordConfig(**wanted))


def texts(records: Records) -> list[str]:
    return [record.text for record in records]


def candidates(own: TextModel, count: int) -> list[str]:
    """The records of the seed in their order."""
    return list(own.samples("", SampleConfig(count=count, **HOW)))


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_records_are_the_samples_of_the_seed_that_meet_the_condition(count: int) -> None:
    own = model()
    drawn = [text for text in candidates(own, 20_000) if len(text) < 40]
    assert (
        texts(accepted(own, count, match="^a.*b$"))
        == [text for text in drawn if re.search("^a.*b$", text)][:count]
    )
    assert texts(accepted(own, count, unique=True)) == list(dict.fromkeys(drawn))[:count]


def test_the_ith_record_does_not_depend_on_the_count() -> None:
    own = model()
    wanted: dict[str, Any] = {"unique": True, "match": "c"}
    long = list(accepted(own, 400, **wanted))
    assert len({record.text for record in long}) == 400
    for count in (1, 3, 100, 256, 257):
        some = list(accepted(own, count, **wanted))
        assert [record.text for record in some] == [record.text for record in long[:count]]
        for one, other in zip(some, long, strict=False):
            assert one.score is not None
            assert other.score is not None
            assert one.score.nats == pytest.approx(other.score.nats, abs=1e-5)


@pytest.mark.parametrize("is_bytes", [False, True])
@pytest.mark.parametrize("prefix", ["", "ab"])
def test_each_record_has_the_nats_that_its_score_says(prefix: str, is_bytes: bool) -> None:
    own = model(Vocab(ABC.codes, ABC.counts, is_bytes))
    for record in accepted(own, 50, prefix=prefix, max_tries=10**6):
        assert record.text.startswith(prefix)
        assert record.score is not None
        found = own.score(record.text + "\n")
        assert record.score.chars == found.chars == len(record.text) + 1
        assert record.score.nats == pytest.approx(found.nats, abs=1e-4)
        assert record.raw == record.text.encode()


def test_records_of_a_model_that_did_not_learn_lines() -> None:
    lines = model()
    plain = TextModel(
        Checkpoint(lines.checkpoint.config, ABC, lines.checkpoint.weights), weight_dtype="float32"
    )
    assert list(accepted(plain, 20, unique=True)) == list(accepted(lines, 20, unique=True))


def test_records_with_returns_have_their_scores() -> None:
    own = model(letters("\r\n\r\nabc"), read=False)
    for record in accepted(own, 20, unique=True):
        assert record.score is not None
        found = own.score(record.text + "\r\n")
        assert record.score.chars == found.chars
        assert record.score.nats == pytest.approx(found.nats, abs=1e-4)


def test_novel_records_are_not_those_of_the_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    own = model()
    common = [text for text in dict.fromkeys(candidates(own, 2000)) if len(text) < 40][:30]
    left, held = common[:20], common[20:]
    ids = own.vocab.encode("".join(f"{text}\n" for text in common))
    cut = sum(len(text) + 1 for text in left)
    from charrnn.text.splits import Parts

    parts = Parts(((0, cut),), ((cut, len(ids)),), ())
    monkeypatch.setattr(TextModel, "corpus", lambda *_: (ids, parts))
    found = accepted(own, 300, novel=True)
    drawn = [text for text in candidates(own, 5000) if len(text) < 40 and text not in left]
    assert texts(found) == drawn[:300]
    assert set(held) & set(drawn[:300])  # the validation part may be drawn
    assert found.refused["not novel"] > 0


def test_what_is_refused_is_counted_by_reason() -> None:
    own = model()
    records = accepted(own, 60, {"length": 5}, unique=True, match="a")
    found = texts(records)
    drawn = list(own.samples("", SampleConfig(count=records.tries, **(HOW | {"length": 5}))))
    ended = own.samples("", SampleConfig(count=records.tries, **(HOW | {"length": 5})))
    assert len(list(ended)) == records.tries
    assert records.refused["without an end"] == ended.cut
    assert records.refused["without a match"] + records.refused["not unique"] + 60 + ended.cut == (
        records.tries
    )
    assert records.refused["not unique"] > 0
    assert set(found) <= set(drawn)
    assert records.told.startswith(f"{records.tries - 60:,} of {records.tries:,} refused (")
    assert all(f"{n:,} {reason}" in records.told for reason, n in records.refused.items())
    assert accepted(own, 1).told == ""


def test_spent_tries_are_an_error_after_what_was_reached() -> None:
    own = model()
    records = accepted(own, 50, match="^ab$", max_tries=500)
    with pytest.raises(CharRNNError) as raised:
        list(records)
    assert not isinstance(raised.value, UserError)
    assert raised.value.exit_code == 1
    assert records.tries == 500
    assert 0 < records.accepted < 50
    assert str(raised.value) == (
        f"accepted {records.accepted} of 50 records in 500 tries: {records.told}; raise max_tries"
    )
    some = list(itertools.islice(accepted(own, 50, match="^ab$", max_tries=500), 3))
    assert [record.text for record in some] == ["ab"] * 3


def test_tries_have_a_bound_by_default() -> None:
    with pytest.raises(CharRNNError, match="accepted 0 of 1 record in 1,000 tries: 1,000 of 1,000"):
        list(accepted(model(), 1, match="nowhere"))


def test_without_conditions_every_sample_is_a_record_also_one_that_was_cut() -> None:
    own = model()
    config = SampleConfig(count=200, **(HOW | {"length": 4}))
    records, samples = own.sample_records(config), own.samples("", config)
    found = list(records)
    assert [record.text for record in found] == list(samples)
    assert records.cut == samples.cut > 0
    for record in found:
        assert record.score is not None
        if record.score.chars == len(record.text):  # cut: its nats are those of its beginning
            [line] = own.score_lines(record.text)
            assert record.score.nats == pytest.approx(sum(line.nats[:-1]), abs=1e-4)
        else:
            assert record.score.chars == len(record.text) + 1
    assert all(r.score is None for r in own.sample_records(config, scored=False))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"match": "("}, "match is not a regular expression: "),
        ({"match": ""}, "match is '': it must be"),
        ({"prefix": "a\nb"}, "prefix has a line end"),
        ({"max_tries": 0}, "max_tries is 0"),
        ({"unique": 1}, "unique is 1"),
    ],
)
def test_conditions_that_are_invalid_are_refused(wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        RecordConfig(**wanted)
    assert str(raised.value).startswith(said)


def test_models_without_records_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs a line end in the vocabulary"):
        accepted(TextModel(tiny(letters("abc"))), 1, unique=True)
    config = ModelConfig(len(ABC), embedding=4, hidden=8, reverse=True)
    reverse = TextModel(Checkpoint(config, ABC, random_weights(config)))
    with pytest.raises(ConfigError, match="needs a model that reads from left to right"):
        accepted(reverse, 1, unique=True)


def test_the_form_of_records_knows_its_return() -> None:
    with_returns = form_of(letters("\r\n\r\na"), read=False)
    assert with_returns is not None
    assert with_returns.carriage_return == 1
    without = form_of(letters("\r\n\n\n\na"), read=False)
    assert without is not None
    assert without.carriage_return is None
