"""Drawing a character: fast filters against slow, obvious ones, in both engines."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from charrnn.checkpoint.file import Checkpoint
from charrnn.cli.app import main
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.generation.draw import choose, draw, probabilities
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.sample_config import SampleConfig
from charrnn.textmodel import TextModel
from tests.support.checkpoints import tiny

logits_rows = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 90)),
    elements=st.floats(-30, 30, width=32).map(lambda x: round(x, 1)),
)
uniform = st.floats(0, 1, exclude_max=True)


def restrict(p: NDArray[np.float32], **filters: Any) -> NDArray[np.float32]:
    """``p`` after the chain of these filters."""
    rows = np.atleast_2d(p).copy()
    for filter, value in SampleConfig(**filters).chain:
        rows = filter.apply(rows, value, None)
    return rows.reshape(p.shape)


def obvious_restrict(
    p: NDArray[np.float32], top_k: int, top_p: float, min_p: float
) -> NDArray[np.float32]:
    """One row: sort it all, stably, and apply one filter after the other."""
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


# --- any filters, any temperature


temperatures = st.one_of(
    st.sampled_from([0.0, 5e-324, 1e-30, 1e30, 1e38, 1.7e308]), st.floats(0.01, 100.0)
)
any_logits = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 90)),
    elements=st.one_of(
        st.floats(-30, 30).map(lambda x: round(x, 2)),
        st.sampled_from([-3.4e38, -1e30, 0.0, 1e30, 3.4e38]),
    ),
)
filters = {
    "top_k": st.integers(0, 100),
    "top_p": st.one_of(st.just(1.0), st.floats(1e-9, 1.0)),
    "min_p": st.one_of(st.just(0.0), st.floats(0.0, 1.0)),
}


@given(any_logits, temperatures, st.fixed_dictionaries(filters))
def test_what_is_left_is_a_distribution(
    logits: NDArray[np.float32], temperature: float, how: dict[str, Any]
) -> None:
    whole = probabilities(logits, temperature)
    p = restrict(whole, **how)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    shares = p.astype(np.float64) / p.sum(axis=-1, keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-12)
    for before, after, row in zip(whole, p, logits, strict=True):
        kept = after > 0
        assert (after[kept] == before[kept]).all()
        # nothing that was left out is likelier than what was kept
        assert before[~kept].max(initial=0) <= after[kept].min()
        if temperature:  # where 0 takes one of several equals
            assert (np.diff(before[np.argsort(row)]) >= 0).all()


@given(any_logits, temperatures, uniform)
def test_the_best_of_one_is_the_likeliest(
    logits: NDArray[np.float32], temperature: float, u: float
) -> None:
    p = probabilities(logits, temperature)
    ids = choose(logits, np.full(len(logits), u), SampleConfig(temperature=temperature, top_k=1))
    assert ids.tolist() == p.argmax(axis=-1).tolist()  # the first, where float32 sees no difference
    assert p[np.arange(len(p)), logits.argmax(axis=-1)].tolist() == [1.0] * len(p)


@given(any_logits, uniform, st.fixed_dictionaries(filters))
def test_the_ends_of_temperature(
    logits: NDArray[np.float32], u: float, how: dict[str, Any]
) -> None:
    logits = np.unique(logits)  # where two are equally likely a temperature above 0 takes either
    last = len(logits) - 1
    for temperature in (0.0, 5e-324, 1e-40, 1e-30):
        assert choose(logits, u, SampleConfig(temperature=temperature, **how)) == last
    near = logits[np.abs(logits) < 100]
    if len(near):
        for temperature in (1e30, 1.7e308):
            index = choose(near, u, SampleConfig(temperature=temperature))
            assert index == min(int(u * len(near)), len(near) - 1)


@pytest.mark.soak
@pytest.mark.parametrize(
    "promise",
    [
        test_filters_are_the_obvious_ones,
        test_rows_do_not_depend_on_each_other,
        test_what_is_left_is_a_distribution,
        test_the_best_of_one_is_the_likeliest,
        test_the_ends_of_temperature,
    ],
)
def test_filters_for_long(promise: Any) -> None:
    settings(max_examples=3_000)(promise)()


# --- both engines

F = float(np.finfo(np.float32).max)
EXTREME = {
    "ordinary": [float(i % 7) for i in range(31)],
    "equal": [5.0] * 31,
    "all highest": [F] * 31,
    "all lowest": [-F] * 31,
    "far apart": [1e30, -1e30] * 15 + [0.0],
    "furthest apart": [-F, F] * 15 + [0.0],
    "one that counts": [-F] * 30 + [0.0],
    "one that does not": [-F] + [0.0] * 30,
    "infinite": [0.0, math.inf] + [0.0] * 29,
    "excluded": [-math.inf] * 3 + [0.0] * 28,
    "nothing": [math.nan] * 31,
}
FILTERS: list[dict[str, Any]] = [{}, {"top_k": 3}, {"top_p": 0.4}, {"min_p": 0.5}]
TEMPERATURES = [0.0, 5e-324, 1e-30, 1e-6, 0.8, 1.0, 1e6, 1e30, 1e38, 1e39, 1.7e308]


def biased(logits: NDArray[np.float32]) -> tuple[ModelConfig, dict[str, NDArray[np.float32]]]:
    """A network that returns ``logits (V,)`` whatever it reads."""
    config = ModelConfig(len(logits), embedding=8, hidden=8, layers=1)
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.shapes().items()}
    weights["head.bias"] = logits
    return config, weights


def both(logits: NDArray[np.float32]) -> Any:
    """``draw(uniforms (N,), how)``: the ids that NumPy's and the compiled engine draw."""
    pytest.importorskip("llvmlite", reason="numba is not installed")
    from charrnn.generation.compiled import engine as accelerated

    config, weights = biased(logits)
    kinds = Engine, accelerated.CompiledEngine
    for_streams = functools.cache(lambda N: [kind(config, weights, N) for kind in kinds])

    def drawn(uniforms: NDArray[np.float64], how: SampleConfig) -> list[list[int]]:
        ids = np.zeros(len(uniforms), int)
        return [e.generate(ids, uniforms[None], how)[0].tolist() for e in for_streams(len(ids))]

    return drawn


