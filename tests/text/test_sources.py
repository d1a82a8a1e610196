"""Bytes become characters, wherever blocks and files end."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError, DecodingError
from charrnn.text import files, sources
from charrnn.text.corpus import encode_corpus
from charrnn.text.decoding import BlockDecoder
from tests.support.texts import TEXT, encode, texts


def decode_in_blocks(raw: bytes, cuts: list[int], encoding: str = "utf-8") -> str:
    decoder = BlockDecoder(encoding, "text")
    edges = [0, *sorted(cuts), len(raw)]
    parts = [decoder.codes(raw[a:b]) for a, b in pairwise(edges)]
    return "".join(chr(c) for part in [*parts, decoder.end()] for c in part.tolist())


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
            place = f"{len(good)} (line 1, column {count + 1})" if count else "0"
            assert str(caught.value).startswith(f"t0.txt is not utf-8 at byte {place}")


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
def test_an_invalid_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(CorpusError, match="unknown encoding"):
        encode(b"abc", encoding=encoding)


def test_very_many_files_have_a_name_that_fits_a_checkpoint() -> None:
    paths = [Path(f"Буква {i}.txt") for i in range(700)]
    for path in paths:
        path.write_bytes(b"ab")
    corpus = encode_corpus(paths)
    assert len(corpus) == 1400
    assert corpus.name == files.names(paths)
    assert len(corpus.name) < 10_000
    assert corpus.name.startswith("Буква 0.txt + Буква 1.txt + ")
    assert corpus.name.endswith(" more")
    assert files.names(paths[:2]) == "Буква 0.txt + Буква 1.txt"
