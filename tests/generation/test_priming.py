"""A sample starts from the zero state or a prime; characters outside the vocabulary are named."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from charrnn.cli.app import main
from charrnn.config import ModelConfig
from charrnn.errors import UnknownCharacterError
from charrnn.generation.generator import first_id
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.sample_config import SampleConfig
from charrnn.text.vocab import Vocab
from charrnn.textmodel import TextModel, load
from tests.support.checkpoints import META, charrnn, environment, tiny
from tests.support.networks import letters

SAMPLE = ["sample", "model", "--seed", "1", "--length", "60"]


class Left(NamedTuple):
    code: int
    out: bytes
    err: str


Call = Callable[..., Left]


@pytest.fixture(autouse=True)
def a_model(bare_environment: None) -> None:
    tiny().save(Path("model"))


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Call:
    """``charrnn args`` in this process, with ``stdin`` to read."""

    def run(*args: str, stdin: bytes = b"") -> Left:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            main(list(args))
        out, err = capfdbinary.readouterr()
        return Left(int(left.value.code or 0), out, err.decode())

    return run


def keep(vocab: Vocab) -> None:
    """A model with that vocabulary."""
    tiny(vocab).save(Path("model"))


# --- without a prime


@pytest.mark.parametrize("accelerated", [True, False])
def test_the_default_starts_from_the_zero_state(
    accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not accelerated:
        monkeypatch.setitem(sys.modules, "charrnn.generation.compiled.engine", None)
    model = tiny()
    engine = Engine(model.config, model.weights)
    assert not any(part.any() for layer in engine.state for part in layer)
    last = np.array([model.vocab.id_of("\n")])
    wanted = []
    for _ in range(40):
        last = engine.step(last).argmax(axis=-1)
        wanted.append(int(last[0]))
    text = TextModel(model, weight_dtype="float32").sample(temperature=0, length=40)
    assert text == model.vocab.decode(wanted)


def test_a_sample_does_not_depend_on_the_one_before() -> None:
    model = load("model")
    first = model.sample(seed=1, length=50)
    model.sample("the quick brown fox", seed=2, length=50)
    assert model.sample(seed=1, length=50) == first


def test_no_prime_in_every_way(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty").touch()
    wanted = call(*SAMPLE)
    assert (wanted.code, len(wanted.out)) == (0, 60)
    ways = (["--prime", ""], ["--prime="], ["--prime", "-"], ["--prime-file", "empty"])
    for way in (*ways, ["--prime-file", "/dev/null"], ["--prime", "", "--prime-file", "empty"]):
        assert call(*SAMPLE, *way) == wanted, way
    monkeypatch.setenv("CHARRNN_PRIME", "")
    assert call(*SAMPLE) == wanted


def test_standard_input_is_read_for_a_dash_alone(call: Call) -> None:
    wanted = call(*SAMPLE)
    assert call(*SAMPLE, stdin=b"the quick") == wanted
    assert call(*SAMPLE, "--prime", "-", stdin=b"the quick") != wanted


def test_vocabularies_without_a_line_end_or_a_space(call: Call) -> None:
    for text in ("abbc", "a", "éßπ", "\t\x00"):
        vocab = letters(text)
        assert vocab.codes[first_id(vocab)] == ord(max(sorted(text), key=text.count))
        keep(vocab)
        left = call(*SAMPLE)
        assert (left.code, len(left.out.decode())) == (0, 60)
        assert set(left.out.decode()) <= set(text)
        left = call(*SAMPLE, "--prime", text[0] + " ")
        assert (left.code, left.out) == (2, b"")
        assert "' ' (U+0020) at position 1 " in left.err


# --- with one


@pytest.mark.parametrize("prime", ["the ", "\n", "q", "a\n\nb", "the quick brown fox. " * 400])
def test_a_prime_from_everywhere_is_the_same(call: Call, prime: str) -> None:
    raw = prime.encode()
    Path("prime").write_bytes(raw)
    wanted = call(*SAMPLE, "--prime", prime)
    assert wanted.code == 0
    assert wanted.out.startswith(raw)
    assert len(wanted.out) == len(raw) + 60
    assert call(*SAMPLE, "--prime-file", "prime") == wanted
    assert call(*SAMPLE, "--prime", "-", stdin=raw) == wanted


def test_a_prime_is_read_from_a_pipe_and_from_a_fifo() -> None:
    wanted = charrnn(*SAMPLE, "--prime", "the end\n").stdout
    done = charrnn(*SAMPLE, "--prime", "-", input=b"the end\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, wanted, b"")
    os.mkfifo("fifo")
    command = f'echo the end >fifo & exec "{sys.executable}" -m charrnn "$@"'
    args = ["bash", "-c", command, "x", *SAMPLE, "--prime-file", "fifo"]
    done = subprocess.run(args, env=environment(), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, wanted), done.stderr


def test_a_prime_goes_before_every_sample(call: Call) -> None:
    texts = call(*SAMPLE, "--prime", "the ", "--count", "3").out.split(b"\n\nthe ")
    assert len(texts) >= 3
    rows = call(*SAMPLE, "--prime", "the ", "--count", "3", "--json").out.splitlines()
    alone = [json.loads(row)["text"].encode() for row in rows]
    assert b"the " + b"\n\nthe ".join(alone) == b"\n\nthe ".join(texts)
    for line in call(*SAMPLE, "--prime", "the ", "--count", "3", "--lines").out.splitlines():
        assert line.startswith(b"the ")


def test_a_prime_changes_the_sample() -> None:
    model = tiny()
    strong = {
        name: value * 6 if "weight" in name else value for name, value in model.weights.items()
    }
    writer = TextModel(dataclasses.replace(model, weights=strong), weight_dtype="float32")
    long = "the quick brown fox jumps over the lazy dog. " * 50  # more than is fed at once
    primes = ("", "a", "b", "the ab", long)
    assert len({writer.sample(prime, seed=1, length=50) for prime in primes}) == len(primes)
    begun = writer.sample(long, temperature=0, length=50)
    assert writer.sample(long + begun[:7], temperature=0, length=43) == begun[7:]


def test_two_primes_are_refused(call: Call) -> None:
    Path("prime").write_text("a")
    left = call(*SAMPLE, "--prime", "a", "--prime-file", "prime")
    assert (left.code, left.out, left.err.count("\n")) == (2, b"", 1)


# --- characters that the vocabulary lacks


UNKNOWN: dict[str, tuple[int | str, str]] = {
    "€": (0, "'€' (U+20AC)"),
    "the end of 5": (11, "'5' (U+0035)"),
    "ab\x1b[2J": (2, "'\\x1b' (U+001B)"),
    "a\r\n": ("1 (line 1, column 2)", "'\\r' (U+000D)"),
    "a\ufeffthe": (1, "'\\ufeff' (U+FEFF)"),
    "a\u202eb": (1, "'\\u202e' (U+202E)"),
    "ab\U0001f600": (2, "'\U0001f600' (U+1F600)"),
    "a\u0301": (1, "'\u0301' (U+0301)"),
    "x" * 20_000 + "É€": (20_000, "'É' (U+00C9)"),
    "a'b": (1, '"\'" (U+0027)'),
}


@pytest.mark.parametrize("prime", UNKNOWN, ids=ascii)
def test_an_unknown_character_is_named_with_its_place(call: Call, prime: str) -> None:
    place, shown = UNKNOWN[prime]
    Path("prime").write_bytes(prime.encode())
    message = (
        f"character {shown} at position {place} is not in the vocabulary of 30 characters; "
        "set --unknown"
    )
    for name, args in (
        ("", ["--prime", prime]),
        ("prime: ", ["--prime-file", "prime"]),
        ("standard input: ", ["--prime", "-"]),
        ("", ["--prime", prime, "--json"]),
    ):
        left = call("sample", "model", *args, stdin=prime.encode())  # no seed: no note of it either
        assert (left.code, left.out) == (2, b"")
        assert left.err.startswith(f"charrnn: {name}{message}"), left.err
        assert left.err.count("\n") == 1
    with pytest.raises(UnknownCharacterError, match=r"\(U\+"):
        load("model").sample(prime)


def test_nothing_is_written_before_a_prime_is_known_to_be_good(call: Call) -> None:
    """Not even what is too long to wait in a buffer."""
    left = call(*SAMPLE, "--prime", "a" * 100_000 + "€")
    assert (left.code, left.out) == (2, b"")


@pytest.mark.parametrize(
    ("prime", "skipped", "replaced"),
    [("a€b", "ab", "a b"), ("€", "", " "), ("€€the5", "the", "  the "), ("é\ra", "a", "  a")],
)
def test_unknown_characters_are_skipped_or_replaced(
    call: Call, prime: str, skipped: str, replaced: str
) -> None:
    raw = prime.encode()
    for how, same in (("skip", skipped), ("replace", replaced)):
        wanted = call(*SAMPLE, "--prime", same).out.removeprefix(same.encode())
        left = call(*SAMPLE, "--prime", prime, "--unknown", how)
        assert left[:2] == (0, raw + wanted)
        assert call(*SAMPLE, "--prime", "-", "--unknown", how, stdin=raw)[:2] == left[:2]


def test_skipped_and_replaced_characters_are_reported(call: Call) -> None:
    Path("text").write_text("the €nd of 5")
    said = "2 of 12 characters are not in the vocabulary and were {} (first: '€' U+20AC)\n"
    for how, done in (("skip", "skipped"), ("replace", "replaced by ' ' U+0020")):
        asked = ["--unknown", how]
        line = said.format(done)
        assert call(*SAMPLE, *asked, "--prime", "the €nd of 5").err == f"charrnn: {line}"
        assert call(*SAMPLE, *asked, "--prime-file", "text").err == f"charrnn: text: {line}"
        left = call("score", "text", "--model", "model", "--json", *asked)
        assert left.err == f"charrnn: text: {line}"
        assert sorted(json.loads(left.out)) == sorted(
            ["chars", "nats_per_char", "bits_per_char", "perplexity", "error_bound"]
        )
    assert call(*SAMPLE, "--prime", "the end", "--unknown", "skip").err == ""
    one = call(*SAMPLE, "--prime", "5", "--unknown", "skip").err
    assert "1 of 1 characters is not in the vocabulary and was skipped (first: '5' U+0035)" in one


def test_a_stop_text_that_can_never_be_written_is_refused(call: Call) -> None:
    for more in ([], ["--count", "2", "--length", "0"], ["--json"], ["--unknown", "skip"]):
        left = call("sample", "model", *more, "--stop", "the", "--stop", "a§")
        assert (left.code, left.out, left.err.count("\n")) == (2, b"", 1)
        assert left.err.startswith("charrnn: --stop 'a§' can never occur: character '§' ")
        assert "--unknown" not in left.err
    Path("text").write_text("the end")
    left = call(*SAMPLE, "--prime-file", "text", "--stop", "§")
    assert left.err.startswith("charrnn: --stop '§' ")  # it is not the file's fault


def test_the_substitute_without_a_space() -> None:
    for symbols, wanted in (("abb ", " "), ("abb\ufffd", "\ufffd"), ("abb", "b")):
        config = SampleConfig(seed=3, length=40, unknown="replace")
        model = TextModel(tiny(letters(symbols)))
        (text,) = model.samples("a€", config)
        assert text == model.sample("a" + wanted, seed=3, length=40)


def test_byte_vocabularies(call: Call) -> None:
    histogram = np.zeros(256, np.int64)
    histogram[[10, 32, 97, 98, 0xC3, 0xFF]] = 1
    keep(Vocab.from_counts(histogram, is_bytes=True))
    raw = b"a\xff\xc3\n"
    left = call(*SAMPLE, "--prime", os.fsdecode(raw))
    assert (left.code, left.out[:4]) == (0, raw)
    left = call(*SAMPLE, "--prime", "abä")  # C3 is there, A4 is not
    assert (left.code, left.out) == (2, b"")
    assert "byte 0xA4 at position 3 is not in the vocabulary" in left.err
    assert call(*SAMPLE, "--prime", "abä", "--unknown", "skip").code == 0


def test_a_prime_that_is_not_utf8_names_the_byte(call: Call) -> None:
    raw = "aé".encode()[:-1]
    Path("prime").write_bytes(raw)
    told = "is not utf-8 at byte 1 (line 1, column 2); set --enc"
    for said, args in (
        ("the text is not UTF-8 at byte 1", ["--prime", os.fsdecode(raw)]),
        (f"prime: the text {told}", ["--prime-file", "prime"]),
        (f"standard input: the text {told}", ["--prime", "-"]),
    ):
        for how in ("error", "skip", "replace"):
            left = call(*SAMPLE, *args, "--unknown", how, stdin=raw)
            assert (left.code, left.out) == (2, b"")
            assert left.err.startswith(f"charrnn: {said}"), left.err


# --- encodings


def card(encoding: object) -> dict[str, Any]:
    return {**META, "corpus": {**META["corpus"], "encoding": encoding}}


def test_a_text_is_read_as_the_corpus_was(call: Call) -> None:
    text = "é déjà vu"
    wanted = None
    for encoding in ("utf-8", "latin-1", "utf-16", "utf-8-sig", None, "", "bytes"):
        tiny(letters(text + "\n"), card(encoding)).save(Path("model"))
        raw = text.encode(encoding if encoding not in (None, "", "bytes") else "utf-8")
        Path("text").write_bytes(raw)
        left = call(*SAMPLE, "--prime-file", "text")
        assert (left.code, left.err) == (0, ""), encoding
        assert left.out.startswith(text.encode())  # UTF-8 comes out, whatever went in
        assert call(*SAMPLE, "--prime", "-", stdin=raw) == left
        assert call(*SAMPLE, "--prime", text) == left  # what is typed is UTF-8
        scored = call("score", "text", "--model", "model", "--json")
        assert call("score", "-", "--model", "model", "--json", stdin=raw) == scored
        wanted = wanted or (left, scored)
        assert (left, scored) == wanted
        # and as it is asked for
        Path("text").write_bytes(text.encode("cp437"))
        asked = ["--encoding", "cp437"]
        assert call(*SAMPLE, "--prime-file", "text", *asked) == left
        assert call(*SAMPLE, "--prime", text, *asked) == left
        assert call("score", "text", "--model", "model", "--json", *asked) == scored


def test_an_invalid_encoding_in_the_metadata_matters_only_where_a_text_is_read(
    call: Call,
) -> None:
    tiny(meta=card("klingon")).save(Path("model"))
    Path("text").write_text("the end")
    assert call(*SAMPLE, "--prime", "the end").code == 0
    left = call("score", "text", "--model", "model")
    assert (left.code, left.err.count("\n")) == (2, 1)
    assert "text: unknown encoding 'klingon'; set --encoding to " in left.err
    assert call("score", "text", "--model", "model", "--encoding", "utf-8").code == 0


def test_a_model_of_bytes_takes_bytes(call: Call) -> None:
    keep(Vocab(tuple(range(256)), (1,) * 256, is_bytes=True))
    raw = b"\xef\xbb\xbfa\xff\xc3\n"
    for more in ([], ["--encoding", "latin-1"], ["--encoding", "bytes"]):
        left = call(*SAMPLE, "--prime", "-", *more, stdin=raw)
        assert (left.code, left.out[: len(raw)]) == (0, raw)
        left = call("score", "-", "--model", "model", "--json", *more, stdin=raw)
        assert json.loads(left.out)["chars"] == len(raw) - 1


def test_a_byte_order_mark_outside_the_vocabulary_is_left_out(call: Call) -> None:
    score = ["score", "text", "--model", "model", "--json"]
    Path("text").write_text("the end", "utf-8")
    plain, scored = call(*SAMPLE, "--prime-file", "text"), call(*score)
    Path("text").write_text("the end", "utf-8-sig")
    assert call(*SAMPLE, "--prime-file", "text") == plain
    assert call(*SAMPLE, "--prime", "-", stdin=Path("text").read_bytes()) == plain
    assert call(*score) == scored
    Path("text").write_bytes("\ufeff\ufeffthe".encode())
    assert "'\\ufeff' (U+FEFF) at position 0 " in call(*score).err
    # one that it has is a character like others
    keep(letters("\ufeff\n thend"))
    Path("text").write_text("the end", "utf-8-sig")
    assert json.loads(call(*score).out)["chars"] == 7
    assert call(*SAMPLE, "--prime-file", "text").out.startswith("\ufeffthe end".encode())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_text_that_looks_like_utf16_is_reported(call: Call, encoding: str) -> None:
    Path("text").write_bytes("\ufeffthe end".encode(encoding))
    for args in ([*SAMPLE, "--prime-file", "text"], ["score", "text", "--model", "model"]):
        left = call(*args)
        assert (left.code, left.out, left.err.count("\n")) == (2, b"", 1)
        wanted = "text: the text is not utf-8 at byte 0, it looks like utf-16; set --encoding"
        assert wanted in left.err
        assert call(*args, "--encoding", "utf-16").code == 0


def test_a_text_to_score_is_named_too(call: Call) -> None:
    Path("text").write_text("the €nd")
    for args in ([], ["--per-line"], ["--color"], ["--json"]):
        left = call("score", "text", "--model", "model", *args)
        assert (left.code, left.out) == (2, b"")
        assert left.err.startswith("charrnn: text: character '€' (U+20AC) at position 4 ")
        left = call("score", "-", "--model", "model", *args, stdin="€".encode())
        assert left.err.startswith("charrnn: standard input: character '€' (U+20AC) at position 0 ")
    skipped = call("score", "text", "--model", "model", "--unknown", "skip", "--json").out
    assert json.loads(skipped)["chars"] == 5


def test_an_endless_device_is_no_prime(call: Call) -> None:
    for args in (
        ["sample", "model", "--prime-file", "/dev/zero"],
        ["score", "/dev/zero", "--model", "model"],
    ):
        left = call(*args)
        assert (left.code, left.out) == (2, b"")
        assert "/dev/zero is a device that may never end" in left.err


def test_a_model_config_of_one_symbol_has_one_text() -> None:
    model = tiny(letters("a"))
    assert model.config == ModelConfig(1, embedding=8, hidden=16, layers=2)
    assert TextModel(model).sample("aaa", length=9) == "a" * 9
