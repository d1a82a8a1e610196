"""Text: alphabets, decoding in blocks, sources, the cache of encoded corpora."""

from __future__ import annotations

import io
import os
import sys
import threading
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError, DecodingError, UnknownCharacterError
from charrnn.text import sources, vocab
from charrnn.text.corpus import Corpus, cached_corpus, encode_corpus
from charrnn.text.sources import BlockDecoder
from charrnn.text.vocab import Vocab, id_dtype
from tests.support.networks import letters

TEXT = "\ufeffПривет, мир!\r\nGrüße – 😀\x00\tend"
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def encode(*contents: bytes, name: str = "t", **settings: object) -> Corpus:
    paths = [Path(f"{name}{i}.txt") for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return encode_corpus(paths, **settings)  # type: ignore[arg-type]


def decode_in_blocks(raw: bytes, cuts: list[int], encoding: str = "utf-8") -> str:
    decoder = BlockDecoder(encoding, "text")
    edges = [0, *sorted(cuts), len(raw)]
    parts = [decoder.codes(raw[a:b]) for a, b in pairwise(edges)]
    return "".join(chr(c) for part in [*parts, decoder.end()] for c in part.tolist())


# --- alphabets


def test_ids_count_up_through_the_code_points() -> None:
    assert letters("zebra\n").codes == tuple(sorted(map(ord, "zebra\n")))
    assert letters("abc").codes == letters("cbbbaaac").codes


def test_counts_belong_to_their_symbols() -> None:
    vocab = letters("mississippi")
    assert dict(zip(map(chr, vocab.codes), vocab.counts, strict=True)) == {
        "i": 4, "m": 1, "p": 2, "s": 4,
    }  # fmt: skip


@given(texts)
def test_any_text_comes_back(text: str) -> None:
    vocab = letters(text)
    ids = vocab.encode(text)
    assert len(ids) == len(text)
    assert vocab.decode(ids) == text
    assert b"".join(vocab.pieces[i] for i in ids) == text.encode()
    assert Vocab.from_dict(vocab.to_dict()) == vocab


@given(st.binary(min_size=1, max_size=60))
def test_any_bytes_come_back(raw: bytes) -> None:
    vocab = Vocab.from_counts(np.bincount(np.frombuffer(raw, np.uint8), minlength=256), True)
    assert vocab.decode_bytes(vocab.encode(raw)) == raw


def test_a_byte_alphabet_takes_text_as_utf8() -> None:
    vocab = Vocab(tuple(range(256)), (1,) * 256, is_bytes=True)
    assert vocab.encode("é").tolist() == [0xC3, 0xA9]
    assert vocab.encode("\udcff").tolist() == [0xFF]  # as Python passes such bytes on


def test_an_unknown_character_is_named_with_its_code_and_place() -> None:
    with pytest.raises(UnknownCharacterError) as caught:
        letters("abc ").encode("ab😀c")
    assert str(caught.value) == (
        "character '😀' (U+1F600) at 2 is not in the vocabulary of 4 characters; "
        "--unknown skip or replace goes on without it"
    )


@given(st.text("ab é😀", max_size=12), st.sampled_from([True, False]))
def test_a_text_looked_up_in_parts_is_looked_up_as_one(text: str, is_bytes: bool) -> None:
    alphabet = Vocab((32, 97, 98), (1, 1, 1), is_bytes)

    def everything(chunk: int) -> list[object]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vocab, "CHUNK", chunk)
            found: list[object] = [alphabet.missing(text)]
            for unknown in ("skip", "replace"):
                ids = alphabet.encode(text, unknown)  # type: ignore[arg-type]
                found += [ids.tolist(), ids.dtype, alphabet.omissions(text, unknown)]  # type: ignore[arg-type]
            try:
                return [*found, alphabet.encode(text).tolist()]
            except UnknownCharacterError as error:
                return [*found, str(error)]

    assert everything(1) == everything(3) == everything(100)


@pytest.mark.parametrize("is_bytes", [True, False])
def test_looking_a_text_up_takes_few_bytes_a_character(is_bytes: bool) -> None:
    text = "ab" * (8 << 20)
    alphabet = Vocab((97, 98), (1, 1), is_bytes)
    tracemalloc.start()
    try:
        ids = alphabet.encode(text)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()
    assert len(ids) == len(text)


def test_an_unprintable_unknown_is_written_out() -> None:
    with pytest.raises(UnknownCharacterError, match=r"character '\\x1b' \(U\+001B\) at 0 "):
        letters("a").encode("\x1b")


def test_an_unknown_byte_is_named() -> None:
    with pytest.raises(UnknownCharacterError, match="byte 0xFF at 1 is not in the vocabulary"):
        Vocab((97,), (1,), is_bytes=True).encode(b"a\xff")


@pytest.mark.parametrize(
    ("alphabet", "expected"), [("ab ", "a b"), ("ab\ufffd", "a\ufffdb"), ("abbb", "abb")]
)
def test_replacing_puts_the_space_else_fffd_else_the_most_frequent(
    alphabet: str, expected: str
) -> None:
    vocab = letters(alphabet)
    assert vocab.decode(vocab.encode("a?b", "replace")) == expected
    assert vocab.decode(vocab.encode("a?b", "skip")) == "ab"


