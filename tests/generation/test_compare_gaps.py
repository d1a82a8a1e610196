"""The comparison of networks that fill gaps: quickly with tiny ones, and at length with small ones.

``pytest -m long -s tests/generation/test_compare_gaps.py`` trains the networks of the table in
``checkpoints/README.md`` again, which takes some minutes each on two idle cores, and prints it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from tests.generation.compare_gaps import COUNT, LONGEST, Filled, compare, cut, fillers, table
from tests.support.checkpoints import real_text
from tests.support.runs import run

HOW: tuple[dict[str, Any], ...] = ({}, {"reverse": True}, {"bidirectional": True})
SETTINGS: dict[str, Any] = {
    "hidden": 256, "layers": 2, "embedding": 64, "batch": 32, "window": 64, "lr": 4e-3,
    "steps": 4000, "dropout": 0, "input_dropout": 0, "weight_dropout": 0, "seed": 1,
}  # fmt: skip


Three = tuple[charrnn.TextModel, charrnn.TextModel, charrnn.TextModel]


def exact(filled: list[Filled]) -> float:
    return float(np.mean([one.exact for one in filled]))


@pytest.fixture
def small(corpus: Path, tmp_path: Path) -> Three:
    """The three networks after a few steps."""
    settings: dict[str, Any] = {"hidden": 24, "layers": 1, "steps": 200, "val_frac": 0.5}
    one, two, three = (
        run(corpus, tmp_path / f"{number}", **settings, **how) for number, how in enumerate(HOW)
    )
    return charrnn.load(one.best), charrnn.load(two.best), charrnn.load(three.best)


def test_a_comparison_fills_what_was_cut_out(small: Three, corpus: Path) -> None:
    gaps = cut(small[0], corpus, 24)
    assert [len(gap.true) for gap in gaps] == [*range(1, LONGEST + 1)] * 2
    text = corpus.read_text()
    for gap in gaps:
        parts = (gap.left, gap.true, gap.right)
        assert "".join(map(small[0].vocab.decode, parts)) in text[len(text) // 2 - 1 :]
    results = compare(*small, corpus, count=24)
    assert list(results) == ["forward alone", "forward and reverse", "bidirectional"]
    rows = table(results).splitlines()
    assert len(rows) == 5
    for name, filled in results.items():
        assert len(filled) == 24
        assert any(one.exact for one in filled), name
        assert all(one.proposed for one in filled if one.exact)
        assert all(one.nats > 0 for one in filled)


def test_what_was_not_proposed_gets_the_share_that_it_would_have_had(
    small: Three, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.generation import compare_gaps

    [gap] = cut(small[0], corpus, 1)
    for name, filler in fillers(*small):
        proposals = filler.propose(gap.left, gap.right, [1])
        others = [p for p in proposals if p.gaps[0][0] != gap.true[0]]
        [own] = [p.nats for p in proposals if p.gaps[0][0] == gap.true[0]]
        left_out = [type(p)(p.gaps, p.nats + np.log1p(-np.exp(-own))) for p in others]
        monkeypatch.setattr(filler, "propose", lambda *_, found=left_out: found)
        filled = compare_gaps.fill(filler, gap)
        assert not filled.proposed, name
        assert filled.nats == pytest.approx(own, abs=1e-3), name


@pytest.mark.long
def test_small_networks_fill_gaps_of_war_and_peace(tmp_path: Path) -> None:
    text = real_text("warpeace_input.txt")
    forward, reverse, both = (
        charrnn.load(charrnn.train(text, out=tmp_path / f"{number}", **SETTINGS, **how).best)
        for number, how in enumerate(HOW)
    )
    results = compare(forward, reverse, both, text)
    print(table(results))
    assert {len(filled) for filled in results.values()} == {COUNT}
    alone, pair, two_sides = (exact(filled) for filled in results.values())
    assert min(alone, two_sides) > 0.25
    assert pair > 0.3