@pytest.mark.parametrize("name", EXTREME)
def test_extreme_logits_in_both_engines(name: str) -> None:
    logits = np.array(EXTREME[name], np.float32)
    uniforms = (np.arange(62) + 0.5) / 62
    drawn = both(logits)
    for temperature in TEMPERATURES:
        for filter in FILTERS:
            how = SampleConfig(temperature=temperature, **filter)
            slow, fast = drawn(uniforms, how)
            assert set(slow + fast) <= set(range(31))
            if name != "nothing" and temperature < 1e39:  # above, infinite ratios may round
                assert slow == fast, how
            assert np.isfinite(probabilities(logits, temperature)).all()
            if temperature <= 1e-30 and name in ("one that counts", "infinite"):
                assert set(fast) == {int(logits.argmax())}
            if name == "equal" and temperature and not filter:
                assert fast == [i // 2 for i in range(62)]


@given(
    arrays(np.float32, st.integers(1, 70), elements=st.floats(-20, 20).map(lambda x: round(x, 1))),
    arrays(np.float64, 8, elements=uniform),
    st.sampled_from([0.0, 1e-30, 0.5, 0.8, 1.0, 3.0, 1e30]),  # no weight is below 1e-37
    st.fixed_dictionaries(filters),
)
def test_the_compiled_drawing_is_numpys(
    logits: NDArray[np.float32], uniforms: NDArray[np.float64], temperature: float, how: Any
) -> None:
    config = SampleConfig(temperature=temperature, **how)
    slow, fast = both(logits)(uniforms, config)
    for u, mine, other in zip(uniforms, slow, fast, strict=True):
        # at the very edge of a share the last bit decides
        assert other in {mine} | around(logits, u, config)


@pytest.mark.soak
def test_the_compiled_drawing_for_long() -> None:
    settings(max_examples=3_000)(test_the_compiled_drawing_is_numpys)()


def around(logits: NDArray[np.float32], u: float, config: SampleConfig) -> set[int]:
    """The ids that are drawn if the numbers differ a little."""
    drawn = set()
    for change in (1 - 1e-5, 1.0, 1 + 1e-5):
        for top in (1 - 1e-5, 1.0, 1 + 1e-5):
            for least in (1 - 1e-5, 1.0, 1 + 1e-5):
                shares = {"top_p": config.top_p * top, "min_p": config.min_p * least}
                near = SampleConfig(
                    temperature=config.temperature,
                    filters=config.filters,
                    **{name: min(share, 1.0) for name, share in shares.items()},
                )
                drawn.add(int(choose(logits, min(u * change, 1 - 1e-16), near)))
    return drawn


def overflowing() -> Checkpoint:
    """A network with finite weights whose logits overflow."""
    model = tiny()
    weights = {n: np.copysign(np.float32(1e37), v) for n, v in model.weights.items()}
    # what products of such weights become depends on a processor's order; 3e38 twice is infinite
    weights["head.bias"] = np.where(np.arange(len(model.vocab)) % 2, 3e38, -3e38).astype(np.float32)
    return dataclasses.replace(model, weights=weights)


@pytest.fixture(params=["compiled", "numpy"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the program use this engine."""
    if request.param == "numpy":
        monkeypatch.setitem(sys.modules, "charrnn.generation.compiled.engine", None)
    else:
        pytest.importorskip("llvmlite", reason="numba is not installed")
    return str(request.param)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_weights_that_overflow_warn_nobody(engine: str, temperature: float) -> None:
    for form in ("int8", "float16", "float32"):
        model = TextModel(overflowing(), weight_dtype=form)
        assert len(model.sample("abc", temperature=temperature, length=50, top_k=5)) == 50
        with pytest.raises(CheckpointError, match="overflow at character"):
            model.score("the quick brown fox")
        with pytest.raises(CheckpointError, match="overflow"):
            list(model.score_lines("the quick\nbrown fox"))


def test_the_command_line_takes_every_temperature(
    engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny().save(Path("model"))

    def text(temperature: str, seed: int = 1) -> tuple[int, str]:
        args = ["sample", "model", "--length", "60", "--seed", str(seed), f"--temp={temperature}"]
        with pytest.raises(SystemExit) as left:
            main(args)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert (err.count("\n"), out) == (1, "") if left.value.code else err == ""
        return int(left.value.code or 0), out

    likeliest = text("0")
    assert likeliest[0] == 0
    assert {text("0", 2), text("-0"), text("1e-30"), text("1e-400"), text("1e-30", 3)} == {
        likeliest
    }
    assert text("1e30")[0] == 0
    assert text("1e30") == text("1e300") != text("1")
    for nonsense in ("-1", "-1e-9", "nan", "inf", "-inf", "1e999", "", "x"):
        assert text(nonsense) == (2, "")