@pytest.mark.parametrize("codes", [(), (5, 5), (6, 5), (-1,), (0x110000,), (0xD800,), ("a",)])
def test_what_is_no_alphabet_is_refused(codes: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError):
        Vocab(codes, (1,) * len(codes))


@pytest.mark.parametrize(("size", "kind"), [(1, "u1"), (256, "u1"), (257, "u2"), (65_535, "u2")])
def test_ids_take_the_smallest_integers(size: int, kind: str) -> None:
    assert id_dtype(size) == np.dtype(kind)
    codes = (
        tuple(range(0xE000, 0xE000 + size))
        if size < 300
        else (*range(0xD000), *range(0xE000, 0xE000 + size - 0xD000))
    )
    vocab = Vocab(codes, (1,) * size)
    assert vocab.encode(chr(codes[-1])).dtype == np.dtype(kind)
    assert int(vocab.encode(chr(codes[-1]))[0]) == size - 1


# --- blocks of bytes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be", "utf-7"])
def test_a_cut_anywhere_changes_nothing(encoding: str) -> None:
    raw = TEXT.encode(encoding)
    for cut in range(len(raw) + 1):
        assert decode_in_blocks(raw, [cut], encoding) == TEXT


@given(texts, st.data())
def test_any_cuts_change_nothing(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    assert decode_in_blocks(raw, cuts) == text


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"])
def test_the_first_bad_byte_is_named_wherever_blocks_end(
    bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BLOCK", 8)
    for start in ("a", "é"):
        for count in range(20):
            good = (start * count).encode()
            with pytest.raises(DecodingError) as caught:
                encode(good + bad + b"tail")
            assert caught.value.offset == len(good)
            assert f"t0.txt is not utf-8 at byte {len(good)}: " in str(caught.value)


def test_a_character_cut_at_the_end_is_an_error_but_not_where_max_bytes_cut_it() -> None:
    raw = "déjà".encode()
    with pytest.raises(DecodingError) as caught:
        encode(raw[:-1])
    assert caught.value.offset == len(raw) - 2
    assert len(encode(raw, max_bytes=len(raw) - 1)) == 3


def test_an_offset_counts_from_its_own_file() -> None:
    with pytest.raises(DecodingError) as caught:
        encode(b"first", b"se\xffcond")
    assert caught.value.offset == 2
    assert "t1.txt" in str(caught.value)


@pytest.mark.parametrize("encoding", ["nonsense", "", "hex", "rot13", "\udcff", "punycode", "idna"])
def test_what_is_no_encoding_of_text_is_refused(encoding: str) -> None:
    with pytest.raises(CorpusError, match="unknown encoding"):
        encode(b"abc", encoding=encoding)


# --- corpora


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_the_ids_are_the_same_for_any_block_size(
    block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = encode(TEXT.encode(), cache=tmp_path / "whole")
    monkeypatch.setattr(sources, "BLOCK", block)
    cut = encode(TEXT.encode(), cache=tmp_path / "cut")
    assert cut.vocab == whole.vocab
    assert np.array_equal(cut.ids, whole.ids)


def test_bom_line_ends_and_nul_are_kept() -> None:
    corpus = encode(TEXT.encode())
    assert corpus.vocab.decode(corpus.ids) == TEXT


def test_bytes_take_anything() -> None:
    raw = bytes(range(256)) * 2
    corpus = encode(raw, is_bytes=True)
    assert corpus.vocab.decode_bytes(corpus.ids) == raw
    assert corpus.vocab.is_bytes
    assert corpus.ids.dtype == np.uint8
    assert encode(raw, encoding="bytes").vocab.is_bytes  # the same thing, in the cache too


def test_several_files_are_read_one_after_the_other() -> None:
    corpus = encode(b"one ", b"two")
    assert corpus.vocab.decode(corpus.ids) == "one two"
    assert corpus.name == "t0.txt + t1.txt"


def test_standard_input_is_a_corpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    cache = tmp_path / "cache"
    corpus = encode_corpus(["-"], cache=cache)
    assert corpus.vocab.decode(corpus.ids) == TEXT
    assert {path.suffix for path in cache.iterdir()} == {".ids", ".json"}  # no copy is left


def test_a_fifo_is_a_corpus(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(TEXT.encode(),))
    writer.start()
    corpus = encode_corpus([pipe])
    writer.join()
    assert corpus.vocab.decode(corpus.ids) == TEXT


def test_an_endless_device_needs_max_bytes() -> None:
    with pytest.raises(CorpusError, match="--max-bytes"):
        encode_corpus(["/dev/zero"])
    corpus = encode_corpus(["/dev/zero"], max_bytes=5000)
    assert len(corpus) == 5000
    assert corpus.vocab.codes == (0,)


def test_max_bytes_counts_through_all_files() -> None:
    corpus = encode(b"abcd", b"efgh", b"ijkl", max_bytes=6)
    assert corpus.vocab.decode(corpus.ids) == "abcdef"


def test_a_folder_a_missing_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is a folder"):
        encode_corpus([tmp_path])
    with pytest.raises(CorpusError, match=r"cannot read missing\.txt: No such file"):
        encode_corpus(["missing.txt"])
    with pytest.raises(CorpusError, match=r"t0.txt is empty"):
        encode(b"")


def test_every_code_point_is_too_large_an_alphabet() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    with pytest.raises(CorpusError, match="65535"):
        encode(everything.encode())


# --- the cache


def cache_files(cache: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in cache.iterdir()}


def test_a_text_is_encoded_once(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = encode(b"the same text", cache=cache)
    before = cache_files(cache)
    again = encode(b"the same text", name="other", cache=cache)
    assert cache_files(cache) == before
    assert again.name == "other0.txt"
    assert cached_corpus(first.sha256, "x", "utf-8", cache) is not None
    encode(b"another text", cache=cache)
    assert len(cache_files(cache)) == 2 * len(before)


@pytest.mark.parametrize("suffix", [".ids", ".json"])
def test_a_damaged_cache_is_made_anew(suffix: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole = encode(b"the quick brown fox", cache=cache)
    (path,) = cache.glob(f"*{suffix}")
    ids, good = whole.ids.copy(), path.read_bytes()
    damaged = [good[:-1], b"", good + b"x"]
    damaged += [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(0, len(good), 11)]
    for content in damaged:
        path.write_bytes(content)
        again = encode(b"the quick brown fox", cache=cache)
        assert again.vocab == whole.vocab
        assert np.array_equal(again.ids, ids)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_files_with_marks_are_another_text_than_their_bytes_in_one(
    encoding: str, tmp_path: Path
) -> None:
    raws = [text.encode(encoding) for text in ("eins", "zwei")]
    parts = encode(*raws, encoding=encoding, cache=tmp_path / "cache")
    whole = encode(b"".join(raws), encoding=encoding, cache=tmp_path / "cache")
    assert parts.sha256 != whole.sha256
    assert parts.vocab.decode(parts.ids) == "einszwei"
    assert whole.vocab.decode(whole.ids) == "eins\ufeffzwei"
    again = encode(*raws, encoding=encoding, cache=tmp_path / "cache")
    assert (again.sha256, again.vocab) == (parts.sha256, parts.vocab)
    assert np.array_equal(again.ids, parts.ids)


@pytest.mark.parametrize("encoding", ["utf-16", "iso2022_jp"])
def test_files_cut_elsewhere_and_empty_ones(encoding: str, tmp_path: Path) -> None:
    def key(*texts: str) -> str:
        raws = [text.encode(encoding) for text in texts]
        return encode(*raws, encoding=encoding, cache=tmp_path / "cache").sha256

    assert len({key("ab", "c"), key("a", "bc"), key("abc"), key("a", "b", "c")}) == 4
    assert key("abc") == encode("abc".encode(encoding), encoding=encoding).sha256
    assert encode(b"", "abc".encode(encoding), b"", encoding=encoding).sha256 == key("abc")


def test_utf8_files_are_the_text_of_their_bytes_in_one(tmp_path: Path) -> None:
    for settings in ({}, {"encoding": "latin-1"}, {"is_bytes": True}):
        parts = encode("né".encode(), b"\xef\xbb\xbfb", cache=tmp_path / "a", **settings)
        whole = encode("né\ufeffb".encode(), cache=tmp_path / "b", **settings)
        assert parts.sha256 == whole.sha256
        assert np.array_equal(parts.ids, whole.ids)


def test_very_many_files_have_a_name_that_fits_a_checkpoint() -> None:
    paths = [Path(f"Буква {i}.txt") for i in range(700)]
    for path in paths:
        path.write_bytes(b"ab")
    corpus = encode_corpus(paths)
    assert len(corpus) == 1400
    assert corpus.name == sources.names(paths)
    assert len(corpus.name) < 10_000
    assert corpus.name.startswith("Буква 0.txt + Буква 1.txt + ")
    assert corpus.name.endswith(" more")
    assert sources.names(paths[:2]) == "Буква 0.txt + Буква 1.txt"


def test_a_name_that_is_no_text_finds_nothing_in_the_cache(tmp_path: Path) -> None:
    digest = encode(b"some text").sha256
    assert cached_corpus(digest, "x", "utf-8") is not None
    for wrong in (None, 1, [], {}):
        assert cached_corpus(wrong, "x", "utf-8") is None  # type: ignore[arg-type]
        assert cached_corpus(digest, wrong, "utf-8") is None  # type: ignore[arg-type]
        assert cached_corpus(digest, "x", wrong) is None  # type: ignore[arg-type]


def test_a_digest_that_is_a_path_finds_nothing(tmp_path: Path) -> None:
    assert cached_corpus("../" * 12 + "etc/passwd", "x", "utf-8", tmp_path) is None
