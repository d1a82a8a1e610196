"""Short corpora, strange ones and every encoding, as ``charrnn train`` meets them.

Encodings are strict unless asked otherwise and an error names the byte; small corpora shrink batch
and window with one note; impossible ones are refused in one line that says the least size.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.checkpoint import file as checkpoint
from charrnn.cli.app import main
from charrnn.errors import CorpusError, DecodingError
from charrnn.model_config import MAX_VOCABULARY
from charrnn.text import corpus, sources
from charrnn.text.corpus import encode_corpus
from charrnn.text.decoding import BlockDecoder
from charrnn.text.vocab import Vocab
from charrnn.textmodel import load
from tests.support.command_line import leave

CHARACTERS = [*range(0xD800), *range(0xE000, 0x110000)]
SMALL = ["--steps", "2", "--size", "8", "--layers", "1", "--threads", "1", "--seed", "1"]
SMALL += ["--out", "run"]
Train = Callable[..., tuple[int, str]]


@pytest.fixture
def train(capfd: pytest.CaptureFixture[str]) -> Train:
    """``charrnn train args`` in this process: exit code and stderr; stdout stays empty."""

    def run(*args: str | Path) -> tuple[int, str]:
        code, out, err = leave(["train", *map(str, args), *SMALL], capfd)
        assert out == ""
        return code, err

    return run


def refused(result: tuple[int, str], *saying: str) -> None:
    """Exit 2, one line that says so, and nothing is left behind."""
    code, err = result
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("charrnn: ")
    assert all(part in err for part in saying), err
    assert not any(Path("run").glob("*.safetensors"))


def written(name: str, content: bytes) -> Path:
    Path(name).write_bytes(content)
    return Path(name)


def kept() -> str:
    return "".join(map(chr, checkpoint.load(Path("run")).vocab.codes))


# --- what is too short


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        (b"", "at least 2"),
        (b"a", "at least 2"),
        ("é".encode(), "at least 2"),
        (b"ab", "at least 2"),
    ],
    ids=["empty", "one", "one of two bytes", "two, of which one validates"],
)
def test_an_impossible_corpus_is_refused_with_the_least_size(
    content: bytes, saying: str, train: Train
) -> None:
    refused(train(written("text.txt", content)), "text.txt", saying)


def test_two_characters_are_enough_without_validation(train: Train) -> None:
    assert train(written("text.txt", b"ab"), "--val-frac", "0")[0] == 0


@pytest.mark.parametrize("size", [3, 50, 1000])
def test_one_symbol_is_a_corpus(size: int, train: Train) -> None:
    code, err = train(written("text.txt", b"a" * size))
    assert code == 0, err
    assert kept() == "a"


@pytest.mark.parametrize("size", [3, 4, 17, 100, 639, 2000])
def test_a_small_corpus_shrinks_batch_and_window_and_says_so_once(size: int, train: Train) -> None:
    code, err = train(written("text.txt", b"abcdefghij"[: size % 10 or 10] * size))
    assert code == 0, err
    ((batch, window),) = [map(int, said) for said in re.findall(r"; (\d+) streams? of (\d+),", err)]
    assert batch * window < size * 10 * 0.9
    assert (batch, window) != (64, 100) or size > 700


@pytest.mark.parametrize(
    ("weights", "said"), [("0.3", "(inputs 0.1, weights 0.3)"), ("0", "(inputs 0.1)")]
)
def test_every_dropout_is_reported(weights: str, said: str, train: Train) -> None:
    rates = ("--dropout", "0.2", "--input-dropout", "0.1", "--weight-dropout", weights)
    code, err = train(written("text.txt", b"abc" * 100), *rates)
    assert code == 0, err
    assert f"dropout 0.2 {said}, seed" in err


def test_a_batch_and_window_that_were_asked_for_are_not_shrunk(train: Train) -> None:
    path = written("text.txt", b"abc" * 1000)
    args = ("--batch", "50", "--window", "60")
    refused(
        train(path, *args), "50 streams of 60 characters takes at least 3,000", "there are 2,700"
    )


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("pipe", [False, True])
def test_a_cache_that_is_full_or_fails_is_not_the_users_mistake(
    pipe: bool,
    reason: int,
    train: Train,
    new_cache: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setenv("CHARRNN_CACHE", new_cache(Path("bare").absolute()))  # so that it encodes
    path = written("text.txt", b"abc" * 1000)
    monkeypatch.setattr(sources if pipe else corpus, "_copy" if pipe else "atomic_file", fail)
    if pipe:
        path = Path("pipe")
        os.mkfifo(path)
    code, err = train(path)
    assert code == (2 if reason == errno.EACCES else 1)
    assert err == (
        f"charrnn: cannot encode the corpus: {os.strerror(reason)}; "
        "set CHARRNN_CACHE to another folder\n"
    )


def test_an_interleaved_split_says_what_it_needs(train: Train) -> None:
    refused(train(written("text.txt", b"ab" * 1000), "--split", "interleaved"), "10,000", "2,000")


# --- what is strange


def test_every_code_point_is_too_many_symbols_but_not_too_many_bytes(train: Train) -> None:
    path = written("text.txt", "".join(map(chr, CHARACTERS)).encode())
    refused(train(path), "1112064", str(MAX_VOCABULARY), "--bytes")
    assert train(path, "--bytes", "--max-bytes", "20000")[0] == 0


def test_the_largest_vocabulary_is_accepted_and_one_symbol_more_is_not() -> None:
    most = "".join(map(chr, CHARACTERS[-MAX_VOCABULARY:]))
    corpus = encode_corpus([written("text.txt", most.encode())])
    assert corpus.vocab.decode(corpus.ids) == most
    one_more = chr(CHARACTERS[-MAX_VOCABULARY - 1]) + most
    with pytest.raises(CorpusError, match="65536"):
        encode_corpus([written("text.txt", one_more.encode())])


def test_every_code_point_comes_back() -> None:
    decoder = BlockDecoder("utf-8", "text")
    for start in range(0, len(CHARACTERS), MAX_VOCABULARY):
        part = "".join(map(chr, CHARACTERS[start : start + MAX_VOCABULARY]))
        codes = decoder.codes(part.encode())
        vocab = Vocab.from_counts(np.bincount(codes).astype(np.int64), is_bytes=False)
        assert vocab.decode(vocab.lookup(codes)) == part


def test_an_empty_folder_a_missing_file_and_endless_devices(train: Train, tmp_path: Path) -> None:
    Path("folder").mkdir()
    refused(train("folder"), "the folder folder has no files")
    refused(train("missing.txt"), "missing.txt", "No such file")
    refused(train("/dev/zero"), "/dev/zero", "--max-bytes")
    refused(train("/dev/null", "--max-bytes", "10"), "null is empty")
    Path("loop").symlink_to("loop")
    refused(train("loop"), "cannot read loop")


def test_an_endless_device_trains_with_max_bytes(train: Train) -> None:
    assert train("/dev/zero", "--max-bytes", "3000")[0] == 0
    assert kept() == "\0"


@pytest.mark.parametrize("late", [False, True])
def test_a_fifo_is_a_corpus_even_if_its_writer_comes_later(late: bool, train: Train) -> None:
    os.mkfifo("pipe")

    def write() -> None:
        time.sleep(0.3 * late)
        Path("pipe").write_bytes(b"through a pipe " * 100)

    writer = threading.Thread(target=write)
    writer.start()
    code, err = train("pipe")
    writer.join()
    assert code == 0, err
    assert kept() == "".join(sorted(set("through a pipe ")))


def test_standard_input_is_a_corpus(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("dash – ".encode() * 100)))
    assert train("-", "-q") == (0, "")
    assert kept() == " adhs–"


# --- encodings


def test_invalid_utf8_is_named_with_its_byte_and_bytes_take_it(train: Train) -> None:
    path = written("text.txt", "é".encode() * 500 + b"\xff" + b"a" * 1000)
    where = "text.txt is not utf-8 at byte 1000 (line 1, column 501), it looks like utf-8 with "
    refused(train(path), f"{where}damaged bytes; repair it", "--bytes")
    assert train(path, "--bytes")[0] == 0
    assert kept() == "a\xa9\xc3\xff"


def test_bom_crlf_and_nul_are_characters_like_others(train: Train) -> None:
    assert train(written("text.txt", "\ufeffa\r\nb\0".encode() * 100))[0] == 0
    assert kept() == "\0\n\rab\ufeff"


@pytest.mark.parametrize(
    ("kept_by", "left_out_by"), [("utf-8", "utf-8-sig"), ("utf-16-le", "utf-16")]
)
def test_a_byte_order_mark_in_the_vocabulary_is_reported(
    kept_by: str, left_out_by: str, train: Train
) -> None:
    path = written("text.txt", ("\ufeff" + "the end\n" * 100).encode(kept_by))
    said = f"text.txt begins with a byte order mark; --encoding {left_out_by} omits it\n"
    assert train(path, "-q", "--encoding", kept_by) == (0, f"charrnn: {said}")
    assert "\ufeff" in kept()
    Path("run").rename("run-before")
    assert train(path, "-q", "--bytes") == (0, "")


def test_a_text_without_its_byte_order_mark_is_resumed_and_scored(train: Train) -> None:
    text = "the end\n" * 100
    path = written("text.txt", text.encode("utf-8-sig"))
    for _ in range(2):  # the second time from the cache
        assert train(path, "-q", "--encoding", "utf-8-sig") == (0, "")
        assert kept() == "\n dehnt"
        Path("run").rename(f"run-{time.monotonic_ns()}")
    assert train(path, "-q", "--encoding", "utf-8-sig") == (0, "")
    with pytest.raises(SystemExit) as left:
        main(["train", "--resume", "--out", "run", "--steps", "3", "-q", "--threads", "1"])
    assert not left.value.code
    model = load("run")
    assert model.encoding() == "utf-8-sig"
    assert model.score(model.read(path.read_bytes())).chars == len(text) - 1
    assert model.score_split("val").chars == model.score_split("val", path).chars > 0


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_text_that_looks_like_utf16_is_reported(encoding: str, train: Train) -> None:
    path = written("text.txt", "\ufeffthe end".encode(encoding) * 100)
    refused(train(path), "text.txt is not utf-8 at byte 0, it looks like utf-16; set --enc")
    path.write_bytes(b"the end\xff\xfe" * 100)
    assert "utf-16" not in train(path)[1]


def test_unknown_encodings_are_refused_before_anything_is_read(train: Train) -> None:
    path = written("text.txt", b"abc" * 100)
    for name in ("nonsense", "hex", "punycode", "idna", "undefined"):
        code, err = train(path, "--encoding", name)
        assert (code, err.count("\n")) == (2, 1), err


blocks = st.integers(1, 9)
lines = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=40)
@given(text=lines, block=blocks, encoding=st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-7"]))
def test_any_text_in_any_blocks_comes_back(text: str, block: int, encoding: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK", block)
        patch.setenv("CHARRNN_CACHE", f"cache-{block}")  # or another block's ids are read back
        corpus = encode_corpus([written("text.txt", text.encode(encoding))], encoding=encoding)
    assert corpus.vocab.decode(corpus.ids) == text
    assert corpus.vocab.decode(corpus.vocab.encode(text)) == text
    assert sum(corpus.vocab.counts) == len(corpus) == len(text)


ENCODINGS = {
    "utf-8": "é–😀", "utf-16": "é😀", "utf-32": "é", "utf-7": "é–", "utf-8-sig": "é–😀",
    "shift_jis": "日本", "iso2022_jp": "日本", "gb18030": "中😀", "big5": "中文", "hz": "中文",
    "euc_kr": "한국", "cp1252": "é–", "koi8-r": "мир",
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_character_cut_anywhere_is_that_character_and_an_error_keeps_its_place(
    encoding: str,
) -> None:
    def decode(raw: bytes, cuts: list[int]) -> str | int:
        decoder = BlockDecoder(encoding, "text")
        try:
            parts = [decoder.codes(raw[a:b]) for a, b in pairwise([0, *cuts, len(raw)])]
            return "".join(map(chr, np.concatenate([*parts, decoder.end()]).tolist()))
        except DecodingError as error:
            return error.offset

    good = f"a{ENCODINGS[encoding]}b{ENCODINGS[encoding]}".encode(encoding)
    for raw in (good, good[:-1], good + b"\xff\xff\xff\xff\x81", b"a" + good):
        whole = decode(raw, [])
        for cut in range(len(raw) + 1):
            assert decode(raw, [cut]) == whole
        assert decode(raw, list(range(1, len(raw)))) == whole
    assert decode(good, []) == good.decode(encoding)
