"""Layers on AMX tiles against VNNI's; where the processor has no tiles, they are imitated."""

from __future__ import annotations

import collections
import dataclasses
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import get_ident
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="numba is not installed")

from llvmlite import binding as llvm
from llvmlite import ir

from charrnn import amx
from charrnn.config import ModelConfig, StateDtype
from charrnn.generation.compiled import engine as accelerated
from charrnn.generation.compiled import kernels, machine_code, tiles
from charrnn.generation.compiled.codegen import I64, PTR, Writer
from charrnn.generation.compiled.engine import CompiledEngine
from charrnn.generation.compiled.layout import Variant, aligned, tile_bytes
from charrnn.generation.compiled.packing import Packed
from charrnn.generation.generator import Generator
from charrnn.generation.sample_config import SampleConfig
from tests.support import tiles_in_memory
from tests.support.networks import letters, model, random_weights

Tiled = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def tiled() -> Iterator[Tiled]:
    """A context in which engines run on tiles; then no instruction was at fault."""
    here = machine_code.processor()
    if not (here.byte_products and here.lanes == 16):
        pytest.skip("needs a processor with AVX-512 and VNNI")
    if here.byte_tiles and amx.permitted():
        yield nullcontext
        return
    before = tiles_in_memory.done["dot"]
    yield tiles_in_memory.in_sampling
    assert not tiles_in_memory.faults
    assert tiles_in_memory.done["dot"] > before


@contextmanager
def without_tiles() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amx, "permitted", lambda: False)
        yield


def engines(
    tiled: Tiled, config: ModelConfig, streams: int, threads: int = 1
) -> tuple[CompiledEngine, CompiledEngine]:
    """An engine with tiles, and one without."""
    weights = random_weights(config)
    packed = Packed.prepare(config, weights, "int8", "int8")
    with tiled():
        with_tiles = CompiledEngine(config, packed, streams, threads=threads)
    with without_tiles():
        without = CompiledEngine(config, packed, streams)
    assert (with_tiles.products, without.products) == ("amx", "vnni")
    return with_tiles, without


