"""The engine of the web page computes what NumPy's does, and writes what ``sample`` writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import cells
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.export.page import CELLS
from charrnn.generation.draw import choose
from charrnn.generation.numpy_engine import Engine, Weights
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.symbols import NAMED, SymbolTable
from charrnn.text.vocab import Vocab
from tests.export.pages import in_node
from tests.support.checkpoints import META, ROOT, tiny
from tests.support.networks import letters, random_weights

LINES = META | {"corpus": META["corpus"] | {"lines": True, "records": True}}
NAMES = [name for name in cells.names() if cells.get(name).name in CELLS]


def network(
    cell: str = "lstm",
    *,
    vocab: Vocab | None = None,
    meta: Any = META,
    lively: bool = False,
    **sizes: Any,
) -> Checkpoint:
    """A network of odd sizes with random weights; a ``lively`` one does not soon repeat itself."""
    vocab = vocab or letters()
    given = {"embedding": 7, "hidden": 18, "layers": 3, **sizes}
    config = ModelConfig(len(vocab), cell, **given)
    weights = random_weights(config, seed=1)
    if lively:
        weights = {n: 3 * w if n.startswith("layers") else w for n, w in weights.items()}
    return Checkpoint(config, vocab, weights, meta)


def oracle(checkpoint: Checkpoint, ids: list[int], state_dtype: Any = "int16") -> Any:
    """NumPy's logits ``(T, V)`` with recurrent weights in int8."""
    weights = Weights.prepare(checkpoint.config, checkpoint.weights).quantized("int8", state_dtype)
    engine = Engine(checkpoint.config, weights)
    return np.concatenate([engine.step(np.array([index])) for index in ids])


def some_ids(checkpoint: Checkpoint, count: int = 12) -> list[int]:
    """A few ids: in a long text, a state between two roundings is one day rounded otherwise."""
    ids: list[int] = np.random.default_rng(3).integers(len(checkpoint.vocab), size=count).tolist()
    return ids


