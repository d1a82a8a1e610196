"""Constraints on texts: characters, words, repetitions, copies, temperature, sentences."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.generation.constraints import CopyIndex, WordBan
from charrnn.generation.draw import choose
from charrnn.generation.filter_register import Context
from charrnn.generation.generator import Generator
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.sentences import SentenceStop
from charrnn.insight.novelty import Original, copies
from charrnn.text.ngrams import hashes, hashes_of_rows
from charrnn.text.vocab import Vocab
from charrnn.textmodel import TextModel
from tests.generation.test_records import model as records
from tests.support.checkpoints import tiny
from tests.support.networks import letters, random_weights

VOCAB = letters()


def texts(count: int = 20, prime: str = "", **settings: Any) -> list[str]:
    config = SampleConfig(count=count, **{"length": 200, "seed": 3, **settings})
    return list(TextModel(tiny(), None, "float32").samples(prime, config))


# --- characters


@pytest.mark.parametrize("temperature", [0.0, 0.8, 3.0])
def test_only_allowed_characters_are_written(temperature: float) -> None:
    how: dict[str, Any] = {"temperature": temperature}
    for text in texts(allow="abcé", **how):
        assert set(text) <= set("abc")
    for text in texts(ban="aeiou\n", **how):
        assert not set("aeiou\n") & set(text)
    for text in texts(allow="abc", ban="b", **how):
        assert set(text) <= set("ac")


def test_records_end_although_their_end_is_not_allowed() -> None:
    own = records()
    found = list(own.samples("", SampleConfig(count=50, allow="ab", length=100, seed=1)))
    assert {*"".join(found)} == {*"ab"}
    assert min(map(len, found)) < 20


@pytest.mark.parametrize("name", ["allow", "ban"])
def test_a_character_of_several_bytes_is_refused(name: str) -> None:
    vocab = Vocab(tuple(range(97, 123)), (1,) * 26, is_bytes=True)
    settings: dict[str, Any] = {name: "aé"}
    with pytest.raises(ConfigError, match=f"{name} has 'é', which is more than one byte"):
        TextModel(tiny(vocab)).sample(**settings)


def test_nothing_that_is_allowed_is_in_the_vocabulary() -> None:
    with pytest.raises(ConfigError, match="allow has no character of the vocabulary"):
        texts(allow="éß")


# --- words


def has_word(text: str, word: str, after: int = 0) -> bool:
    """Whether ``word`` ends somewhere after so many characters."""
    found = re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)
    return any(match.end() > after for match in found)


WORDS = ["a", "I", "the", "ab", "x,", "q r", "Zz"]


@pytest.mark.parametrize("prime", ["", "the ", "t", "a ab q "])
@pytest.mark.parametrize("temperature", [0.0, 0.8, 2.0])
def test_no_banned_word_is_written(temperature: float, prime: str) -> None:
    Path("words").write_text("\n".join(WORDS) + "\n\n")
    plain = texts(300, prime, temperature=temperature, length=40)
    if temperature:
        assert any(has_word(text, word) for text in plain for word in WORDS)
    for length in (1, 2, 40):
        for text in texts(300, prime, temperature=temperature, length=length, ban_words="words"):
            assert not [word for word in WORDS if has_word(prime + text, word, len(prime))], text


def test_a_banned_word_may_begin_a_longer_one() -> None:
    ban = WordBan(VOCAB, ["ab"])
    state = ban.start
    for symbol in "ab":
        index = int(VOCAB.encode(symbol)[0])
        assert not ban.forbidden(state, last=False)[index]
        state = ban.after(state, index)
    mask = ban.forbidden(state, last=False)
    assert "".join(VOCAB.decode([int(i)]) for i in np.flatnonzero(mask)) == "\n ,."
    for other in ("cab", "a b", "bab", "a,b"):
        state = ban.start
        for index in VOCAB.encode(other).tolist():
            state = ban.after(state, index)
        assert not ban.forbidden(state, last=False).any()
    state = ban.after(ban.start, int(VOCAB.encode("a")[0]))
    assert VOCAB.decode(np.flatnonzero(ban.forbidden(state, last=True))) == "b"


def test_words_in_bytes_and_capitals() -> None:
    vocab = letters(" aBbéÉ")
    raw = Vocab(tuple(sorted({*b" aBb", *"éÉ".encode()})), (1,) * 7, is_bytes=True)
    for own in (vocab, raw):
        ban = WordBan(own, ["bé"])
        for text in ("Bé", "bé") if own is raw else ("BÉ", "bÉ", "Bé"):
            state = ban.start
            for index in own.encode(text).tolist():
                state = ban.after(state, index)
            assert ban.forbidden(state, last=False)[own.encode(" ")[0]]


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot read words: "), (b"\n \n", "no words"), (b"\xff", "UTF-8")]
)
def test_a_list_of_words_that_is_none(content: bytes | None, said: str) -> None:
    if content is not None:
        Path("words").write_bytes(content)
    with pytest.raises(ConfigError, match=said) as raised:
        texts(ban_words="words")
    assert raised.value.setting == "ban_words"


# --- repetitions and copies


@pytest.mark.parametrize("prime", ["", "abcabd", "the old prince"])
@pytest.mark.parametrize("length", [2, 3, 6])
def test_no_run_is_written_twice(length: int, prime: str) -> None:
    size = 60 if length == 2 else 200
    for text in texts(prime=prime, no_repeat=length, temperature=0.4, length=size):
        whole = prime + text
        runs = [whole[i : i + length] for i in range(len(whole) - length + 1)]
        known = set(runs[: max(len(prime) - length + 1, 0)])
        new = runs[max(len(prime) - length + 1, 0) :]
        assert len({*new}) == len(new)
        assert not known & {*new}


def test_no_character_twice_until_none_is_left() -> None:
    [text] = texts(1, no_repeat=1, length=len(VOCAB))
    assert sorted(text) == sorted(VOCAB.decode(range(len(VOCAB))))
    with pytest.raises(ConfigError, match="no_repeat leaves no character to draw"):
        texts(1, no_repeat=1, length=len(VOCAB) + 1)


def test_a_record_without_repetitions_ends() -> None:
    own = records()
    for text in own.samples("", SampleConfig(count=50, no_repeat=1, length=100, seed=1)):
        assert len(text) <= 3
        assert len({*text}) == len(text)


TRAINING = "the old prince and the new prince were in the old house, and so on and on. "


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Original:
    """The training part of every model: two ranges of a text."""
    ids = VOCAB.encode(TRAINING)
    ranges = ((0, 30), (34, len(ids) - 10))
    monkeypatch.setattr(TextModel, "_training", lambda *_: (ids, ranges))
    return Original(ids, ranges)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("prime", ["", "the o", "the old prin"])
def test_no_more_in_a_row_is_copied(length: int, prime: str, trained: Original) -> None:
    for text in texts(prime=prime, max_copy=length, temperature=0.7):
        ids = VOCAB.encode(prime[-length:] + text)
        assert copies(ids, trained).length <= length


def test_what_follows_runs_is_found(trained: Original) -> None:
    """Against a search of the text itself, in blocks of any size."""
    for length, block in itertools.product((1, 2, 3, 8), (1, 7, 1000)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("charrnn.generation.constraints.BLOCK", block)
            index = CopyIndex(trained.ids, trained.ranges, length)
        parts = [TRAINING[start:stop] for start, stop in trained.ranges]
        for run in {part[i : i + length] for part in parts for i in range(len(part) - length + 1)}:
            context = Context(VOCAB, VOCAB.encode(run), 1)
            p = np.ones((1, len(VOCAB)), np.float32)
            index.forbid(p, context)
            found = {VOCAB.decode([int(i)]) for i in np.flatnonzero(p[0] == 0)}
            pattern = f"(?={re.escape(run)}(.))"
            assert found == {follower for part in parts for follower in re.findall(pattern, part)}


def test_the_hash_of_a_row_is_that_of_the_run() -> None:
    ids = np.random.default_rng(2).integers(0, 300, 50)
    rows = np.lib.stride_tricks.sliding_window_view(ids, 7)
    assert (hashes_of_rows(rows) == hashes(ids, 7)).all()


def test_whole_short_records_may_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    own = records()
    ids = own.vocab.encode("a\nb\nab\nabcabc\n")
    monkeypatch.setattr(TextModel, "_training", lambda *_: (ids, ((0, len(ids)),)))
    found = set(own.samples("", SampleConfig(count=400, max_copy=2, length=50, seed=1)))
    assert {"a", "b", "ab"} <= found
    assert not [text for text in found if re.search("abc|bca|cab", text)]


def test_copies_of_an_unknown_text_cannot_be_avoided() -> None:
    with pytest.raises(CorpusError, match=r"novel.txt is not in the cache; set corpus to its file"):
        texts(max_copy=5)
    own = TextModel(tiny())
    config = SampleConfig(max_copy=5)
    with pytest.raises(ConfigError, match="max_copy needs the text that the network learned"):
        Generator(own.vocab, own._engine, config)


def test_what_follows_texts_from_left_to_right_says_so() -> None:
    Path("words").write_text("the\n")
    config = ModelConfig(len(VOCAB), embedding=4, hidden=8, reverse=True)
    own = TextModel(Checkpoint(config, VOCAB, random_weights(config)))
    settings: dict[str, Any]
    for settings in ({"ban_words": "words"}, {"max_copy": 5}, {"sentences": 1}):
        [name] = settings
        with pytest.raises(ConfigError, match=f"{name} needs a model that reads from left to righ"):
            own.sample(**settings)
    assert not set("aeiou") & set(own.sample(ban="aeiou", no_repeat=9))


# --- temperature


def test_the_temperature_changes_over_the_length() -> None:
    config = SampleConfig(temperature=0.6, final_temperature=1.2, length=5)
    found = [config.at(place).temperature for place in range(7)]
    assert found == pytest.approx([0.6, 0.75, 0.9, 1.05, 1.2, 1.2, 1.2])
    assert config.at(3).final_temperature is None
    assert SampleConfig(temperature=0.7).at(9) == SampleConfig(temperature=0.7)
    assert SampleConfig(temperature=0.6, final_temperature=2, length=1).at(0).temperature == 0.6


@pytest.mark.parametrize("filters", [{}, {"ban": "e"}])
def test_each_character_is_drawn_at_its_temperature(filters: dict[str, Any]) -> None:
    """Against single steps of the engine."""
    settings: dict[str, Any] = {"seed": 3, "length": 70, **filters}
    [text, *_] = texts(3, temperature=0.2, final_temperature=3.0, **settings)
    own = TextModel(tiny(), None, "float32")
    engine, uniforms = own._engine.sibling(1), np.random.default_rng([3, 0])
    draws = np.concatenate([uniforms.random(T) for T in (1, 4, 16, 49)])
    context = Context(own.vocab, np.zeros(0, int), 1)
    ids, written = np.array([own.vocab.id_of("\n")]), []
    for place, uniform in enumerate(draws):
        config = SampleConfig(temperature=0.2 + 2.8 * place / 69, **settings)
        ids = choose(engine.step(ids), np.array([uniform]), config, context)
        context.append(ids)
        written.append(int(ids[0]))
    assert text == own.vocab.decode(written)


def test_the_same_temperature_at_both_ends_is_one_temperature() -> None:
    assert texts(temperature=0.8, final_temperature=0.8) == texts(temperature=0.8)


def test_a_temperature_changes_over_no_endless_text() -> None:
    with pytest.raises(ConfigError, match="temperature changes over the length; set length"):
        texts(1, final_temperature=1.0, length=0, stop=("a",))
    with pytest.raises(ConfigError, match="final_temperature is -1"):
        SampleConfig(final_temperature=-1)


# --- sentences

STORY = (
    'He met Mr. Brown and J. Smith. "Who is it?" she said. It was I... or so! («Yes?») No.\n'
    "\n  Then e.g. this. Done"
)
SENTENCES = [
    "He met Mr. Brown and J. Smith.", ' "Who is it?" she said.', " It was I... or so!",
    " («Yes?»)", " No.", "\n\n  Then e.g. this.",
]  # fmt: skip


def stopped(text: str, count: int, size: int = 1) -> tuple[str, bool]:
    """What is left of ``text``, which arrives ``size`` characters at a time."""
    vocab = letters(text)
    stop, ids, out = SentenceStop(vocab, count), vocab.encode(text).tolist(), list[int]()
    for start in range(0, len(ids), size):
        out += stop.push(ids[start : start + size])
    return vocab.decode(out + stop.finish()), stop.stopped


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_text_ends_after_so_many_sentences(size: int) -> None:
    for count in range(1, len(SENTENCES) + 1):
        assert stopped(STORY, count, size) == ("".join(SENTENCES[:count]), True)
    assert stopped(STORY, 7, size) == (STORY, False)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Wait. . . no. Yes", "Wait. . . no."),
        ("One.Two. Three", "One.Two."),
        ("It costs 3.50 today! And", "It costs 3.50 today!"),
        ("Really?! Yes", "Really?!"),
        ("Dr. No. Ah", "Dr. No."),
        ("I saw it.) Then", "I saw it.)"),
        ("好。不好。", "好。"),
        ("「好！」不", "「好！」"),
        ("Ends. ", "Ends. "),
        ("Ends.", "Ends."),
    ],
)
def test_where_a_sentence_ends(text: str, first: str) -> None:
    assert stopped(text, 1)[0] == first


def test_samples_end_after_their_sentences() -> None:
    own = TextModel(tiny(letters("AB. ")))

    def ended(sentences: int, **how: Any) -> list[str]:
        settings: dict[str, Any] = {"length": 200, "temperature": 2.0, "seed": 3, "count": 50}
        return list(own.samples("", SampleConfig(**(settings | how | {"sentences": sentences}))))

    found, longer = ended(2), ended(3)
    assert all(text.endswith(".") for text in found if len(text) < 200)
    for one, more in zip(found, longer, strict=True):
        assert more.startswith(one)
        assert len(more) > len(one) or len(one) == 200
    assert sum(len(text) < 200 for text in found) > 25
    [first] = ended(2, count=1, length=0)
    assert first[:200] == found[0]
