"""Records: whole lines with one line end each, however the files had them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text import records, sources
from charrnn.text.corpus import cached_corpus, encode_corpus
from charrnn.text.records import RecordForm, aligned, apart, find, form_of
from charrnn.text.splits import Parts, split
from charrnn.text.vocab import Vocab
from tests.support.texts import encode

END = 10
AWKWARD = "a\r\nb\n\r\nc\rd\r\r\ne\n\nf"
NORMAL = "a\nb\n\nc\rd\r\ne\n\nf\n"


def read(*texts: bytes, encoding: str = "utf-8", max_bytes: int | None = None) -> str:
    corpus = encode(*texts, records=True, encoding=encoding, max_bytes=max_bytes)
    return corpus.vocab.decode(corpus.ids)


def text_ids(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "bytes", "utf-16", "utf-16-le"])
def test_the_end_of_a_file_ends_a_record(encoding: str) -> None:
    codec = "latin-1" if encoding == "bytes" else encoding
    files = [text.encode(codec) for text in ("AB", "CD\n", "", "EF\r\nGH\r", "IJ")]
    assert read(*files, encoding=encoding) == "AB\nCD\nEF\nGH\nIJ\n"


@pytest.mark.parametrize("block", [1, 2, 3, 64])
def test_line_ends_become_line_feeds_wherever_blocks_end(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BLOCK", block)
    assert read(AWKWARD.encode()) == NORMAL
    assert read(AWKWARD.encode("utf-16"), encoding="utf-16") == NORMAL


@given(st.text("ab\r\n", max_size=30), st.integers(1, 5))
def test_a_text_to_score_is_completed_as_a_corpus_is_read(text: str, block: int) -> None:
    raw, ends, codes = np.frombuffer(text.encode(), np.uint8), records.RecordEnds(), b""
    for start in range(0, len(raw), block):
        codes += ends.codes(raw[start : start + block]).tobytes()
    codes += ends.end().tobytes()
    assert RecordForm(END).complete(text) == codes.decode()
    assert RecordForm(END).complete(text.encode()) == codes


def test_standard_input_beside_files_is_records_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"CD")))
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"AB")
    paths: list[str | Path] = [tmp_path / "a", "-", tmp_path / "b"]
    corpus = encode_corpus(paths, records=True, cache=tmp_path / "cache")
    assert corpus.vocab.decode(corpus.ids) == "AB\nCD\nAB\n"
    assert corpus.lines == 3


def test_a_pipe_beside_files_is_records_of_its_own(tmp_path: Path) -> None:
    receive, send = os.pipe()
    os.write(send, b"CD")
    os.close(send)
    (tmp_path / "a").write_bytes(b"AB")
    paths: list[str | Path] = [f"/dev/fd/{receive}", tmp_path / "a"]
    corpus = encode_corpus(paths, records=True, cache=tmp_path / "cache")
    os.close(receive)
    assert corpus.vocab.decode(corpus.ids) == "CD\nAB\n"


def test_records_and_text_of_the_same_files_are_cached_apart(tmp_path: Path) -> None:
    plain = encode(b"AB\r\nCD", cache=tmp_path)
    lines = encode(b"AB\r\nCD", records=True, cache=tmp_path)
    assert plain.sha256 == lines.sha256  # that of the file
    assert (len(plain), len(lines)) == (6, 6)
    for corpus in (plain, lines):
        key = corpus.sha256, corpus.name, corpus.encoding, tmp_path
        again = cached_corpus(*key, records=corpus.records)
        assert again is not None
        assert np.array_equal(again.ids, corpus.ids)
        assert again.vocab == corpus.vocab


def test_the_hash_tells_where_a_record_ends(tmp_path: Path) -> None:
    joined = encode(b"ABCD\n", records=True, cache=tmp_path)
    two = encode(b"AB", b"CD\n", records=True, cache=tmp_path)
    one = encode(b"AB\nCD\n", records=True, cache=tmp_path)
    ended = encode(b"AB\n", b"CD\n", records=True, cache=tmp_path)
    assert joined.sha256 != two.sha256
    assert two.sha256 == one.sha256 == ended.sha256
    assert np.array_equal(two.ids, one.ids)
    assert ended.sha256 == encode(b"AB\n", b"CD\n", cache=tmp_path).sha256  # as it always was


def test_a_record_that_was_cut_short_is_in_no_part() -> None:
    corpus = encode(b"AB\nCD\nEFGH\n", records=True, max_bytes=8)
    assert corpus.vocab.decode(corpus.ids) == "AB\nCD\nEF"
    assert corpus.line_end is not None
    assert aligned(corpus.ids, ((0, 8),), corpus.line_end) == ((0, 6),)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
    st.floats(0, 0.5),
    st.integers(1, 40),
)
def test_parts_hold_whole_records_and_all_of_them(
    lengths: list[int], fraction: float, scan: int
) -> None:
    text = "".join("x" * length + "\n" for length in lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "SCAN", scan)
        cut = split(len(text), "contiguous", round(fraction, 2), 0.1)
        parts = records.aligned_parts(text_ids(text), cut, END)
        pieces = [text[a:b] for part in (parts.train, parts.val, parts.test) for a, b in part]
        assert "".join(pieces) == text
        assert all(piece.endswith("\n") for piece in pieces)
        found = find(text_ids(text), ((0, len(text)),), END)
        assert [text[a:b] for a, b in found] == text.splitlines(keepends=True)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=12), st.lists(st.integers(0, 99)))
def test_edges_move_to_the_nearest_beginning(lengths: list[int], edges: list[int]) -> None:
    text = "".join("x" * length + "\n" for length in lengths)
    begins = [0, *(i + 1 for i, char in enumerate(text) if char == "\n")]
    edges = sorted(min(edge, len(text)) for edge in edges)
    ranges = tuple(zip(edges[::2], edges[1::2], strict=False))
    nearest = [min(begins, key=lambda b, e=edge: abs(b - e)) for edge in edges]  # type: ignore[misc]
    wanted = [r for r in zip(nearest[::2], nearest[1::2], strict=False) if r[0] < r[1]]
    assert list(aligned(text_ids(text), ranges, END)) == wanted


def test_interleaved_parts_hold_whole_records() -> None:
    text = "".join(f"{n:0{1 + n % 9}d}\n" for n in range(20_000))
    cut = split(len(text), "interleaved", 0.1, 0.1)
    parts = records.aligned_parts(text_ids(text), cut, END)
    lines = set(text.splitlines(keepends=True))
    for part in (parts.train, parts.val, parts.test):
        assert part
        for start, stop in part:
            assert set(text[start:stop].splitlines(keepends=True)) <= lines


def test_every_record_is_a_range_after_a_line_end() -> None:
    ids = text_ids("AB\nC\n\nD\n")
    whole, ranges = apart(ids, ((0, len(ids)),), END)
    assert [bytes(whole[a - 1 : b]) for a, b in ranges] == [b"\nAB\n", b"\nC\n", b"\n\n", b"\nD\n"]
    whole, ranges = apart(ids, ((3, 6),), END)
    assert whole is ids  # nothing is copied
    assert [bytes(whole[a - 1 : b]) for a, b in ranges] == [b"\nC\n", b"\n\n"]


def test_a_prime_is_the_beginning_of_a_record() -> None:
    form = RecordForm(END)
    assert form.begun("Jo") == "\nJo"
    assert form.begun("Anna\nJo") == "\nJo"
    assert form.begun(b"Anna\r\nJo\n") == b"\n"


def test_records_of_the_first_version_keep_their_returns() -> None:
    vocab = Vocab((10, 13, 65), (5, 5, 9))
    assert form_of(vocab, read=True) == RecordForm(0)
    old = form_of(vocab, read=False)
    assert old == RecordForm(0, returns=True, carriage_return=1)
    assert old.complete("A\nA\r\nA") == "A\r\nA\r\nA\r\n"
    assert form_of(Vocab((65, 66), (1, 1)), read=False) is None
    assert form_of(Vocab((10, 13, 65), (5, 1, 9)), read=False) == RecordForm(0)


def test_parts_of_one_record_are_one_part() -> None:
    assert records.aligned_parts(text_ids("ABCDEFGHI\n"), split(10, "contiguous", 0.1, 0), END) == (
        Parts(((0, 10),), (), ())
    )
