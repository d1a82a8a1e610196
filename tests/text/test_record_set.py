"""A set of records by their hashes: what it holds, and how much memory that takes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from charrnn.text import record_set
from charrnn.text.record_set import RecordSet, as_bytes, hash_of, records_in, training_set
from tests.support.networks import letters

# bytes that a record may take: its hash, and the same again while arrays are joined
MOST_BYTES = 40


def numbered(number: int) -> bytes:
    return hash_of(number.to_bytes(8, "little"))


def test_it_holds_what_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_set, "RECENT", 100)
    known, reference = RecordSet(), set[bytes]()
    rng = np.random.default_rng(3)
    for number in rng.integers(0, 3000, 5000).tolist():
        hash = numbered(number)
        assert (hash in known) == (hash in reference)
        assert known.add(hash) == (hash not in reference)
        reference.add(hash)
        assert len(known) == len(reference)
    assert all(
        (numbered(number) in known) == (numbered(number) in reference) for number in range(4000)
    )


def test_many_at_once_are_those_added_one_by_one() -> None:
    rng = np.random.default_rng(4)
    known, reference = RecordSet(), set[bytes]()
    for _ in range(10):
        hashes = [numbered(number) for number in rng.integers(0, 2000, 500).tolist()]
        known.update(b"".join(hashes))
        reference |= set(hashes)
        assert len(known) == len(reference)
    known.update(b"")
    assert all(
        (numbered(number) in known) == (numbered(number) in reference) for number in range(3000)
    )


@pytest.mark.parametrize("at_once", [False, True])
def test_hashes_that_share_a_half_are_different(at_once: bool) -> None:
    half, known = b"\x01" * 8, RecordSet()
    hashes = [half + bytes([n]) * 8 for n in range(9)] + [bytes([n]) * 8 + half for n in range(9)]
    for hash in hashes[::2]:
        known.update(hash) if at_once else known.add(hash)
    if not at_once:
        known.update(b"")
    assert [hash in known for hash in hashes] == [hash in hashes[::2] for hash in hashes]
    known.update(b"".join(hashes))
    assert all(hash in known for hash in hashes)
    assert len(known) == len(set(hashes))


@pytest.mark.parametrize("scan", [1, 2, 3, 7, 1 << 20])
def test_the_records_of_a_text_wherever_a_block_ends(
    scan: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_set, "SCAN", scan)
    vocab = letters("\n\rabcdef")
    ids = vocab.encode("ab\ncdef\n\nf\nabc\r\nrest".replace("rest", "fed"))
    found = [vocab.decode(r) for r in records_in(ids, ((0, len(ids)),), vocab.encode("\n")[0])]
    assert found == ["ab", "cdef", "", "f", "abc\r", "fed"]
    found = [vocab.decode(r) for r in records_in(ids, ((3, 9), (11, 16)), vocab.encode("\n")[0])]
    assert found == ["cdef", "", "abc\r"]
    dropped = vocab.id_of("\r")
    known = training_set(ids, ((0, len(ids)),), int(vocab.encode("\n")[0]), dropped)
    for text in ("ab", "cdef", "", "f", "abc", "fed"):
        listed: Any = vocab.encode(text).tolist()
        assert hash_of(as_bytes(listed, ids.dtype)) in known
    assert len(known) == 6


def memory_of(count: int) -> float:
    """The most bytes for each of ``count`` records while they are added, one by one."""
    tracemalloc.start()
    try:
        known = RecordSet()
        for number in range(count):
            known.add(numbered(number))
        assert len(known) == count
        return tracemalloc.get_traced_memory()[1] / count
    finally:
        tracemalloc.stop()


def test_a_record_takes_forty_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_set, "RECENT", 1000)
    assert memory_of(100_000) < MOST_BYTES + 4


@pytest.mark.long
def test_ten_million_records_take_less_than_a_gib() -> None:
    assert memory_of(10_000_000) < MOST_BYTES + 4
