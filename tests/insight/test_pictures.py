"""Drawings stay on the paper, with round numbers beside them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from charrnn.insight.pictures import LETTER, LINE, MANY, WIDTH, curves, round_numbers, symbol_map


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1.02, 2.9), (0, 7e7), (-3e-5, 2e-5), (5, 5.01)])
def test_round_numbers_are_round_and_within(low: float, high: float) -> None:
    found = round_numbers(low, high)
    assert 3 <= len(found) <= 7
    assert all(low - 1e-12 <= value <= high + 1e-12 for value in found)
    assert all(len(f"{value:g}") <= 6 for value in found)


def test_curves_and_maps_stay_on_the_paper() -> None:
    drawn = curves("n", {"a": [(0, 3.0), (1e8, 1.0)], "b": [], "<c>": [(5, 2.0)]}, "x", "y")
    vectors = np.random.default_rng(5).normal(size=(20, 4))
    drawn += symbol_map("n", vectors, "abcdefghijklmnopqrst", ["letter"] * 20, [1] * 20)
    places = re.findall(r'\b(?:x|x1|x2|cx)="([^"]*)"', drawn)
    assert len(places) > 25
    assert all(0 <= float(place) <= 720 for place in places)
    assert "&lt;c&gt;" in drawn
    assert (
        curves("n", {"a": []}, "x", "y")
        == symbol_map("n", np.zeros((2, 4)), "ab", ["x"] * 2, [1, 1])
        == ""
    )
    assert symbol_map("n", np.arange(5.0)[:, None], "abcde", ["letter"] * 5, [1] * 5)


@pytest.mark.parametrize("several", [30, MANY + 200])
def test_no_name_on_a_map_covers_another(several: int) -> None:
    rng = np.random.default_rng(several)
    names = [f"{n}" + "w" * int(rng.integers(0, 14)) for n in range(several)]
    counts = rng.permutation(several).tolist()
    drawn = symbol_map("n", rng.normal(size=(several, 4)), names, ["letter"] * several, counts)
    height = int(re.findall(r'viewBox="0 0 720 (\d+)"', drawn)[0])
    assert height == (360 if several <= MANY else 720)
    texts = re.findall(r'x="([^"]*)" y="([^"]*)" text-anchor="middle">([^<]*)<', drawn)
    dots = re.findall(
        r'<circle class="letter" cx="[^"]*" cy="([^"]*)" r="2"><title>([^<]*)<', drawn
    )
    assert sorted([name for *_, name in texts] + [name for _, name in dots]) == sorted(names)
    assert texts[0][2] == names[counts.index(several - 1)]  # the most frequent one has its name
    assert dots
    assert len(texts) > 20
    halves = [(float(x), float(y), len(name) * LETTER / 2) for x, y, name in texts]
    for n, (x, y, half) in enumerate(halves):
        assert x - half > -0.1
        assert x + half < WIDTH + 0.1
        assert y + 0.1 >= LINE
        assert y <= height
        assert all(
            abs(x - other) > half + theirs - 0.2 or abs(y - level) > LINE - 0.2
            for other, level, theirs in halves[:n]
        )
