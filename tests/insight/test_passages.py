"""Passages begin where most happens, and are as long as a reader expects."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.insight import passages
from charrnn.insight.passages import Passages


def of(text: str | list[str]) -> Passages:
    return Passages(text, np.array([len(symbol) for symbol in text], np.int64))


def test_passages_begin_with_a_line_where_most_happens() -> None:
    text = ["x"] * 5000
    text[999::1000] = ["\n"] * 5
    values = np.zeros(5000)
    values[3100:4100:7] = 1
    assert of(text).busiest(values) == 3000
    assert of("x" * 5000).busiest(values) % 100 == 0
    assert of(text[:10]).busiest(values[:10]) == 0
    values[:] = 0
    values[100:900:7] = 1
    assert of(text).busiest(values) == 0
    assert of(text).busiest(values, 500) == 500  # the first place that it may be
    sparse = ["x"] * 5000
    sparse[1500] = "\n"
    assert of(sparse).busiest(values) < 900


@pytest.mark.parametrize("lines", [True, False])
def test_a_passage_is_as_long_whatever_its_symbols(lines: bool) -> None:
    """That of symbols begins and ends where that of characters does, but cuts none of them."""
    rng = np.random.default_rng(1)
    words = ["wo" * int(n) for n in rng.integers(1, 9, 900)]
    symbols = [part for word in words for part in (word, "\n" if lines and len(word) > 14 else " ")]
    text, cut = of("".join(symbols)), of(symbols)
    values = rng.uniform(size=len(text)) ** 4 * np.sin(np.arange(len(text)) / 900)
    start = cut.busiest(values[cut.begins[:-1]])
    assert start == 0 or lines == (symbols[start - 1] == "\n") or not lines
    first, last = cut.begins[start], cut.begins[cut.stop(start)]
    assert last - first <= passages.EXCERPT < last - first + 17
    for place in range(0, len(symbols), 97):
        assert cut.stop(place) <= len(symbols)
        assert cut.begins[cut.stop(place)] <= text.stop(int(cut.begins[place]))


def test_symbols_of_several_characters_are_underlined() -> None:
    shown = of(["a", "Cl", "\n", "<b>", "[n", " "]).colored(["", "", "s1", "s1", "s1", ""], 0)
    assert shown == ('<pre>a<u>Cl</u><b class="s1">⏎\n<u>&lt;b&gt;</u><u>[n</u></b> </pre>')
    byte = Passages(["\\xe9", "a"], np.ones(2, np.int64))
    assert byte.colored(["", ""], 0) == "<pre>\\xe9a</pre>"
