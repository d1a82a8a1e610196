"""gzip and zstd: a packed text is the text; damage and bombs are said in one line."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import os
import sys
import tracemalloc
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError, DecodingError
from charrnn.text import packed, sources
from charrnn.text.corpus import Corpus, encode_corpus
from charrnn.text.packed import BLOCK, FREE, packing_of, unpacked
from charrnn.text.recalled import Recalled
from tests.support.texts import TEXT, encode

Pack = Callable[[bytes], bytes]
FOUND = importlib.import_module


def available(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


STANDARD = next((n for n in ("compression.zstd", "backports.zstd") if available(n)), "")
PACKAGE = "zstandard" if available("zstandard") else ""


def zstd(raw: bytes) -> bytes:
    if STANDARD:
        return bytes(importlib.import_module(STANDARD).compress(raw))
    return bytes(importlib.import_module("zstandard").compress(raw))


def only(name: str) -> Callable[[str], ModuleType]:
    """``import_module`` where nothing but the module ``name`` reads zstd."""

    def find(asked: str) -> ModuleType:
        wanted = {"compression.zstd": STANDARD, "zstandard": PACKAGE}[asked]
        if asked != name or not wanted:
            raise ImportError(asked)
        return FOUND(wanted)

    return find


def gzipped(raw: bytes) -> bytes:
    """``raw`` packed with gzip, without the time, so that the same text is the same file."""
    return gzip.compress(raw, mtime=0)


@pytest.fixture(params=["gzip", "zstd of the standard library", "zstd of the package"])
def pack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Packs a text; whatever can unpack it but is not to be tested is hidden."""
    if request.param == "gzip":
        return gzipped
    name = "zstandard" if "package" in request.param else "compression.zstd"
    if not (PACKAGE if name == "zstandard" else STANDARD):
        pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(packed, "import_module", only(name))
    return zstd


def whole(raw: bytes, step: int = 1 << 16, **how: Any) -> bytes:
    pieces = (raw[i : i + step] for i in range(0, len(raw), step))
    return b"".join(unpacked(pieces, packing_of(raw), "a.txt", **how))


def said(raw: bytes, **how: Any) -> str:
    with pytest.raises(DecodingError) as caught:
        whole(raw, **how)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_packed_text_is_the_text_however_it_is_cut(pack: Pack, step: int) -> None:
    text = TEXT.encode() * 50
    assert whole(pack(text), step) == text
    assert whole(pack(text) + pack(b"") + pack(b"and more"), step) == text + b"and more"
    for limit in (1, 5, len(text)):
        assert whole(pack(text), step, limit=limit) == text[:limit]


def test_large_texts_come_in_blocks(pack: Pack) -> None:
    text = np.random.default_rng(1).integers(97, 105, 3 * BLOCK + 5).astype(np.uint8).tobytes()
    raw = pack(text)
    blocks = list(unpacked([raw], packing_of(raw), "a.txt"))
    assert [len(block) for block in blocks] == [BLOCK, BLOCK, BLOCK, 5]
    assert b"".join(blocks) == text


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_that_were_packed_come_back(text: bytes, step: int) -> None:
    assert whole(gzip.compress(text), step) == text


def test_a_stream_cut_anywhere_is_an_error_with_its_byte(pack: Pack) -> None:
    raw = pack(TEXT.encode())
    for stop in range(4, len(raw)):
        assert f"a.txt is cut short: it ends at byte {stop}, within its " in said(raw[:stop])
    both = raw + pack(b"more")
    for stop in range(len(raw) + 1, len(both)):
        assert "a.txt is cut short" in said(both[:stop])


def test_what_follows_a_stream_is_an_error_with_its_byte(pack: Pack) -> None:
    raw = pack(TEXT.encode())
    assert f"after the end of its {packing_of(raw)} data, at byte {len(raw)}" in said(
        raw + b"junk!"
    )
    padded = gzip.compress(b"text") + bytes(700)  # as tapes pad it, and gzip ignores
    assert whole(padded) == b"text"
    assert whole(padded + gzip.compress(b" more"), 10) == b"text more"


