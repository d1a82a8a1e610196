"""Symbols of several characters: what an expression finds, and texts that come back whole."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError, UnknownCharacterError
from charrnn.model_config import MAX_VOCABULARY
from charrnn.text import automaton, encoding, sources, symbols
from charrnn.text.automaton import Automaton
from charrnn.text.corpus import Corpus, cached_corpus
from charrnn.text.symbols import NAMED, Cutter, Part, SymbolRule, codes_of
from charrnn.text.vocab import Vocab, id_dtype
from tests.support.networks import random_weights
from tests.support.texts import TEXT, encode, texts

SMILES = "CC(=O)Nc1ccc(Cl)cc1\nC[C@H](Br)[nH]%12\nC[13CH3]\n"


def found(expression: str, text: str) -> list[str]:
    codes = codes_of(text)
    begins, ends = Automaton(expression).find(codes, len(codes))
    return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]


def matched(expression: str, text: str) -> list[str]:
    """What Python's own matcher finds."""
    return [match for match in (m[0] for m in re.finditer(expression, text)) if len(match) > 1]


def pieces(vocab: Vocab, text: str) -> list[str]:
    names = list(vocab.symbols())
    return [names[index] for index in vocab.encode(text)]


def cut(text: str, expression: str = NAMED["smiles"], times: int = 10, **settings: Any) -> Corpus:
    return encode((text * times).encode(), symbols=SymbolRule(expression), **settings)


# --- expressions


def repeated(part: str) -> st.SearchStrategy[str]:
    marks = ["*", "+", "?", "{2}", "{1,3}", "{,2}", "{2,}", "*?", "+?", "??", "{0,2}?"]
    return st.sampled_from(marks).map(lambda mark: f"(?:{part}){mark}")


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        inner.flatmap(repeated),
    )


LEAVES = ["a", "b", "c", ".", "[ab]", "[^a]", r"\w", r"\W", "[]b]", r"\x61", r"[^\]\\]", "é", "{"]
EXPRESSIONS = st.recursive(st.sampled_from(LEAVES), grown, max_leaves=7)


@given(EXPRESSIONS, st.text(st.sampled_from("abcé-]{"), max_size=30))
def test_it_finds_what_a_backtracking_matcher_finds(expression: str, text: str) -> None:
    try:
        own = found(expression, text)
    except ConfigError:  # it can match the empty text
        assume(False)
    assert own == matched(expression, text)


@pytest.mark.parametrize(
    ("expression", "text", "wanted"),
    [
        ("a|ab", "abab", []),  # the first choice that matches, not the longest
        ("ab|abc", "abcabc", ["ab", "ab"]),
        ("(?i)Ab+", "xaBbA", ["aBb"]),
        ("(?s).x", "ax", ["ax"]),
        (r"\w+", "grüße, 你好", ["grüße", "你好"]),
        ("(?P<name>ab){2}", "ababab", ["abab"]),
        ("a{,}b", "aab", ["aab"]),
        (r"[\n ]+x?", "a \n  x", ["  x"]),  # a line end is never part of a symbol
        ("[^x]+", "ab\ncd\r\nx", ["ab", "cd"]),
        (".+", "a" * 150, ["a" * 64, "a" * 64, "a" * 22]),  # nor has one more characters
    ],
)
def test_what_is_found(expression: str, text: str, wanted: list[str]) -> None:
    assert found(expression, text) == wanted


@pytest.mark.parametrize(
    ("expression", "saying"),
    [
        ("(a", "is not a regular expression: missing"),
        ("a*", "can match the empty text"),
        ("a|", "can match the empty text"),
        ("(a*)+b", "repeats a part that can match the empty text"),
        ("(.*)*x", "repeats a part that can match the empty text"),
        (r"(a)\1", r"has \1, which is not supported"),
        ("(?P<a>a)(?P=a)", "has (?P=, which is not supported"),
        ("(?<=a)b", "has (?<=, which is not supported"),
        ("a(?=b)", "has (?=b, which is not supported"),
        ("a(?!b)", "has (?!b, which is not supported"),
        ("(?>a)b", "has (?>a, which is not supported"),
        ("(?i:a)", "has (?i:, which is not supported"),
        ("(?m)a", "has (?m), which is not supported"),
        ("^ab", "has ^, which is not supported"),
        ("ab$", "has $, which is not supported"),
        (r"\bab", r"has \b, which is not supported"),
        ("a++b", "has a possessive repetition"),
        ("a{65}", "repeats more than 64 times"),
        ("(a{60}){60}", "is too large"),
        ("a" * 1001, "has 1,001 characters"),
        ("(" * 60 + "a" + ")" * 60, "has too many groups"),
        ("", "has 0 characters"),
        ("a\ud800", "has surrogates"),
    ],
)
def test_what_cannot_be_bounded_is_refused(expression: str, saying: str) -> None:
    with pytest.raises(ConfigError) as caught:
        symbols.expression_of(expression)
    assert str(caught.value).startswith(f"symbols {saying}")


