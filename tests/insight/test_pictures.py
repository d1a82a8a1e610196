"""Drawings stay on the paper, with round numbers beside them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from charrnn.insight.pictures import character_map, curves, round_numbers


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1.02, 2.9), (0, 7e7), (-3e-5, 2e-5), (5, 5.01)])
def test_round_numbers_are_round_and_within(low: float, high: float) -> None:
    found = round_numbers(low, high)
    assert 3 <= len(found) <= 7
    assert all(low - 1e-12 <= value <= high + 1e-12 for value in found)
    assert all(len(f"{value:g}") <= 6 for value in found)


def test_curves_and_maps_stay_on_the_paper() -> None:
    drawn = curves("n", {"a": [(0, 3.0), (1e8, 1.0)], "b": [], "<c>": [(5, 2.0)]}, "x", "y")
    vectors = np.random.default_rng(5).normal(size=(20, 4))
    drawn += character_map("n", vectors, "abcdefghijklmnopqrst", ["letter"] * 20)
    places = re.findall(r'\b(?:x|x1|x2|cx)="([^"]*)"', drawn)
    assert len(places) > 25
    assert all(0 <= float(place) <= 720 for place in places)
    assert "&lt;c&gt;" in drawn
    assert (
        curves("n", {"a": []}, "x", "y")
        == character_map("n", np.zeros((2, 4)), "ab", ["x"] * 2)
        == ""
    )
    assert character_map("n", np.arange(5.0)[:, None], "abcde", ["letter"] * 5)