def test_flipped_bits_are_found_or_change_nothing() -> None:
    text = TEXT.encode() * 3
    raw = gzip.compress(text, mtime=0)
    said = []
    for bit in range(8 * 3, 8 * len(raw)):
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << bit % 8
        try:
            assert whole(bytes(bad)) == text  # a bit of the header that says nothing
        except DecodingError as error:
            said.append(error.message)
    assert len(said) > 0.8 * 8 * len(raw)
    begins = "a.txt is damaged", "a.txt is cut", "a.txt has bytes"
    assert all(message.startswith(begins) for message in said)


def test_damaged_zstd_is_an_error(pack: Pack) -> None:
    raw = bytearray(pack(bytes(np.random.default_rng(2).integers(0, 99, 9000).astype(np.uint8))))
    raw[5:60] = bytes(55)
    assert "a.txt is damaged at byte " in said(bytes(raw))


def bomb(size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for _ in range(size // BLOCK):
        yield packer.compress(bytes(BLOCK))
    yield packer.flush()


def test_a_bomb_is_refused_soon_and_in_little_memory(pack: Pack) -> None:
    raw = b"".join(bomb(4 * FREE)) if pack is gzipped else zstd(bytes(4 * FREE))
    tracemalloc.start()
    try:
        blocks = unpacked([raw], packing_of(raw), "a.txt", hint="set {max_bytes}")
        with pytest.raises(DecodingError, match=r"unpacks to more than 200 .*; set max_bytes$"):
            deque(blocks, maxlen=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
    assert whole(raw, limit=2 * FREE) == bytes(2 * FREE)  # as much as was asked for


def test_little_that_packs_well_is_no_bomb(pack: Pack) -> None:
    assert whole(pack(b"a" * FREE)) == b"a" * FREE


def test_zstd_that_nothing_reads_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "import_module", only("nothing"))
    raw = b"\x28\xb5\x2f\xfd" + bytes(20)
    Path("a.txt").write_bytes(raw)
    for skip in (False, True):  # it is no fault of the file
        with pytest.raises(CorpusError, match=r"^a.txt is a zstd file.*install the package zstand"):
            encode_corpus(["a.txt"], skip_bad=skip)


def test_frames_that_are_skipped_are_recognized(pack: Pack) -> None:
    if pack is not gzipped:
        raw = b"\x53\x2a\x4d\x18\x03\0\0\0abc" + pack(b"text")
        assert packing_of(raw) == "zstd"
        assert whole(raw, 5) == b"text"


# --- as a corpus


def test_a_packed_corpus_is_the_corpus(pack: Pack, tmp_path: Path) -> None:
    plain = encode(TEXT.encode(), b"more", name="plain", cache=tmp_path / "cache")
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    packed = encode(pack(TEXT.encode()), pack(b"more"), cache=tmp_path / "cache")
    assert packed.sha256 == plain.sha256
    assert np.array_equal(packed.ids, plain.ids)
    added = {path.name for path in (tmp_path / "cache").iterdir()} - names  # encoded once
    assert [name.endswith("-packed.json") for name in added] == [True]
    assert packed.name == "t0.txt + t1.txt"


def test_a_packed_text_is_recognized_without_unpacking_it(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[str] = []

    def counting(raw: Iterable[bytes], packing: str, *rest: Any) -> Iterator[bytes]:
        times.append(packing)
        return unpacked(raw, packing, *rest)

    monkeypatch.setattr(sources, "unpacked", counting)

    def read(text: bytes, **how: Any) -> tuple[Corpus, int]:
        times.clear()
        return encode(pack(text), cache=tmp_path / "cache", **how), len(times)

    first, encoded = read(TEXT.encode())
    again, recognized = read(TEXT.encode())
    assert (encoded, recognized) == (1, 0)
    assert not list((tmp_path / "cache").glob("*.tmp*"))
    assert again.sha256 == first.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert np.array_equal(again.ids, first.ids)
    assert read(b"another")[1] == 1  # under the same name
    assert read(TEXT.encode(), is_bytes=True)[0].sha256 == first.sha256
    for ids in (tmp_path / "cache").glob("*.ids"):  # the notes about packed files are left
        ids.unlink()
    assert np.array_equal(read(TEXT.encode())[0].ids, first.ids)


def test_a_damaged_note_about_a_packed_text_is_no_note(tmp_path: Path) -> None:
    first = encode(gzipped(b"text"), cache=tmp_path)
    [path] = tmp_path.glob("*-packed.json")
    good = path.read_bytes()
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        assert encode(gzipped(b"text"), cache=tmp_path).sha256 == first.sha256


def test_a_packed_file_that_changes_while_it_is_read_is_not_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = Path("t0.txt"), Recalled.key

    def changing(self: Recalled) -> str:
        try:
            return real(self)
        finally:
            path.write_bytes(gzip.compress(b"other"))

    path.write_bytes(gzip.compress(b"text"))
    monkeypatch.setattr(Recalled, "key", changing)
    corpus = encode_corpus([path], cache=tmp_path)
    assert corpus.sha256 == hashlib.sha256(b"other").hexdigest()
    assert not list(tmp_path.glob("*-packed.json"))


def test_a_packed_text_that_is_empty_is_said_to_be(pack: Pack) -> None:
    with pytest.raises(CorpusError, match=r"t0.txt is empty: a corpus needs"):
        encode(pack(b""))


def test_max_bytes_counts_what_is_unpacked(pack: Pack) -> None:
    corpus = encode(pack(b"abcd"), b"efgh", pack(b"ijkl"), max_bytes=10)
    assert corpus.vocab.decode(corpus.ids) == "abcdefghij"
    assert len(encode(pack("voilà".encode()), max_bytes=5)) == 4  # "à" was cut in two
    noise = np.random.default_rng(3).integers(97, 105, BLOCK).astype(np.uint8).tobytes()
    assert len(encode(pack(noise)[:-1], max_bytes=9)) == 9  # its end is not looked at


@pytest.mark.parametrize("first", [1, 2, 7, 100])
def test_a_packed_pipe_is_a_corpus(pack: Pack, first: int, tmp_path: Path) -> None:
    raw = pack(TEXT.encode())
    for limit, wanted in ((None, TEXT), (3, TEXT[:1])):
        receive, send = os.pipe()
        os.write(send, raw[:first])
        os.write(send, raw[first:])
        os.close(send)
        path = f"/dev/fd/{receive}"
        corpus = encode_corpus([path], max_bytes=limit, cache=tmp_path / "cache")
        os.close(receive)
        assert corpus.vocab.decode(corpus.ids) == wanted
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".ids", ".json"}


def test_packed_standard_input_is_a_corpus(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    for raw, text in ((pack(b"text"), "text"), (b"a", "a"), (b"ab\n", "ab\n")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        corpus = encode_corpus(["-"])
        assert corpus.vocab.decode(corpus.ids) == text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pack(b"text")[:-1])))
    with pytest.raises(DecodingError, match="standard input is cut short"):
        encode_corpus(["-"])


def test_what_was_packed_twice_is_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = gzip.compress(gzip.compress(b"text"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(twice)))
    with pytest.raises(DecodingError, match="byte 1, it looks like a gzip file"):
        encode_corpus(["-"])
    assert encode(twice, is_bytes=True).vocab.is_bytes


def test_an_error_in_a_packed_text_names_its_place(pack: Pack) -> None:
    raw = pack(b"one\ntwo\nna\xefve\n")
    with pytest.raises(DecodingError, match=r"t0.txt is not utf-8 at byte 10 \(line 3, column 3\)"):
        encode(raw)
