"""Choosing a character: the fast filters against slow, obvious ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.generation.sampling import choose, draw, probabilities, restrict

logits_rows = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 90)),
    elements=st.floats(-30, 30, width=32).map(lambda x: round(x, 1)),
)
uniform = st.floats(0, 1, exclude_max=True)


def obvious_restrict(
    p: NDArray[np.float32], top_k: int, top_p: float, min_p: float
) -> NDArray[np.float32]:
    """One row, a full stable sort, one filter after the other."""
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))
    kept = order[:top_k] if top_k else order
    if top_p < 1:
        wanted, mass, few = top_p * sum(float(p[i]) for i in kept), 0.0, []
        for i in kept:
            few.append(i)
            mass += float(p[i])
            if mass >= wanted:
                break
        kept = few
    kept = [i for i in kept if p[i] >= np.float32(min_p) * p[order[0]]]
    out = np.zeros_like(p)
    out[kept] = p[kept]
    return out


@given(
    logits_rows, st.integers(0, 100), st.sampled_from([1.0, 0.9, 0.5, 0.05]),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)  # fmt: skip
def test_filters_are_the_obvious_ones(
    logits: NDArray[np.float32], top_k: int, top_p: float, min_p: float
) -> None:
    p = probabilities(logits)
    fast = restrict(p, top_k=top_k, top_p=top_p, min_p=min_p)
    for row, mine in zip(p, fast, strict=True):
        slow = obvious_restrict(row, top_k, top_p, min_p)
        # sums in another order may put a character at the very edge of top-p on either side
        assert (mine != slow).sum() <= (top_p < 1)
        if top_p == 1:
            np.testing.assert_array_equal(mine, slow)


@given(logits_rows, st.integers(1, 100))
def test_top_k_keeps_k_and_the_likeliest(logits: NDArray[np.float32], k: int) -> None:
    p = probabilities(logits, 100.0)
    kept = restrict(p, top_k=k) > 0
    assert (kept.sum(axis=-1) == min(k, p.shape[1])).all()
    assert kept[np.arange(len(p)), p.argmax(axis=-1)].all()


def test_top_p_with_more_candidates_than_it_looks_at_first() -> None:
    p = np.ones((2, 1000), np.float32)
    p[1, 5] = 1e6
    kept = restrict(p, top_p=0.5) > 0
    assert kept.sum(axis=-1).tolist() == [500, 1]
    assert kept[0, :500].all()


@given(logits_rows, st.data())
def test_rows_do_not_depend_on_each_other(logits: NDArray[np.float32], data: st.DataObject) -> None:
    u = data.draw(arrays(np.float64, len(logits), elements=uniform))
    config = SampleConfig(temperature=0.7, top_k=20, top_p=0.9, min_p=0.01)
    together = choose(logits, u, config)
    alone = [int(choose(row, x, config)) for row, x in zip(logits, u, strict=True)]
    assert together.tolist() == alone


@given(logits_rows, uniform)
def test_draw_is_the_first_to_pass(logits: NDArray[np.float32], u: float) -> None:
    p = probabilities(logits)
    ids = draw(p, np.full(len(p), u))
    for row, index in zip(p.astype(np.float64), ids, strict=True):
        assert row[index] > 0
        assert math.isclose(row[:index].sum(), u * row.sum(), rel_tol=1e-12) or (
            row[:index].sum() <= u * row.sum() <= row[: index + 1].sum() * (1 + 1e-12)
        )


def test_draw_follows_the_distribution() -> None:
    p = np.array([0.0, 1.0, 3.0, 0.0], np.float32)
    ids = draw(np.tile(p, (4000, 1)), (np.arange(4000) + 0.5) / 4000)
    assert np.bincount(ids, minlength=4).tolist() == [0, 1000, 3000, 0]
    assert draw(p, 0.0) == 1
    assert draw(p, np.nextafter(1.0, 0.0)) == 2


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-30, 1e-6, 1.0, 1e30, 1e308])
def test_no_temperature_gives_nan(temperature: float) -> None:
    logits = np.array([[-200.0, 3.0, 3.0, 2.5], [1e30, -1e30, 0.0, 0.0]], np.float32)
    p = probabilities(logits, temperature)
    assert np.isfinite(p).all()
    assert (p.max(axis=-1) == 1).all()
    ids = choose(logits, np.array([0.0, 0.999]), SampleConfig(temperature=temperature))
    assert ids[0] == (0 if temperature > 1e20 else 1)


def test_temperature_zero_takes_the_lowest_of_equals() -> None:
    logits = np.array([1.0, 5.0, 5.0], np.float32)
    assert choose(logits, 0.99, SampleConfig(temperature=0)) == 1
    assert probabilities(logits, 0).tolist() == [0, 1, 0]


def test_one_dimension_in_one_out() -> None:
    p = np.array([0.2, 0.5, 0.3], np.float32)
    assert restrict(p, top_k=2).shape == (3,)
    assert np.shape(draw(p, 0.5)) == ()