def same_steps(with_tiles: CompiledEngine, without: CompiledEngine, steps: int = 3) -> None:
    """Both step from random states through the same characters, to the same last bit."""
    config, streams = with_tiles.config, with_tiles.streams
    rng = np.random.default_rng(streams)
    state = tuple(
        tuple(rng.uniform(-1, 1, part.shape).astype(np.float32) for part in layer)
        for layer in without.state
    )
    with_tiles.state = without.state = state
    for ids in rng.integers(0, config.vocab_size, (steps, streams)):
        assert np.array_equal(with_tiles.step(ids), without.step(ids))
    for mine, other in zip(with_tiles.state, without.state, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize(
    ("cell", "hidden", "streams"),
    [
        ("lstm", 64, 16), ("lstm", 33, 33), ("lstm", 150, 17), ("gru", 96, 48), ("gru", 90, 97),
        ("elman", 20, 31), ("elman", 32, 100), ("elman", 1056, 40),
    ],
)  # fmt: skip
def test_a_step_on_tiles_is_vnnis(cell: str, hidden: int, streams: int, tiled: Tiled) -> None:
    """To the last bit, whether or not streams fill tiles and inputs are a multiple of 64."""
    config = model(cell, 31, embedding=24, hidden=hidden, layers=2)
    same_steps(*engines(tiled, config, streams), steps=2)


@pytest.mark.long
@pytest.mark.parametrize("streams", [16, 47, 256])
@pytest.mark.parametrize(
    ("cell", "layers", "hidden"), [("lstm", 3, 512), ("lstm", 2, 352), ("gru", 2, 544)]
)
def test_steps_of_large_networks_are_vnnis(
    cell: str, layers: int, hidden: int, streams: int, tiled: Tiled
) -> None:
    config = model(cell, 100, embedding=64, hidden=hidden, layers=layers)
    same_steps(*engines(tiled, config, streams, threads=2))


def test_the_same_seed_writes_the_same_text(tiled: Tiled) -> None:
    """Also while streams take up the next of more samples than there are streams."""
    vocab = letters()
    config = ModelConfig(len(vocab), embedding=16, hidden=48)
    packed = Packed.prepare(config, random_weights(config), "int8", "int8")
    how = SampleConfig(length=12, count=300, seed=4, top_k=9, top_p=0.95)
    found = []
    for context in (tiled, without_tiles):
        with context():
            found.append(Generator(vocab, CompiledEngine(config, packed), how, prime="ab").texts())
    assert found[0] == found[1]
    assert len({*found[0]}) > 250


def test_each_thread_configures_and_releases_tiles(
    tiled: Tiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerated, "THREAD_BYTES", 0)
    tiles_in_memory.users.clear()
    with_tiles, without = engines(tiled, model("lstm", 31, embedding=24, hidden=128), 20, threads=2)
    assert (with_tiles.threads, without.threads) == (2, 1)
    for _ in range(20):  # a helper that starts late misses the first stages
        same_steps(with_tiles, without)
        if tiled is nullcontext or len(tiles_in_memory.users) > 1:
            break
    else:
        pytest.fail("no helper ever used tiles")


def test_nothing_but_weights_and_states_is_read(tiled: Tiled) -> None:
    """Also where the last tile reaches beyond the last stream, which reads memory of the slot."""
    if tiled is nullcontext:
        pytest.skip("needs imitated instructions, which note what they read")
    for streams in (16, 17, 31, 49):
        tiles_in_memory.reads.clear()
        engine, other = engines(tiled, model("gru", 31, embedding=24, hidden=60), streams)
        same_steps(engine, other)
        owned: list[NDArray[Any]] = [*engine._slots]
        for layer in engine.packed.layers:
            owned += [part for m in (layer.x, layer.h) for part in (m.weights, m.first)]
        ranges = [(a.ctypes.data, a.ctypes.data + a.nbytes) for a in owned]
        # a helper of an engine that is gone may still be reading that one's memory
        mine = [read for thread, *read in tiles_in_memory.reads if thread == get_ident()]
        assert mine
        for first, end in mine:
            assert any(low <= first and end <= high for low, high in ranges)


@pytest.mark.parametrize(
    ("streams", "weight_dtype", "state_dtype", "lanes", "byte_tiles", "products"),
    [
        (16, "int8", "int8", 16, True, "amx"), (15, "int8", "int8", 16, True, "vnni"),
        (16, "int8", "int8", 8, True, "vnni"), (16, "int8", "int8", 16, False, "vnni"),
        (64, "int8", "int16", 16, True, "vectors"), (64, "float32", "int16", 16, True, "vectors"),
    ],
)  # fmt: skip
def test_linux_is_asked_for_tiles_only_where_they_are_used(
    streams: int, weight_dtype: str, state_dtype: StateDtype, lanes: int, byte_tiles: bool,
    products: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    here = dataclasses.replace(
        machine_code.processor(), lanes=lanes, byte_products=True, byte_tiles=byte_tiles
    )
    monkeypatch.setattr(machine_code, "processor", lambda: here)
    config = model("lstm", 31, embedding=24, hidden=32)
    packed = Packed.prepare(config, random_weights(config), weight_dtype, state_dtype)
    for answer in (True, False):
        ask = Mock(return_value=answer)
        monkeypatch.setattr(amx, "permitted", ask)
        variant = accelerated._variant(packed, streams)
        assert variant.products == (products if answer or products != "amx" else "vnni")
        assert ask.called == (products == "amx")


@pytest.mark.parametrize("gates", [1, 3, 4])
@pytest.mark.parametrize(("streams", "hidden"), [(1, 32), (16, 160), (17, 352), (32, 1024)])
def test_sums_are_exact(gates: int, streams: int, hidden: int, tiled: Tiled) -> None:
    """The int32 sums of bytes times int8 of every size, on the edges too."""
    rng = np.random.default_rng(hidden)
    states = aligned((streams + 15, hidden), np.uint8)
    states[...] = rng.integers(0, 256, states.shape)
    weights = aligned((gates, 16, hidden), np.int8)
    weights[...] = rng.integers(-128, 128, weights.shape)
    states[0], weights[0, 0], weights[-1, 1] = 255, 127, -128
    first = aligned((gates, 16), np.int32)
    first[...] = rng.integers(-(1 << 20), 1 << 20, first.shape)
    packed = aligned((hidden // 4, gates, 16, 4), np.int8)
    packed[...] = weights.reshape(gates, 16, -1, 4).transpose(2, 0, 1, 3)
    out = aligned((32, gates, 16), np.int32)
    with tiled():
        run = sums_function(gates, tile_bytes(hidden), blocks=-(-streams // 16))
    table = aligned((6,), np.int64)
    addresses = [array.ctypes.data for array in (states, packed, first, out)]
    table[:] = [*addresses, hidden, hidden // tile_bytes(hidden)]
    run(table.ctypes.data, 0)
    wanted = np.einsum("sk,gck->sgc", states[:streams].astype(int), weights.astype(int)) + first
    assert np.array_equal(out[:streams], wanted)


def sums_function(gates: int, size: int, blocks: int) -> machine_code.Run:
    """``run(table, _)``, which makes the sums of a cell with so many gates."""
    cell = {1: "elman", 3: "gru", 4: "lstm"}[gates]
    variant = Variant(cell, False, "int8", 16, True, True, "int8", True, size)
    module = ir.Module("sums")
    w = Writer(module, "run", [PTR, I64], 16, public=True)
    states, packed, first, out, *numbers = (w.read(w.arguments[0], w.i64(i), I64) for i in range(6))
    states, packed, first, out = (w.b.inttoptr(a, PTR) for a in (states, packed, first, out))
    hidden, depth = numbers
    product = tiles.Product(range(gates), states, hidden, depth, packed, first, packed, out)
    with tiles.configured(w, variant):
        tiles.write_sums(w, variant, product, w.i64(0), blocks, w.i64(0), lambda: None)
    w.end()
    return machine_code.link(machine_code.compile_module(str(module)), "run")[0]


def test_the_code_for_a_processor_with_tiles_has_their_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it cannot run, LLVM must at least be able to make it."""
    if platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 processor: LLVM here compiles for no other")
    features = "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512vnni,+fma,+amx-tile,+amx-int8"
    there = machine_code.Processor("sapphirerapids", features, 16, True, True, True, True)
    machine_code.processor()  # which makes LLVM ready
    monkeypatch.setattr(machine_code, "processor", lambda: there)
    variant = Variant("gru", True, "int8", 16, True, True, "int8", True, tile_bytes(512))
    parsed = llvm.parse_assembly(str(kernels.build(variant)))
    code = machine_code._target_machine().emit_assembly(parsed)
    found = collections.Counter(re.findall(r"\b(tdpbusd|tile\w+|ldtilecfg|vpdpbusd)\b", code))
    # of three gates, two at once and one, for two tiles of streams or one, and of two matrices
    assert found["tdpbusd"] == 2 * (4 + 2 + 2 + 1)
    assert (found["ldtilecfg"], found["tilerelease"], found["vpdpbusd"]) == (1, 1, 0)
