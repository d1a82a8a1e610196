"""A text with everything in it that is easy to lose, any text, and texts encoded."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from charrnn.text.corpus import Corpus, encode_corpus

TEXT = "\ufeffПривет, мир!\r\nGrüße – 😀\x00\tend"
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def encode(*contents: bytes, name: str = "t", **settings: object) -> Corpus:
    """A corpus of files with these ``contents``, as ``encode_corpus`` reads them."""
    paths = [Path(f"{name}{i}.txt") for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return encode_corpus(paths, **settings)  # type: ignore[arg-type]
