"""What a text copied is what a plain search would find."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.insight import novelty
from charrnn.insight.novelty import Original, compare, copies, covered, runs
from charrnn.text.splits import Parts
from tests.support.networks import letters
from tests.support.texts import in_words


@pytest.mark.parametrize("block", [7, 64, 10**6])
def test_runs_are_those_that_a_search_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is hashed at once, and in each range by itself."""
    monkeypatch.setattr(novelty, "BLOCK", block)
    rng = np.random.default_rng(6)
    whole = rng.integers(0, 3, 500).astype(np.uint16)
    ids = np.concatenate([rng.integers(0, 3, 60), whole[190:215], [5], whole[60:90], [5, 2]])
    ranges = ((0, 80), (80, 85), (120, 121), (190, 500))
    parts = ["".join(map(str, whole[start:stop])) for start, stop in ranges]
    text = "".join(map(str, ids))
    for length in (1, 2, 3, 5, 8, 13, 21, 25, 26, 30, 118, 119):
        wanted = [
            any(text[place : place + length] in part for part in parts)
            for place in range(len(text) - length + 1)
        ]
        assert runs(ids, Original(whole, ranges), length).tolist() == wanted
    found = copies(ids, Original(whole, ranges))
    assert (found.start, found.length) == (60, 25)  # 60:90 lies across the ranges
    assert found.shares == {20: 45 / 118, 40: 0, 80: 0, 160: 0}


def test_copies_are_compared_with_those_of_the_author() -> None:
    """As much of the validation part as there is of the text; without one of the text alone."""
    corpus = np.arange(100)
    corpus[50:60] = corpus[:10]
    ids = corpus[5:30]
    parts = Parts(((0, 50),), ((50, 80),), ((80, 100),))
    found = compare(ids, corpus, parts, letters())
    assert {name: (each.start, each.length) for name, each in found.items()} == {
        "this text": (0, 25), "validation part": (0, 10),
    }  # fmt: skip
    assert found["this text"].shares[20] == 1
    short = compare(ids[:4], corpus, parts, letters())
    assert short["validation part"].length == 4
    alone = compare(ids, corpus, Parts(((0, 50),), (), ()), letters())
    assert list(alone) == ["this text"]


@pytest.mark.parametrize("block", [7, 100, 10**6])
def test_runs_are_of_characters_whatever_the_symbols(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(novelty, "BLOCK", block)
    rng = np.random.default_rng(7)
    corpus = " ".join(rng.choice(["war", "peace", "and", "x", "so", "it", "goes"], 400))
    text = corpus[505:640] + "!! " + corpus[100:131] + corpus[900:933]
    vocab, plain = in_words((corpus + text) * 10), letters(corpus + text)
    found = []
    for own in (vocab, plain):
        ids, cuts = own.encode(corpus), []
        for place in (0, 800, 1200):  # whole words
            place = corpus.index(" ", place)
            cuts.append(len(own.encode(corpus[:place])))
        parts = Parts(((0, cuts[1]),), ((cuts[1], cuts[2]),), ((cuts[2], len(ids)),))
        found.append(compare(own.encode(text), ids, parts, own))
    assert found[0] == found[1]
    assert found[0]["this text"].length >= 135


def test_what_runs_cover() -> None:
    starts = np.array([0, 1, 0, 0, 0, 1, 1], bool)
    assert np.flatnonzero(covered(starts, 3, 9)).tolist() == [1, 2, 3, 5, 6, 7, 8]
    assert not covered(np.zeros(0, bool), 20, 9).any()


@pytest.mark.parametrize(("text", "whole", "length"), [
    ("aaaaaaaaab", "aaab", 4), ("b", "aaaaaab", 1), ("a", "bbb", 0), ("aba", "", 0),
    ("ab" * 300, "ab" * 300, 600),
])  # fmt: skip
def test_the_longest_run_of_strange_texts(text: str, whole: str, length: int) -> None:
    ids, original = (np.array([ord(symbol) for symbol in each], int) for each in (text, whole))
    found = copies(ids, Original(original, ((0, len(whole)),)))
    assert (found.length, found.shares[160]) == (length, float(length == 600))
    assert text[found.start : found.start + length] in whole
