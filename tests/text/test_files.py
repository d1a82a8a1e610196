"""Folders and patterns: which files they mean, in which order; and which are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import CorpusError, DecodingError
from charrnn.text.corpus import Corpus, encode_corpus
from charrnn.text.files import find_files, is_pattern, names

BOOKS = {
    "books/b.txt": "b", "books/a/z.txt": "z", "books/a.txt": "a", "books/B.txt": "B",
    "books/a/deep/10.txt": "ten", "books/a/deep/9.txt": "nine", "books/notes.md": "m",
    "books/.hidden.txt": "h", "books/.git/c.txt": "c",
}  # fmt: skip


@pytest.fixture(autouse=True)
def books() -> None:
    for name, text in BOOKS.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def text(corpus: Corpus) -> str:
    return corpus.vocab.decode(corpus.ids)


@pytest.mark.parametrize(("path", "wanted"), [
    ("books", "B ten nine z a b m"),
    ("books/", "B ten nine z a b m"),
    ("books/a", "ten nine z"),
    ("books/*.txt", "B a b"),
    ("books/**/*.txt", "B ten nine z a b"),
    ("books/**", "B ten nine z a b m"),
    ("**/?.txt", "B nine z a b"),
    ("**/[!z].txt", "B nine a b"),
    ("books/.*.txt", "h"),
    ("books/.git", "c"),
    ("books/.hidden.txt", "h"),
])  # fmt: skip
def test_files_are_read_folder_by_folder_in_the_order_of_their_code_points(
    path: str, wanted: str
) -> None:
    for root in ("", f"{Path.cwd()}/"):
        assert text(encode_corpus([root + path])) == wanted.replace(" ", "")
    assert text(encode_corpus([Path(path)])) == wanted.replace(" ", "")


def test_arguments_are_read_in_the_order_in_which_they_are_named() -> None:
    assert text(encode_corpus(["books/b.txt", "books/a", "books/a.txt"])) == "btennineza"


def test_a_corpus_is_called_as_it_was_named() -> None:
    here = Path.cwd()
    assert names(["books/"]) == "books"
    assert names([here / "books" / "**" / "*.txt", "-"]) == "books/**/*.txt + standard input"
    assert names(["*.txt"]) == "*.txt"
    assert names(["."]) == here.name
    assert encode_corpus(["books", "books/*.md"]).name == "books + books/*.md"


def test_the_order_does_not_depend_on_how_the_system_lists_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = [found.name for found in find_files("books")]
    assert wanted[0] == "books/B.txt"
    walk = os.walk

    def backwards(top: Path, onerror: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for where, folders, files in walk(top, onerror=onerror):
            folders.reverse()
            yield where, folders, files[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    assert [found.name for found in find_files("books")] == wanted


def test_a_file_with_the_name_of_a_pattern_is_a_file() -> None:
    Path("what?.txt").write_text("yes")
    Path("whats.txt").write_text("no")
    assert not is_pattern("what?.txt")
    assert text(encode_corpus(["what?.txt"])) == "yes"


def test_links_are_followed_to_files_but_not_to_folders() -> None:
    Path("books/a/up").symlink_to(Path("..").absolute(), target_is_directory=True)
    Path("books/a/loop").symlink_to(".", target_is_directory=True)
    Path("books/a/nothing.txt").symlink_to("missing")
    Path("books/a/zz.txt").symlink_to(Path("books/b.txt").absolute())
    os.mkfifo("books/a/pipe.txt")
    assert text(encode_corpus(["books/a"])) == "tenninezb"
    assert text(encode_corpus(["books/a/**/*.txt"])) == "tenninezb"


def test_what_means_no_file_is_refused() -> None:
    Path("empty/.git").mkdir(parents=True)
    with pytest.raises(CorpusError, match="the folder empty has no files"):
        encode_corpus(["empty"])
    with pytest.raises(CorpusError, match=r"no file matches books/\*\.pdf"):
        encode_corpus(["books/*.pdf"])
    with pytest.raises(CorpusError, match=r"no file matches missing/\*"):
        encode_corpus(["missing/*"])
    with pytest.raises(CorpusError, match=r"cannot read missing: No such file"):
        encode_corpus(["missing"])


# --- files that are not texts


def test_a_file_that_is_not_a_text_is_named_with_its_byte() -> None:
    Path("books/a/photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")
    with pytest.raises(DecodingError) as caught:
        encode_corpus(["books"])
    said = "books/a/photo.jpg is not utf-8 at byte 0, it looks like a JPEG image; name a text, or "
    assert str(caught.value) == said + "read it with is_bytes, or omit it with skip_bad"
    with pytest.raises(DecodingError) as caught:
        encode_corpus(["books/a/photo.jpg"])
    assert "skip_bad" not in str(caught.value)


def test_files_that_are_not_texts_are_skipped_and_named(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    wanted = encode_corpus(["books"], skip_bad=True, cache=cache)
    assert wanted.skipped == ()
    Path("books/a/photo.jpg").write_bytes(b"text at first\xff\xd8\xff\xe0\0\x10JFIF")
    Path("books/a/old.txt").write_bytes(b"na\xefve")
    Path("books/a/cut.gz").write_bytes(b"\x1f\x8b\x08\0")
    Path("books/table.dat").write_bytes(b"numbers\0\0\0")
    for _ in range(2):  # encoded, and found in the cache
        corpus = encode_corpus(["books"], skip_bad=True, cache=cache)
        assert text(corpus) == text(wanted)
        assert corpus.sha256 == wanted.sha256
        assert [said.partition(",")[0] for said in corpus.skipped] == [
            "books/a/cut.gz is cut short: it ends at byte 4",
            "books/a/old.txt is not utf-8 at byte 2 (line 1",
            "books/a/photo.jpg is not utf-8 at byte 13",
            "books/table.dat has a NUL at byte 7",
        ]
    raw = encode_corpus(["books"], skip_bad=True, is_bytes=True, cache=cache)
    assert [said[:15] for said in raw.skipped] == ["books/a/cut.gz "]  # others are bytes


def test_what_is_skipped_does_not_count() -> None:
    Path("a").write_bytes(b"\xffabc")
    for limit, wanted in ((1, "t"), (5, "tenni"), (6, "tennin")):
        corpus = encode_corpus(["a", "books/a"], skip_bad=True, max_bytes=limit)
        assert text(corpus) == wanted


def test_if_no_file_is_a_text_the_first_is_named() -> None:
    Path("a").write_bytes(b"abc\xff")
    Path("b").write_bytes(b"\xff")
    with pytest.raises(CorpusError, match="no file is a text: a is not utf-8 at byte 3"):
        encode_corpus(["a", "b"], skip_bad=True)
    with pytest.raises(CorpusError, match="No such file"):
        encode_corpus(["missing", "books"], skip_bad=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_in_a_folder_that_cannot_be_read_is_skipped() -> None:
    Path("books/b.txt").chmod(0)
    with pytest.raises(CorpusError, match=r"cannot read books/b\.txt: Permission denied"):
        encode_corpus(["books"])
    assert encode_corpus(["books"], skip_bad=True).skipped == (
        "cannot read books/b.txt: Permission denied",
    )