@pytest.mark.parametrize("sizes", [{}, {"sum_layers": True, "layers": 2}, {"layers": 1}], ids=str)
@pytest.mark.parametrize("cell", NAMES)
def test_logits_are_those_of_numpy(cell: str, sizes: dict[str, Any]) -> None:
    checkpoint = network(cell, **sizes)
    ids = some_ids(checkpoint)
    found = in_node(charrnn.TextModel(checkpoint), {"logits": ids})
    np.testing.assert_allclose(found, oracle(checkpoint, ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize("stored", ["int8", "float16"])
@pytest.mark.parametrize("cell", ["lstm", "rnn-relu"])
def test_logits_of_a_file_are_those_of_its_own_weights(cell: str, stored: Any) -> None:
    network(cell).save("model.safetensors", weight_dtype=stored)
    model = charrnn.load("model.safetensors")
    ids = some_ids(model.checkpoint)
    found = in_node(model, {"logits": ids})
    np.testing.assert_allclose(found, oracle(model.checkpoint, ids), atol=1e-4, rtol=0)


def test_logits_of_lines_have_states_of_eight_bits() -> None:
    checkpoint = network(meta=LINES)
    ids = some_ids(checkpoint)
    found = in_node(charrnn.TextModel(checkpoint), {"logits": ids})
    np.testing.assert_allclose(found, oracle(checkpoint, ids, "int8"), atol=1e-4, rtol=0)
    assert np.abs(found - oracle(checkpoint, ids)).max() > 1e-3  # or this would prove nothing


@pytest.mark.parametrize("hidden", [1, 16, 17, 33])
def test_vectors_give_the_same_numbers(hidden: int) -> None:
    model = charrnn.TextModel(network("gru", hidden=hidden))
    ids = some_ids(model.checkpoint)
    assert in_node(model, {"vectors": None})  # or this would prove nothing
    assert in_node(model, {"logits": ids}) == in_node(model, {"scalars": ids})


def test_the_engine_knows_the_cells_that_the_page_accepts() -> None:
    assert in_node(charrnn.TextModel(tiny()), {"cells": None}) == list(CELLS)


BYTES = Vocab(tuple(range(0x20, 0x100)), tuple(range(1, 0xE1)), is_bytes=True)
SYMBOLS = Vocab((10, 32, 65, 66), (1, 2, 3, 4, 5, 6), long=("CC", "Ω\u2028"), expression="CC|Ω.")


@pytest.mark.parametrize("prime", ["", "to be ", "a\nb"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "irnn"])
def test_the_likeliest_text_is_that_of_sample(cell: str, prime: str) -> None:
    model = charrnn.TextModel(network(cell, lively=cell != "irnn"))
    asked = {"prime": prime, "temperature": 0, "length": 200, "seed": 1}
    assert in_node(model, {"write": asked}) == model.sample(prime, temperature=0, length=200)


@pytest.mark.parametrize("vocab", [BYTES, SYMBOLS], ids=["bytes", "symbols"])
def test_bytes_and_longer_symbols_become_the_same_text(vocab: Vocab) -> None:
    model = charrnn.TextModel(network(vocab=vocab, lively=True))
    asked = {"prime": "", "temperature": 0, "length": 200, "seed": 1}
    text = in_node(model, {"write": asked})
    assert text == model.sample(temperature=0, length=200)
    assert len(set(text)) > 1


def test_bytes_are_decoded_as_by_sample() -> None:
    vocab = Vocab(tuple(range(256)), (1,) * 256, is_bytes=True)
    rng = np.random.default_rng(2)
    ids = [
        *b"\xef\xbb\xbfa\xf0\x9f\x98\x80\xf0\x9f\x98\xc3",
        *rng.integers(256, size=3000).tolist(),
    ]
    found = in_node(charrnn.TextModel(network(vocab=vocab)), {"decoded": ids})
    assert found == vocab.decode(ids)


def test_a_beginning_of_bytes_is_utf_8() -> None:
    model = charrnn.TextModel(network(vocab=BYTES, lively=True))
    asked = {"prime": "Größe", "temperature": 0, "length": 100, "seed": 1}
    assert in_node(model, {"write": asked}) == model.sample("Größe", temperature=0, length=100)


@pytest.mark.parametrize("prime", ["", "ab", "of before\nab"])
def test_lines_are_those_of_sample(prime: str) -> None:
    model = charrnn.TextModel(network(meta=LINES, lively=True))
    asked = {"prime": prime, "temperature": 0, "length": 2, "seed": 1}
    line = model.sample(prime, temperature=0)
    beginning = prime.rpartition("\n")[2]  # which the page shows before the first line
    assert in_node(model, {"write": asked}) == f"{line}\n{beginning}{line}\n"


@pytest.mark.parametrize(("vocab", "prime", "said"), [
    (letters(), "an é", "does not know the character “é” (U+00E9)"),
    (letters(), "a😀", "does not know the character “😀” (U+1F600)"),
    (BYTES, "a\n", "does not know line breaks: remove them."),
    (BYTES, "a\t", "does not know the character “\t” (U+0009): remove it."),
    (Vocab((0x61, 0xC3), (1, 1), is_bytes=True), "aé", "the character “é” (U+00E9): remove it."),
    (SYMBOLS, "CCC", "does not know the character “C” (U+0043)"),
])  # fmt: skip
def test_a_beginning_that_cannot_be_read_is_refused(vocab: Vocab, prime: str, said: str) -> None:
    asked = {"prime": prime, "temperature": 0, "length": 5, "seed": 1}
    answer = in_node(charrnn.TextModel(network(vocab=vocab)), {"write": asked})
    assert said in answer["error"]


@pytest.mark.parametrize("expression", [
    *NAMED.values(), "a+?b|[ab]{2,3}", "(?i)AB*|é.", r"\w{3,}", ".{2}", "(?:ab|a|bc)+?c",
])  # fmt: skip
def test_a_beginning_is_cut_into_the_symbols_of_training(expression: str) -> None:
    rng = np.random.default_rng(11)
    characters = list("abcAB[]@Hl19%()^,'/zéß_ \n")
    texts = ["".join(rng.choice(characters, size)) for size in [1, 2, 9, 40, 300] * 4]
    texts.append("a" * 200)
    split = SymbolTable(expression, (), 0).split
    long = sorted({symbol for text in texts for symbol in split(text) if len(symbol) > 1})[::2]
    codes = sorted(map(ord, characters))
    counts = (1,) * (len(codes) + len(long))
    vocab = Vocab(tuple(codes), counts, long=tuple(long), expression=expression)
    found = in_node(charrnn.TextModel(network(vocab=vocab)), {"encoded": texts})
    assert found == [vocab.encode(text).tolist() for text in texts]
    assert max(index for ids in found for index in ids) >= len(codes)  # or it would prove nothing


def test_the_bundled_network_writes_what_sample_writes() -> None:
    model = charrnn.load(ROOT / "checkpoints/war-and-peace")
    asked = {"prime": "Prince Andrew ", "temperature": 0, "length": 60, "seed": 1}
    assert in_node(model, {"write": asked}) == model.sample(
        "Prince Andrew ", temperature=0, length=60
    )


@pytest.mark.parametrize("temperature", [0, 0.5, 1, 1e-9, 1e9])
def test_a_draw_is_that_of_numpy(temperature: float) -> None:
    rng = np.random.default_rng(5)
    logits = (3 * rng.standard_normal(40)).astype(np.float32)
    logits[7] = logits[30] = logits.max() + 1  # the first of two
    uniforms = [0.0, *rng.random(200).tolist(), 1 - 2**-53]
    asked = {"logits": logits.tolist(), "temperature": temperature, "uniforms": uniforms}
    config = SampleConfig(temperature=temperature)
    wanted = choose(np.tile(logits, (len(uniforms), 1)), uniforms, config)
    assert in_node(charrnn.TextModel(tiny()), {"draws": asked}) == wanted.tolist()


def xoshiro(seed: int, count: int) -> list[float]:
    """xoshiro128** as published, with the page's way from a seed to its state."""
    mask, mixed, rest = 0xFFFFFFFF, seed & 0xFFFFFFFF, seed >> 32

    def turned(x: int, k: int) -> int:
        return (x << k | x >> (32 - k)) & mask

    state = []
    for _ in range(4):
        mixed = (mixed + 0x9E3779B9) & mask
        z = mixed ^ rest
        z = ((z ^ z >> 16) * 0x21F0AAAD) & mask
        z = ((z ^ z >> 15) * 0x735A2D97) & mask
        state.append(z ^ z >> 15)

    def bits() -> int:
        a, b, c, d = state
        result = turned(b * 5 & mask, 7) * 9 & mask
        c, d = c ^ a, d ^ b
        state[:] = a ^ d, b ^ c, c ^ (b << 9 & mask), turned(d, 11)
        return result

    return [((bits() >> 5) * 2**26 + (bits() >> 6)) / 2**53 for _ in range(count)]


@pytest.mark.parametrize("seed", [0, 1, 123456, 2**32 + 1, 2**53 - 1])
def test_a_seed_decides_chance(seed: int) -> None:
    found = in_node(charrnn.TextModel(tiny()), {"uniforms": {"seed": seed, "count": 1000}})
    assert found == xoshiro(seed, 1000)
    assert 0.45 < np.mean(found) < 0.55
    assert 0 <= min(found) < 0.01 < 0.99 < max(found) < 1


def test_the_same_seed_writes_the_same_text() -> None:
    model = charrnn.TextModel(tiny())
    asked = {"prime": "", "temperature": 1, "length": 100, "seed": 7}
    text = in_node(model, {"write": asked})
    assert text == in_node(model, {"write": asked})
    assert text != in_node(model, {"write": asked | {"seed": 8}})
    assert set(text) <= set(model.vocab.symbols())


def test_half_precision_and_rounding_are_numpy_s() -> None:
    model = charrnn.TextModel(tiny())
    every = np.arange(1 << 16, dtype=np.uint16)
    found = np.array(in_node(model, {"halves": every.tolist()}), dtype=float)
    np.testing.assert_array_equal(found, every.view(np.float16).astype(float))
    numbers = [*np.arange(-5, 5, 0.25).tolist(), 16383.5, -16382.5, 0.49999997]
    assert in_node(model, {"rounded": numbers}) == np.rint(numbers).tolist()


def test_characters_are_counted_that_JavaScript_keeps_in_two_parts() -> None:
    model = charrnn.TextModel(network(vocab=letters("😀𝔸ab")))
    asked = {"prime": "", "temperature": 2, "length": 50, "seed": 1}
    *pieces, last = in_node(
        model, {"served": [{"after": 1, "message": {"run": 1, "write": asked}}]}
    )
    text = "".join(answer.get("piece", "") for answer in pieces)
    assert any(character in text for character in "😀𝔸")
    assert (len(text), last["count"]) == (50, 50)


def test_a_text_can_be_stopped_and_replaced_by_another() -> None:
    endless = {"prime": "ab", "temperature": 1, "length": 0, "seed": 1}
    short = endless | {"length": 20, "seed": 2}
    model = charrnn.TextModel(tiny())
    answers = in_node(model, {"served": [
        {"after": 1, "message": {"run": 1, "write": endless}},
        {"after": 3, "message": {"stop": True}},
        {"after": 4, "message": {"run": 2, "write": endless | {"prime": "é"}}},
        {"after": 5, "message": {"run": 3, "write": endless}},
        {"after": 6, "message": {"run": 4, "write": short}},
    ]})  # fmt: skip
    assert answers.pop(0) == {"ready": True}
    [stopped, unreadable, last] = [answer for answer in answers if answer.get("end")]
    assert (stopped["run"], stopped["stopped"]) == (1, True)
    pieces = [answer for answer in answers if "piece" in answer]
    assert stopped["count"] == sum(len(a["piece"]) for a in pieces if a["run"] == 1)
    assert (unreadable["run"], unreadable["count"]) == (2, 0)
    assert "“é”" in unreadable["error"]
    assert (last["run"], last["count"], answers[-1]) == (4, 20, last)
    assert "".join(a["piece"] for a in pieces if a["run"] == 4) == in_node(model, {"write": short})
    assert any(answer["run"] == 3 for answer in answers)
