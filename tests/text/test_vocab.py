"""Vocabularies: ids and symbols, whole texts looked up, and what is unknown."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, DecodingError, UnknownCharacterError
from charrnn.text import vocab
from charrnn.text.vocab import Vocab, id_dtype
from tests.support.networks import letters
from tests.support.texts import texts


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


def test_a_byte_vocabulary_takes_text_as_utf8() -> None:
    vocab = Vocab(tuple(range(256)), (1,) * 256, is_bytes=True)
    assert vocab.encode("é").tolist() == [0xC3, 0xA9]
    assert vocab.encode("\udcff").tolist() == [0xFF]  # as Python passes such bytes on


def test_an_unknown_character_is_named_with_its_code_and_place() -> None:
    with pytest.raises(UnknownCharacterError) as caught:
        letters("abc ").encode("ab😀c")
    assert str(caught.value) == (
        "character '😀' (U+1F600) at position 2 is not in the vocabulary of 4 characters; "
        "set unknown to 'skip' or 'replace'"
    )


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_an_unknown_character_of_a_longer_text_is_named_with_line_and_column(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocab, "CHUNK", chunk)
    known = letters("\r\nabc ")
    for text, where in {
        "ab\nc😀c\n": "at position 4 (line 2, column 2)",
        "😀\n": "at position 0 (line 1, column 1)",
        "a\r\n\r\n😀": "at position 5 (line 3, column 1)",
        "abc\n" * 1500 + "ab😀": "at position 6002 (line 1,501, column 3)",
    }.items():
        assert f" {where} is not in " in known.missing(text)
        with pytest.raises(UnknownCharacterError) as caught:
            known.encode(text.encode())
        assert f" {where} is not in " in str(caught.value)
        short = where.partition("(")[2]
        assert known.omissions(text, "skip").endswith(f"(first: '😀' U+1F600 in {short}")
    raw = Vocab((10, 97), (1, 1), is_bytes=True)
    assert "0xC3 at position 3 (line 2, column 2) is" in raw.missing("a\na\u00e9".encode())
    with pytest.raises(DecodingError, match=r"at byte 5 \(line 2, column 3\)$"):
        known.encode(b"ab\nab\xff")


@given(st.text("ab é\n😀", max_size=12), st.sampled_from([True, False]))
def test_a_text_looked_up_in_parts_is_looked_up_as_one(text: str, is_bytes: bool) -> None:
    symbols = Vocab((32, 97, 98), (1, 1, 1), is_bytes)

    def everything(chunk: int) -> list[object]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vocab, "CHUNK", chunk)
            found: list[object] = [symbols.missing(text)]
            for unknown in ("skip", "replace"):
                ids = symbols.encode(text, unknown)
                found += [ids.tolist(), ids.dtype, symbols.omissions(text, unknown)]
            try:
                return [*found, symbols.encode(text).tolist()]
            except UnknownCharacterError as error:
                return [*found, str(error)]

    assert everything(1) == everything(3) == everything(100)


@pytest.mark.parametrize("is_bytes", [True, False])
def test_encoding_a_text_takes_few_bytes_a_character(is_bytes: bool) -> None:
    text = "ab" * (8 << 20)
    symbols = Vocab((97, 98), (1, 1), is_bytes)
    tracemalloc.start()
    try:
        ids = symbols.encode(text)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()
    assert len(ids) == len(text)


def test_an_unprintable_unknown_is_written_out() -> None:
    with pytest.raises(UnknownCharacterError, match=r"'\\x1b' \(U\+001B\) at position 0 "):
        letters("a").encode("\x1b")


def test_an_unknown_byte_is_named() -> None:
    with pytest.raises(
        UnknownCharacterError, match="byte 0xFF at position 1 is not in the vocabulary"
    ):
        Vocab((97,), (1,), is_bytes=True).encode(b"a\xff")


@pytest.mark.parametrize(
    ("symbols", "expected"), [("ab ", "a b"), ("ab\ufffd", "a\ufffdb"), ("abbb", "abb")]
)
def test_replacing_puts_the_space_else_fffd_else_the_most_frequent(
    symbols: str, expected: str
) -> None:
    vocab = letters(symbols)
    assert vocab.decode(vocab.encode("a?b", "replace")) == expected
    assert vocab.decode(vocab.encode("a?b", "skip")) == "ab"


@pytest.mark.parametrize("codes", [(), (5, 5), (6, 5), (-1,), (0x110000,), (0xD800,), ("a",)])
def test_an_invalid_vocabulary_is_refused(codes: tuple[int, ...]) -> None:
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
