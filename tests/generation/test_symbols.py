"""Constraints, stops and the most probable records where symbols have several characters."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError, UnknownCharacterError
from charrnn.generation.constraints import WordBan, marks_of
from charrnn.generation.line_scores import ScoredLine
from charrnn.generation.scoring import Score
from charrnn.generation.sentences import SentenceStop
from charrnn.generation.stops import stop_ids
from charrnn.text.spelling import rewritten
from charrnn.text.vocab import Vocab
from charrnn.textmodel import TextModel
from tests.support.networks import random_weights


def vocabulary(characters: str, *long: str, expression: str = r"\w+") -> Vocab:
    codes = tuple(sorted(map(ord, characters)))
    return Vocab(codes, (1,) * (len(codes) + len(long)), False, tuple(sorted(long)), expression)


MOLECULES = vocabulary("\n()BCHNO[]lnr", "Br", "Cl", "[nH]", expression=r"\[[^\]]+\]|Br|Cl")
WORDS = vocabulary('\n .!abcdefghinrstuvI"', "be", "bad", "badge", "and", "He", "it", "Mr")


def model(vocab: Vocab, lines: bool = False) -> TextModel:
    config = ModelConfig(vocab_size=len(vocab), embedding=4, hidden=8, layers=1)
    meta = {"corpus": {"lines": lines, "records": lines}}
    return TextModel(Checkpoint(config, vocab, random_weights(config), meta))


def named(vocab: Vocab, marks: object) -> list[str]:
    return [symbol for symbol, is_marked in zip(vocab.symbols(), marks, strict=True) if is_marked]  # type: ignore[call-overload]


def test_allowed_and_banned_texts_are_cut_into_symbols() -> None:
    assert named(MOLECULES, marks_of(MOLECULES, "Cl[nH]N", "ban")) == ["N", "Cl", "[nH]"]
    assert named(MOLECULES, marks_of(MOLECULES, "CX", "ban")) == ["C"]  # X is not known
    with pytest.raises(ConfigError, match=r"ban has '\[O-\]', which is not one of the network's"):
        marks_of(MOLECULES, "C[O-]", "ban")
    own = model(MOLECULES)
    drawn = own.sample("C", length=200, temperature=2, seed=1, ban="C[nH]")
    assert not {"C", "[nH]"} & set(drawn_symbols(own, drawn))
    drawn = own.sample("C", length=200, temperature=2, seed=1, allow="C[nH]O")
    assert set(drawn_symbols(own, drawn)) == {"C", "[nH]", "O"}


def drawn_symbols(own: TextModel, text: str) -> list[str]:
    return own.vocab.split(text)


def forbidden(ban: WordBan, before: str, last: bool = False) -> list[str]:
    state = ban.start
    for index in WORDS.encode(before).tolist():
        state = ban.after(state, index)
    return named(WORDS, ban.forbidden(state, last))


def test_banned_words_are_found_in_and_across_symbols() -> None:
    ban = WordBan(WORDS, ["Bad", "bad and", "a"])
    assert forbidden(ban, "be ", last=True) == ["a", "bad"]
    assert forbidden(ban, "be ") == []  # it may become a longer word
    ends = ["\n", " ", "!", '"', "."]
    assert forbidden(ban, "be bad") == ends
    assert forbidden(ban, "badge") == []
    assert forbidden(ban, "a") == ends
    only = WordBan(WORDS, ["it be"])
    assert forbidden(only, "it ", last=True) == ["be"]
    assert forbidden(only, "it b", last=True) == ["e"]


def sentences(text: str, count: int) -> str:
    stop = SentenceStop(WORDS, count)
    ids = stop.push(WORDS.encode(text).tolist())
    return WORDS.decode(ids + stop.finish())


def test_sentences_are_counted() -> None:
    assert sentences("He be. It and.", 1) == "He be."
    assert sentences("He be. it and. It", 1) == "He be. it and."
    assert sentences("Mr. He be. It", 1) == "Mr. He be."
    assert sentences('"it!" He be. It', 2) == '"it!" He be.'
    for symbol in ("a.", "a b", "it!"):
        other = vocabulary(" .!abit", symbol, expression=".+")
        with pytest.raises(ConfigError, match="sentences needs a model that has each full stop"):
            SentenceStop(other, 1)


def test_stops_are_symbols() -> None:
    assert stop_ids(MOLECULES, ["CCl"]) == [(MOLECULES.id_of("C"), MOLECULES.id_of("Cl"))]
    with pytest.raises(UnknownCharacterError, match="'CF' can never occur: character 'F'"):
        stop_ids(MOLECULES, ["CF"])


def test_texts_in_other_symbols_are_rewritten() -> None:
    def spelled(*symbols: str) -> list[int]:
        return [index for s in symbols if (index := MOLECULES.id_of(s)) is not None]

    texts = [spelled("C", "l", "C"), [], spelled("Cl"), spelled("[", "n", "H", "]", "B", "r")]
    assert rewritten(MOLECULES, texts) == [
        spelled("Cl", "C"), [], spelled("Cl"), spelled("[nH]", "Br")
    ]  # fmt: skip
    few = vocabulary("\nab", "ac", expression="ac|ca")
    odd = [[3, 1], [3, 3]]  # ac, a; ac, ac
    assert rewritten(few, odd) == odd
    unreadable = [[1, 3, 2]]
    assert rewritten(few, unreadable) == unreadable
    lost = vocabulary("\nab", "ab", "cb", expression="acb|ab|cb")  # c is only in cb
    assert rewritten(lost, [[1, 4], [1, 2]]) == [[1, 4], [3]]


def test_likely_records_are_those_of_a_corpus_the_likeliest_first(tmp_path: Path) -> None:
    vocab = vocabulary("\nabc", "ab", "bc", expression="ab|bc")
    own = model(vocab, lines=True)
    texts = {"".join(p) for n in range(5) for p in itertools.product("abc", repeat=n)}
    ranked = []
    for text in texts:
        if len(vocab.encode(text)) <= 2:
            [line] = own.score_lines(text + "\n")
            ranked.append((line.score.nats, text, line.score.chars))
    ranked.sort()
    found = list(own.likely(top=8, length=2))
    assert [record.text for record in found] == [text for _, text, _ in ranked[:8]]
    for record, (nats, text, chars) in zip(found, ranked, strict=False):
        assert record.score is not None
        assert record.score.nats == pytest.approx(nats, rel=1e-5)
        assert record.score.chars == chars == len(text) + 1


def test_the_most_surprising_symbol_has_a_place_among_the_characters() -> None:
    line = "CClN", ["C", "Cl", "N", "\n"], [0.1, 0.2, 5.0, 0.1]
    assert ScoredLine(*line, Score(5.4, 5, symbols=4)).worst_at == 4
    assert ScoredLine(*line, Score(5.4, 4)).worst_at == 3
    assert ScoredLine("", [], [], Score(0.0, 0, symbols=0)).worst_at is None


def test_what_is_shown_of_a_model_has_its_symbols(tmp_path: Path) -> None:
    own, text = model(MOLECULES), "CCl[nH]C(Br)\n" * 40
    page = charrnn.insight_page(own, text)
    assert ">[nH]<" in page
    assert "How it sees the symbols" in page
    assert f": {own.score(text).nats_per_char:.3f} nats/char. The darker a symbol" in page
