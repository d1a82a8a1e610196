"""The compiled engine against NumPy's, and against itself in other company."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="numba is not installed")

from charrnn.checkpoint.int8 import quantize
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.generation.compiled import engine as accelerated
from charrnn.generation.compiled import machine_code
from charrnn.generation.compiled.cells import CELLS as COMPILED_CELLS
from charrnn.generation.compiled.cells import UnsupportedCell
from charrnn.generation.compiled.engine import CompiledEngine
from charrnn.generation.compiled.layout import Variant
from charrnn.generation.draw import choose
from charrnn.generation.factory import open_engine
from charrnn.generation.generator import Generator
from charrnn.generation.numpy_engine import Engine, Weights
from charrnn.generation.quantization import state_scale
from charrnn.generation.sample_config import SampleConfig
from charrnn.generation.scoring import score
from tests.support.checkpoints import ROOT
from tests.support.networks import CELLS, letters, model, random_weights

SHAPES = [(1, False, 48), (3, True, 33)]
# number formats of weights and of the states that they are multiplied with
FORMS: dict[str, dict[str, Any]] = {
    "float32": {"weight_dtype": "float32"},
    "float16": {"weight_dtype": "float16"},
    "int8": {"weight_dtype": "int8"},
    "int8 states": {"weight_dtype": "int8", "state_dtype": "int8"},
}


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# the cells that the compiled engine knows; it must refuse the others
COMPILED = [cell for cell in CELLS if model(cell, 2).definition.name in COMPILED_CELLS]


def prepared(
    cell: str, layers: int = 2, sum_layers: bool = False, hidden: int = 40
) -> tuple[ModelConfig, dict[str, NDArray[np.float32]]]:
    sizes = {"embedding": 24, "hidden": hidden, "layers": layers, "sum_layers": sum_layers}
    config = model(cell, 31, **sizes)
    return config, random_weights(config)


@pytest.mark.parametrize(("layers", "sum_layers", "hidden"), SHAPES)
@pytest.mark.parametrize("cell", COMPILED)
def test_logits_are_numpys(cell: str, layers: int, sum_layers: bool, hidden: int) -> None:
    config, weights = prepared(cell, layers, sum_layers, hidden)
    exact, fast = Engine(config, weights, 2), CompiledEngine(config, weights, 2)
    for ids in np.random.default_rng(0).integers(0, 31, (1000, 2)):
        assert np.abs(fast.step(ids) - exact.step(ids)).max() < 1e-5
    for mine, other in zip(fast.state, exact.state, strict=True):
        for part, expected in zip(mine, other, strict=True):
            assert part.shape == expected.shape
            np.testing.assert_allclose(part, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in COMPILED])
def test_other_cells_are_left_to_numpy(cell: str) -> None:
    config, weights = prepared(cell)
    with pytest.raises(UnsupportedCell, match=config.definition.name):
        CompiledEngine(config, weights)
    assert isinstance(open_engine(config, weights), Engine)


def test_the_cells_of_torch_are_compiled() -> None:
    assert {*COMPILED} == {"lstm", "gru", "elman", "rnn-tanh", "rnn-relu", "irnn"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_neither_streams_nor_threads_change_a_bit(
    cell: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerated, "THREAD_BYTES", 0)
    config, weights = prepared(cell, 3, True)
    many = CompiledEngine(config, weights, 9, **FORMS[form], threads=2)
    one = CompiledEngine(config, many.packed, 1)
    assert (many.threads, one.threads) == (2, 1)
    ids = np.random.default_rng(2).integers(0, 31, (30, 9))
    logits = [many.step(row).copy() for row in ids]
    for stream in (0, 5, 6, 8):
        one.reset()
        for row, expected in zip(ids, logits, strict=True):
            assert (one.step(row[stream : stream + 1])[0] == expected[stream]).all()


# a state that lies between two steps of int8's may be rounded to either; a step is 6e-5 or 8e-3
NEAR = {"float32": 1e-5, "float16": 2e-5, "int8": 2e-4, "int8 states": 0.03}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_stored_forms_round_as_numpys(cell: str, form: str) -> None:
    config, weights = prepared(cell, 3, True)
    exact = Engine(config, Weights.prepare(config, weights).quantized(**FORMS[form]))
    fast = CompiledEngine(config, weights, **FORMS[form])
    full = Engine(config, weights)
    furthest = 0.0
    for ids in np.random.default_rng(1).integers(0, 31, (300, 1)):
        logits = fast.step(ids)
        assert np.abs(logits - exact.step(ids)).max() < NEAR[form]
        furthest = max(furthest, float(np.abs(logits - full.step(ids)).max()))
    assert furthest < {"float32": 1e-5, "float16": 0.02}.get(form, 0.3)


@pytest.mark.parametrize("byte_products", [True, False])
@pytest.mark.parametrize("form", ["int8", "int8 states"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_a_step_from_rounded_states_is_numpys(
    cell: str, form: str, byte_products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one layer nothing is rounded within a step, so no state can fall on either side."""
    multiplying_bytes(byte_products, monkeypatch)
    config, weights = prepared(cell, 1)
    exact = Engine(config, Weights.prepare(config, weights).quantized(**FORMS[form]), 7)
    fast = CompiledEngine(config, weights, 7, **FORMS[form])
    assert fast.packed.variant.bytes == (byte_products and form == "int8 states")
    for ids in np.random.default_rng(1).integers(0, 31, (100, 7)):
        fast.state = exact.state
        assert np.abs(fast.step(ids) - exact.step(ids)).max() < 1e-5


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_bytes_are_multiplied_as_int16_would_be(
    cell: str, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: the same seed gives the same text on processors with and without VNNI."""
    config, weights = prepared(cell, 3, True)
    engines = []
    for byte_products in (True, False):
        with monkeypatch.context() as patch:
            multiplying_bytes(byte_products, patch, lanes)
            engines.append(CompiledEngine(config, weights, 9, **FORMS["int8 states"]))
    with_bytes, without = engines
    for number, ids in enumerate(np.random.default_rng(1).integers(0, 31, (60, 9))):
        assert np.array_equal(with_bytes.step(ids), without.step(ids))
        if number % 20 == 10:
            for engine in engines:
                engine.reset(slice(2, 5))
    assert with_bytes._slot(0)[2].dtype == np.uint8
    assert without._slot(0)[2].dtype == np.int16


def multiplying_bytes(whether: bool, patch: pytest.MonkeyPatch, lanes: int = 0) -> None:
    """Have a processor that multiplies bytes, or one that does not."""
    here = machine_code.processor()
    if (whether and not here.byte_products) or lanes > here.lanes:
        pytest.skip("needs a processor with VNNI")
    other = dataclasses.replace(here, lanes=lanes or here.lanes, byte_products=whether)
    patch.setattr(machine_code, "processor", lambda: other)


def test_quantize() -> None:
    weight = np.array([[0.5, -1.27, 0.01], [0, 0, 0]], np.float32)
    stored, scale = quantize(weight)
    assert stored.tolist() == [[50, -127, 1], [0, 0, 0]]
    assert np.abs(stored * scale[:, None] - weight).max() <= 0.005


@pytest.mark.parametrize("top_k", [0, 1, 5, 30, 31, 99])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 1e-30, 0.0, 1e30])
def test_draws_are_those_of_sampling(top_k: int, temperature: float) -> None:
    config, weights = prepared("lstm", 1)
    rng = np.random.default_rng(3)
    fast, again = CompiledEngine(config, weights, 60), CompiledEngine(config, weights, 60)
    for top_p in (1.0, 0.9, 0.01):
        for min_p in (0.0, 0.05, 1.0):
            how = SampleConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
            ids, uniforms = rng.integers(0, 31, 60), rng.random((1, 60))
            again.state = fast.state
            drawn = fast.generate(ids, uniforms, how)[0]
            # a draw or a cut on the very edge may fall on either side
            assert (drawn != choose(again.step(ids), uniforms[0], how)).sum() <= 1


def test_equal_weights_keep_the_lowest_ids() -> None:
    config, _ = prepared("lstm", 1)
    flat = {name: np.zeros(shape, np.float32) for name, shape in config.shapes().items()}
    fast = CompiledEngine(config, flat, 200)
    ids, uniforms = np.zeros(200, int), np.arange(200)[None] / 200
    for how in (SampleConfig(top_k=4), SampleConfig(top_p=3.5 / 31)):
        assert set(fast.generate(ids, uniforms, how)[0]) == {0, 1, 2, 3}
    assert not fast.generate(ids, uniforms, SampleConfig(temperature=0)).any()


@pytest.mark.parametrize("cell", COMPILED)
def test_text_does_not_depend_on_the_count(cell: str) -> None:
    vocab = letters()
    config = ModelConfig(len(vocab), cell=cell, embedding=16, hidden=32)
    engine = open_engine(config, random_weights(config))
    assert isinstance(engine, CompiledEngine)

    def texts(count: int, **values: float) -> list[str]:
        how = SampleConfig(length=120, count=count, seed=4, **values)  # type: ignore[arg-type]
        return Generator(vocab, engine, how, prime="ab").texts()

    assert texts(300)[:8] == texts(8)
    assert texts(8)[:1] == texts(1)
    assert texts(7)[:3] == texts(3)
    assert texts(7, top_k=9, top_p=0.9)[:1] == texts(1, top_k=9, top_p=0.9)


def test_scores_agree() -> None:
    config, weights = prepared("lstm")
    ids = np.random.default_rng(6).integers(0, 31, 2000)
    slow = score(config, Engine(config, weights), ids)
    fast = score(config, CompiledEngine(config, weights), ids)
    assert abs(slow.nats_per_char - fast.nats_per_char) < 1e-6
    assert slow.chars == fast.chars == 1999


def test_bad_ids_are_refused() -> None:
    fast = CompiledEngine(*prepared("lstm"))
    for index in (-1, 31):
        with pytest.raises(IndexError):
            fast.step(np.array([index]))


def plain(cell: str) -> Variant:
    """What the kernel of a few streams in float32 is compiled for here."""
    here = machine_code.processor()
    return Variant(cell, False, "float32", here.lanes, here.x86)


def test_code_is_kept_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path))
    machine_code.load.cache_clear()
    machine_code.load(plain("lstm"))
    (kept,) = tmp_path.rglob("*.o")
    good = kept.read_bytes()
    for blob in (good[:-1], b"", b"\0" * len(good)):
        kept.write_bytes(blob)
        machine_code.load.cache_clear()
        machine_code.load(plain("lstm"))
        assert kept.read_bytes() == good
    with monkeypatch.context() as patch:
        patch.setattr(machine_code, "compile_module", None)
        machine_code.load.cache_clear()
        assert machine_code.load(plain("lstm")) is not None


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners on this system")
def test_code_that_others_can_have_written_is_not_run() -> None:
    config, weights = prepared("gru")
    open_engine(config, weights)
    machine_code.load.cache_clear()
    folder = Path(os.environ["CHARRNN_CACHE"]) / "kernels"
    kept = next(folder.glob("*.o"))
    assert machine_code._cached(kept)
    for mode in (0o770, 0o707):
        folder.chmod(mode)
        assert machine_code._cached(kept) is None
    folder.chmod(0o700)


def test_without_a_home_the_code_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise FileNotFoundError("no home")

    monkeypatch.setattr(machine_code, "cache_folder", homeless)
    machine_code.load.cache_clear()
    assert isinstance(open_engine(*prepared("gru")), CompiledEngine)


def test_where_no_thread_can_start_one_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    config, weights = prepared("lstm", hidden=512)
    wanted = CompiledEngine(config, weights, threads=2)
    assert wanted.threads == 2
    monkeypatch.setattr("_thread.start_new_thread", refuse)
    alone = CompiledEngine(config, weights, threads=2)
    ids = np.array([3])
    assert np.array_equal(alone.step(ids), wanted.step(ids))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "file"))
    machine_code.load.cache_clear()
    assert machine_code.load(plain("rnn-relu")) is not None


def test_without_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "charrnn.generation.compiled.engine", None)
    config, weights = prepared("lstm")
    assert isinstance(open_engine(config, weights, weight_dtype="int8"), Engine)
    with pytest.raises(ConfigError):
        open_engine(config, weights, weight_dtype="int4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="state_dtype"):
        open_engine(config, weights, weight_dtype="int8", state_dtype="int4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs int8 weights"):
        open_engine(config, weights, state_dtype="int8")
    with pytest.raises(ConfigError, match="needs a cell whose states are bounded"):
        open_engine(*prepared("irnn"), weight_dtype="int8", state_dtype="int8")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("lanes", "x86"), [(4, True), (4, False), (8, True), (8, False)])
def test_narrower_and_other_processors(
    lanes: int, x86: bool, cell: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made for processors with shorter vectors or none of x86's instructions."""
    here = machine_code.processor()
    if not here.x86 or lanes > here.lanes:
        pytest.skip(f"needs an x86 processor with vectors of {lanes} floats")
    other = dataclasses.replace(here, lanes=lanes, x86=x86, byte_products=False)
    monkeypatch.setattr(machine_code, "processor", lambda: other)
    monkeypatch.setattr(machine_code, "load", machine_code.load.__wrapped__)
    config, weights = prepared(cell, 2, True)
    exact = Engine(config, Weights.prepare(config, weights).quantized(**FORMS[form]), 8)
    fast = CompiledEngine(config, weights, 8, **FORMS[form], threads=2)
    for ids in np.random.default_rng(3).integers(0, 31, (20, 8)):
        assert np.abs(fast.step(ids) - exact.step(ids)).max() < NEAR[form]


@pytest.mark.parametrize("form", FORMS)
def test_the_plainest_processors_of_all(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """x86-64 and nothing more: code that reads float16 would end the process there."""
    if not machine_code.processor().x86:
        pytest.skip("needs an x86 processor")
    plainest = machine_code.Processor("x86-64", "", 4, x86=True, half=False)
    monkeypatch.setattr(machine_code, "processor", lambda: plainest)
    monkeypatch.setattr(machine_code, "load", machine_code.load.__wrapped__)
    config, weights = prepared("lstm", 2, True)
    exact = Engine(config, Weights.prepare(config, weights).quantized(**FORMS[form]))
    found = open_engine(config, weights, **FORMS[form])
    assert isinstance(found, Engine if form == "float16" else CompiledEngine)
    for id in np.random.default_rng(3).integers(0, 31, (20, 1)):
        assert np.abs(found.step(id) - exact.step(id)).max() < NEAR[form]


@pytest.mark.parametrize("hidden", [1, 31, 1024, 1025, 4096, 65536])
def test_whole_sums_cannot_overflow(hidden: int) -> None:
    assert 127 * state_scale(hidden) * hidden < 2**31
    assert 127 * 255 * hidden < 2**31  # bytes


@pytest.mark.parametrize("form", ["int8", "int8 states"])
def test_states_at_their_limits_are_summed_right(form: str) -> None:
    """All units open and at 1, all weights at their largest: the largest sum that there can be."""
    H = 1024
    config = ModelConfig(3, embedding=4, hidden=H, layers=1, sum_layers=False)
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.shapes().items()}
    weights["layers.0.weight_hh"][:H] = -1.0  # the input gate hears the sum, and a bias above it
    weights["layers.0.bias_ih"][:H] = H - 1
    weights["layers.0.bias_ih"][H:] = 30
    weights["head.weight"][:] = 1 / H
    exact = Engine(config, Weights.prepare(config, weights).quantized(**FORMS[form]))
    fast = CompiledEngine(config, weights, **FORMS[form])
    for _ in range(5):
        found, wanted = fast.step(np.zeros(1, int)), exact.step(np.zeros(1, int))
        assert np.abs(found - wanted).max() < 1e-4
    assert fast.state[0][0].min() > 0.99


def test_the_compiled_engine_needs_llvmlite() -> None:
    program = """
import sys
sys.modules["llvmlite"] = None
import numpy as np
from charrnn.config import ModelConfig
from charrnn.generation.factory import open_engine
from tests.support.networks import random_weights
config = ModelConfig(9, hidden=16)
print(type(open_engine(config, random_weights(config))).__name__)
"""
    root = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.stdout == "Engine\n", done.stderr
