"""Traits of a text, and the units that follow them; chance is no finding."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.insight.findings import correlations, find
from charrnn.insight.traits import traits


def test_traits_are_those_of_the_text() -> None:
    text = 'He said "go (now)!"\nYes.'
    found = traits(text)
    told = {name: values.tolist() for name, values in found.items()}
    opened, closed = text.index('"'), text.rindex('"')
    assert told["inside quotation marks"] == [opened <= i < closed for i in range(len(text))]
    assert told["inside brackets"] == [text.index("(") <= i < text.index(")") for i in range(24)]
    assert told["how far into the line"] == [*range(1, 20), 0, 1, 2, 3, 4]
    assert told["how far into the word"][:8] == [1, 2, 0, 1, 2, 3, 4, 0]
    assert told["how far into the sentence"][17:] == [0, 1, 2, 3, 4, 5, 0]
    assert [text[i] for i in np.flatnonzero(found["just read: a capital"])] == ["H", "Y"]


def test_what_is_open_is_closed_at_a_blank_line() -> None:
    found = traits('"never closed (\r\n\r\nnext')
    assert not found["inside quotation marks"][-4:].any()
    assert not found["inside brackets"][-4:].any()
    assert found["inside quotation marks"][:14].all()


def test_correlations_are_pearsons() -> None:
    rng = np.random.default_rng(2)
    units, values = rng.normal(size=(300, 5)).astype(np.float16), rng.normal(size=300)
    units[:, 3] = 0.25
    found = correlations(units, values.astype(np.float32))
    for column in (0, 1, 2, 4):
        assert found[column] == pytest.approx(np.corrcoef(units[:, column], values)[0, 1], abs=1e-3)
    assert found[3] == 0


def test_the_unit_that_follows_a_trait_is_found() -> None:
    rng = np.random.default_rng(3)
    units = rng.uniform(-1, 1, (2000, 40)).astype(np.float16)
    trait = (rng.uniform(size=2000) < 0.3).astype(np.float32)
    units[:, 27] = 0.5 - trait + units[:, 27] / 5
    (found,) = find(units, {"a trait": trait, "never": np.zeros(2000, np.float32)}, width=20)
    assert (found.trait, found.layer, found.unit) == ("a trait", 1, 7)
    assert found.r < -0.9


def test_chance_is_no_finding() -> None:
    """Of 4,000 units one fits 30 places by chance, but not those where it was not chosen."""
    rng = np.random.default_rng(4)
    units = rng.uniform(-1, 1, (60, 4000)).astype(np.float16)
    trait = (rng.uniform(size=60) < 0.5).astype(np.float32)
    assert np.abs(correlations(units[:30], trait[:30])).max() > 0.6
    assert not find(units, {"a trait": trait}, width=4000)
