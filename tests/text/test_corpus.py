"""Corpora: what is read is what was written; the cache gives it back, or it is encoded again."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.errors import CorpusError, DecodingError
from charrnn.text import sources
from charrnn.text.corpus import cached_corpus, encode_corpus
from charrnn.text.notes import read_note, write_note
from tests.support.texts import TEXT, encode


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
    with pytest.raises(CorpusError, match="never end; set max_bytes"):
        encode_corpus(["/dev/zero"])
    corpus = encode_corpus(["/dev/zero"], max_bytes=5000)
    assert len(corpus) == 5000
    assert corpus.vocab.codes == (0,)


def test_max_bytes_counts_through_all_files() -> None:
    corpus = encode(b"abcd", b"efgh", b"ijkl", max_bytes=6)
    assert corpus.vocab.decode(corpus.ids) == "abcdef"


def test_an_empty_folder_a_missing_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no files"):
        encode_corpus([tmp_path])
    with pytest.raises(CorpusError, match=r"cannot read missing\.txt: No such file"):
        encode_corpus(["missing.txt"])
    with pytest.raises(CorpusError, match=r"t0.txt is empty"):
        encode(b"")


def test_every_code_point_makes_too_large_a_vocabulary() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    with pytest.raises(CorpusError, match="65535"):
        encode(everything.encode())


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


@pytest.mark.parametrize("suffix", [".txt", ".gz"])
def test_a_text_cut_within_a_character_is_not_the_file_that_ends_there(
    suffix: str, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"name": suffix, "cache": tmp_path / "cache"}
    pack = gzip.compress if suffix == ".gz" else bytes
    raw = "naïve".encode()
    for _ in range(2):  # encoded, and from the cache
        cut = encode(pack(raw), max_bytes=3, **how)
        assert cut.vocab.decode(cut.ids) == "na"
        with pytest.raises(DecodingError, match="not utf-8 at byte 2"):
            encode(pack(raw[:3]), **how)
    key = cut.sha256, "x", "utf-8", tmp_path / "cache"
    assert cut.sha256 == hashlib.sha256(raw[:3]).hexdigest()
    assert cached_corpus(*key) is None
    found = cached_corpus(*key, limited=True)
    assert found is not None
    assert np.array_equal(found.ids, cut.ids)


def test_a_record_that_was_cut_short_is_not_that_of_a_file_that_ends_there(tmp_path: Path) -> None:
    raw = b"AB\nCDEF\n"
    whole = encode(raw[:5], records=True, cache=tmp_path)
    cut = encode(raw, records=True, max_bytes=5, cache=tmp_path)
    assert cut.vocab.decode(cut.ids) == "AB\nCD"
    assert whole.vocab.decode(whole.ids) == "AB\nCD\n"
    for corpus, limited in ((whole, False), (cut, True)):
        key = corpus.sha256, "x", "utf-8", tmp_path
        found = cached_corpus(*key, records=True, limited=limited)
        assert found is not None
        assert np.array_equal(found.ids, corpus.ids)


def unmarked(cache: Path) -> None:
    """Keep what was cut in ``cache`` as earlier versions did: as if it were whole."""
    for note in cache.glob("*-cut.json"):
        values = read_note(note)
        assert values is not None
        assert values.pop("cut")
        write_note(note.with_name(note.name.replace("-cut", "")), values)
        note.unlink()
        ids = note.with_suffix(".ids")
        ids.rename(ids.with_name(ids.name.replace("-cut", "")))


@pytest.mark.parametrize(("raw", "most", "records"), [
    ("naïve".encode(), 3, False), (b"AB\nCDEF\n", 5, True),
])  # fmt: skip
def test_what_earlier_versions_cut_is_no_whole_text(
    raw: bytes, most: int, records: bool, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"records": records, "cache": tmp_path}
    cut = encode(raw, max_bytes=most, **how)
    key = cut.sha256, "x", "utf-8", tmp_path
    asked: dict[str, Any] = {"records": records, "chars": len(cut)}
    unmarked(tmp_path)
    # a run that it was cut for finds it still
    for limited in (True, False):
        found = cached_corpus(*key, limited=limited, **asked)
        assert found is not None
        assert np.array_equal(found.ids, cut.ids)
    assert cached_corpus(*key, **asked | {"chars": len(cut) + 1}) is None
    if not records:
        with pytest.raises(DecodingError, match="not utf-8 at byte 2"):
            encode(raw[:most], **how)
        return
    whole = encode(raw[:most], **how)
    assert whole.vocab.decode(whole.ids) == "AB\nCD\n"
    again = cached_corpus(*key, records=True, chars=len(whole))
    assert again is not None
    assert np.array_equal(again.ids, whole.ids)
    assert cached_corpus(*key, limited=True, **asked) is None  # which is another text now
    assert np.array_equal(encode(raw, max_bytes=most, **how).ids, cut.ids)


def test_of_two_texts_of_the_same_bytes_the_one_of_this_length_is_found(tmp_path: Path) -> None:
    raw = b"AB\nCDEF\n"
    cut = encode(raw, records=True, max_bytes=5, cache=tmp_path)
    whole = encode(raw[:5], records=True, max_bytes=9, cache=tmp_path)  # a limit that cut nothing
    for corpus in (cut, whole):
        key = corpus.sha256, "x", "utf-8", tmp_path
        found = cached_corpus(*key, records=True, limited=True, chars=len(corpus))
        assert found is not None
        assert np.array_equal(found.ids, corpus.ids)
    assert cached_corpus(*key, records=True, chars="no number") is not None


def test_a_limit_that_cut_nothing_finds_the_whole_text(tmp_path: Path) -> None:
    whole = encode(b"text", max_bytes=9, cache=tmp_path)
    for limited in (False, True):
        assert cached_corpus(whole.sha256, "x", "utf-8", tmp_path, limited=limited) is not None


@pytest.mark.parametrize("suffix", [".ids", ".json"])
def test_a_damaged_cache_is_rebuilt(suffix: str, tmp_path: Path) -> None:
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
def test_files_with_byte_order_marks_differ_from_their_bytes_in_one_file(
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
def test_files_that_end_elsewhere_are_another_text(encoding: str, tmp_path: Path) -> None:
    def key(*texts: str) -> str:
        raws = [text.encode(encoding) for text in texts]
        return encode(*raws, encoding=encoding, cache=tmp_path / "cache").sha256

    assert len({key("ab", "c"), key("a", "bc"), key("abc"), key("a", "b", "c")}) == 4
    assert key("abc") == encode("abc".encode(encoding), encoding=encoding).sha256
    assert encode(b"", "abc".encode(encoding), b"", encoding=encoding).sha256 == key("abc")


def test_utf8_files_are_the_same_text_as_their_bytes_in_one_file(tmp_path: Path) -> None:
    for settings in ({}, {"encoding": "latin-1"}, {"is_bytes": True}):
        parts = encode("né".encode(), b"\xef\xbb\xbfb", cache=tmp_path / "a", **settings)
        whole = encode("né\ufeffb".encode(), cache=tmp_path / "b", **settings)
        assert parts.sha256 == whole.sha256
        assert np.array_equal(parts.ids, whole.ids)


def test_metadata_of_the_wrong_type_finds_nothing_in_the_cache(tmp_path: Path) -> None:
    digest = encode(b"some text").sha256
    assert cached_corpus(digest, "x", "utf-8") is not None
    wrong: Any
    for wrong in (None, 1, [], {}):
        assert cached_corpus(wrong, "x", "utf-8") is None
        assert cached_corpus(digest, wrong, "utf-8") is None
        assert cached_corpus(digest, "x", wrong) is None


def test_a_digest_that_is_a_path_finds_nothing(tmp_path: Path) -> None:
    assert cached_corpus("../" * 12 + "etc/passwd", "x", "utf-8", tmp_path) is None