@pytest.mark.parametrize(
    "expression",
    [
        "(a+)+b",
        "(a|a)*b",
        "(a|aa)+b",
        "(a|a){30}b",
        "(a*a*a*a*a*a*a*)b",
        "(a|b)+a(a|b){40}c",  # as a whole, its automaton would have 2^40 states
    ],
)
def test_what_takes_a_backtracking_matcher_forever_takes_a_moment(
    expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automaton, "MAX_STATES", 100)
    text = "ab" + "a" * 60
    assert found(expression, text) in ([], ["ab"])


def one_by_one(expression: str, text: str) -> list[str]:
    """What is found from place to place in a text without surrogates: the slow, obvious way."""
    match, place, parts = re.compile(expression).match, 0, list[str]()
    while place < len(text):
        line = min(text.find(end, place) % (len(text) + 1) for end in "\n\r")
        own = match(text, place, min(line, place + automaton.LONGEST))
        end = own.end() if own else place
        if end > place + 1:
            parts.append(text[place:end])
        place = max(end, place + 1)
    return parts


@pytest.mark.parametrize(
    ("few", "short", "rounds", "steps"),
    [(10**9, 16, 2, 4), (0, 0, 2, 4), (0, 10**6, 0, 0), (0, 10**6, 1, 1), (0, 10**6, 3, 2)],
)
def test_many_matches_are_found_as_one_by_one(
    few: int, short: int, rounds: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FEW": few, "SHORT": short, "ROUNDS": rounds, "STEPS": steps}.items():
        monkeypatch.setattr(automaton, name, value)
    monkeypatch.setattr(symbols, "FEW", max(few, 1))
    expressions = [
        *NAMED.values(),
        "a+b",
        "ab|b[ab]{3}|ba",
        r"\w+ \w+",
        "..",
        "a..b|b.",
        r"[^a ]+a?",
    ]
    for alphabet, size in (("ab", 300), ("ab \n", 900), ("aB[]lrnH%0c\r\n", 900), ("дa😀 |:", 900)):
        text = "".join(random.Random(size).choices(alphabet, k=size)) + "a" * 150
        codes = codes_of(text)
        for expression in expressions:
            for stop in (size // 2, len(text)):
                begins, ends = Automaton(expression).find(codes, stop)
                wanted = one_by_one(expression, text)
                own = Part(codes, begins, ends).matches()
                assert own == wanted[: len(own)]
                assert sum(map(len, wanted[len(own) :])) <= len(text) - stop
                assert len(own) == len(wanted) or stop < len(text)
                if max(codes) < 256:
                    assert Part(codes.astype(np.uint8), begins, ends).matches() == own


# --- texts


@given(texts, st.sampled_from(["a+", r"\w+", r"[^a]{2,5}", *NAMED.values()]))
def test_any_text_comes_back(text: str, expression: str) -> None:
    long = tuple(sorted({m for m in found(expression, text) if m[0] < "m"}))
    codes = tuple(sorted(set(map(ord, text))))
    vocab = Vocab(codes, (1,) * (len(codes) + len(long)), False, long, expression)
    ids = vocab.encode(text)
    assert vocab.decode(ids) == text
    assert b"".join(vocab.pieces[i] for i in ids) == text.encode()
    assert vocab.widths[ids].sum() == len(text)
    assert Vocab.from_dict(vocab.to_dict()) == vocab


@given(st.text(st.sampled_from("abc \n"), max_size=40), st.integers(1, 9), st.integers(1, 9))
def test_a_text_is_cut_the_same_wherever_its_blocks_end(
    text: str, block: int, stretch: int
) -> None:
    def parts() -> list[str]:
        codes = codes_of(text)
        blocks = (codes[at : at + block] for at in range(0, len(codes), block))
        cutter = Cutter(Automaton("a[ab]+c?|b{2,3}"))
        return [match for part in cutter.parts(blocks) for match in part.matches()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbols, "STRETCH", stretch)
        patch.setattr(symbols, "LONGEST", automaton.LONGEST)
        assert parts() == matched("a[ab]+c?|b{2,3}", text)


@pytest.mark.parametrize("text", [SMILES, TEXT, "Grüße, Grüße!\r\n"])
@pytest.mark.parametrize("expression", NAMED.values())
def test_a_corpus_is_its_vocabularys_encoding(text: str, expression: str) -> None:
    corpus = cut(text, expression)
    ids = corpus.vocab.encode(text * 10)
    assert np.array_equal(corpus.ids, ids)
    assert corpus.vocab.decode(corpus.ids) == text * 10
    assert np.array_equal(np.bincount(ids, minlength=len(corpus.vocab)), corpus.vocab.counts)
    assert corpus.chars == len(text) * 10
    assert corpus.chars_per_symbol == corpus.chars / len(corpus)


def test_molecules_are_cut_into_atoms() -> None:
    wanted = ["C", "[C@H]", "(", "Br", ")", "[nH]", "%12"]
    vocab = cut(SMILES).vocab
    assert pieces(vocab, "C[C@H](Br)[nH]%12") == wanted
    assert pieces(vocab, "CCl\nCC") == ["C", "Cl", "\n", "C", "C"]


def test_music_is_cut_into_notes_and_bars() -> None:
    tune = "X:1\nM:6/8\n|:^c2A, d'3/2 z4|[2 =B//:|]\n(3abc\n"
    assert pieces(cut(tune, NAMED["abc"]).vocab, tune.partition("M")[2].partition("\n")[2]) == [
        *("|:", "^c2", "A,", " ", "d'3/2", " ", "z4", "|", "[", "2", " ", "=B//", ":|]", "\n"),
        *("(3", "a", "b", "c", "\n"),
    ]


def test_a_rare_match_is_spelled_in_characters() -> None:
    vocab = cut("abc abc xyz. ", "[a-z]+", 9).vocab
    assert vocab.long == ("abc",)  # 18 times; xyz only 9 times
    assert pieces(vocab, "abc xyz yyx") == ["abc", " ", "x", "y", "z", " ", "y", "y", "x"]
    assert vocab.counts[vocab.codes.index(ord("a"))] == 0  # only in abc, but it can be read
    assert pieces(vocab, "ab") == ["a", "b"]
    with pytest.raises(UnknownCharacterError, match=r"'d' .* at position 6 .* of 9 symbols"):
        vocab.encode("x abc d")
    assert "replaced by ' '" in vocab.omissions("abd", "replace")
    assert vocab.decode(vocab.encode("x abcd", "skip")) == "x abc"


def test_known_symbols_may_be_rare() -> None:
    text = b"abc abd " + b"xy " * 12
    corpus = encode(text, symbols=SymbolRule("[a-z]+", known=("abc", "zz")))
    assert corpus.vocab.long == ("abc", "xy")
    again = encode(text, symbols=corpus.vocab.rule)  # as it is found from a checkpoint
    assert again.vocab == corpus.vocab
    found = cached_corpus(corpus.sha256, "t", "utf-8", symbols=corpus.vocab.rule)
    assert found is not None
    assert found.vocab == corpus.vocab
    plain = encode(text, symbols=SymbolRule("[a-z]+"))
    assert plain.vocab.long == ("xy",)
    assert encode(text, symbols=plain.vocab.rule).vocab == plain.vocab


def test_a_text_is_kept_once_for_each_expression(tmp_path: Path) -> None:
    whole = [cut(SMILES, expression, cache=tmp_path) for expression in (*NAMED.values(), "Br|Cl")]
    assert len({tuple(corpus.vocab.long) for corpus in whole}) > 1
    assert len(list(tmp_path.glob("*.ids"))) == len(whole)
    plain = encode((SMILES * 10).encode(), cache=tmp_path)
    assert plain.vocab.expression == ""
    for corpus in whole:
        kept = cached_corpus(corpus.sha256, "t", "utf-8", tmp_path, symbols=corpus.vocab.rule)
        assert kept is not None
        assert kept.vocab == corpus.vocab


def test_counts_are_exact_where_more_is_counted_than_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "".join(f"w{n % 37:x}x{n % 5:x} go go " for n in range(2000))
    exact = cut(text, r"\w+", 1, cache=tmp_path / "exact")
    monkeypatch.setattr(encoding, "MOST_COUNTED", 20)
    monkeypatch.setattr(symbols, "STRETCH", 100)
    pruned = cut(text, r"\w+", 1, cache=tmp_path / "pruned")
    assert "go" in pruned.vocab.long
    assert len(pruned.vocab.long) < len(exact.vocab.long)
    ids = pruned.vocab.encode(text)
    assert np.array_equal(np.bincount(ids, minlength=len(pruned.vocab)), pruned.vocab.counts)


@pytest.mark.parametrize("block", [1, 3, 64])
def test_the_ids_are_the_same_for_any_block_size(
    block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = cut(SMILES + TEXT, cache=tmp_path / "whole")
    monkeypatch.setattr(sources, "BLOCK", block)
    assert np.array_equal(cut(SMILES + TEXT, cache=tmp_path / "cut").ids, whole.ids)


def test_many_symbols_have_wide_ids_and_the_most_frequent_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "".join(f"{n:03d};" * (10 + n % 3) for n in range(300))
    corpus = cut(text, r"\d+", 1, cache=tmp_path / "all")
    assert corpus.ids.dtype == id_dtype(len(corpus.vocab)) == np.uint16
    assert corpus.vocab.decode(corpus.ids) == text
    monkeypatch.setattr(encoding, "MAX_SYMBOLS", 100)
    few = cut(text, r"\d+", 1, cache=tmp_path / "few").vocab
    assert few.long == tuple(f"{n:03d}" for n in range(300) if n % 3 == 2)


# --- what a file may hold


@pytest.mark.parametrize(
    "change",
    [
        {"long": ["Cl", "Br"]},  # not ascending
        {"long": ["Br", "Br"]},
        {"long": ["B", "Cl"]},
        {"long": ["B\n", "Cl"]},
        {"long": ["B\ud800", "Cl"]},
        {"long": ["B" * 65, "Cl"]},
        {"long": ["Br", 1]},
        {"long": [["Br"], "Cl"]},
        {"long": "Br"},
        {"expression": "(a+"},
        {"expression": "a(?=b)"},
        {"expression": ""},
        {"expression": None},
        {"expression": 1},
        {"bytes": True},
        {"counts": [1, 1, 1]},
    ],
)
def test_invalid_vocabularies_are_refused(change: dict[str, object]) -> None:
    good = Vocab((67, 78), (1, 1, 1, 1), False, ("Br", "Cl"), "Br|Cl").to_dict()
    with pytest.raises(ConfigError):
        Vocab.from_dict(good | change)


def test_too_many_symbols_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(f"{n:05d}" for n in range(symbols.MAX_SYMBOLS + 1))
    make: Callable[[tuple[str, ...]], Vocab] = lambda long: Vocab(  # noqa: E731
        (), (1,) * len(long), False, long, r"\d+"
    )
    assert len(make(many[1:])) == symbols.MAX_SYMBOLS
    with pytest.raises(ConfigError, match="invalid symbols"):
        make(many)
    monkeypatch.setattr(symbols, "MAX_WEIGHT", 50)
    with pytest.raises(ConfigError, match="invalid symbols"):
        make(many[:11])


@pytest.mark.parametrize("mark", ["", '"', ",", "😀"])
def test_the_largest_vocabulary_can_be_saved_and_read(mark: str, tmp_path: Path) -> None:
    long: list[str] = []
    room = symbols.MAX_WEIGHT
    for n in range(symbols.MAX_SYMBOLS):
        least = 4 * (symbols.MAX_SYMBOLS - n - 1)  # for the others
        symbol = f"{n:04x}"
        while mark and room - symbols.weight(symbol + mark) >= least and len(symbol) < 60:
            symbol += mark
        room -= symbols.weight(symbol)
        long.append(symbol)
    codes = tuple(range(0x20000, 0x20000 + MAX_VOCABULARY - len(long)))
    counts = (2**40,) * len(codes) + (9,) * len(long)
    vocab = Vocab(codes, counts, False, tuple(long), ".+")
    config = ModelConfig(vocab_size=len(vocab), embedding=1, hidden=1, layers=1)
    Checkpoint(config, vocab, random_weights(config)).save(tmp_path / "large")
    assert load(tmp_path / "large").vocab == vocab
