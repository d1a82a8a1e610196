"""A text with everything in it that is easy to lose, any text, and texts encoded."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import strategies as st

from charrnn.text.corpus import Corpus, encode_corpus
from charrnn.text.symbols import NAMED
from charrnn.text.vocab import Vocab

TEXT = "\ufeffПривет, мир!\r\nGrüße – 😀\x00\tend"
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def encode(*contents: bytes, name: str = "t", **settings: object) -> Corpus:
    """A corpus of files with these ``contents``, as ``encode_corpus`` reads them."""
    paths = [Path(f"{name}{i}.txt") for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return encode_corpus(paths, **settings)  # type: ignore[arg-type]


def in_words(text: str) -> Vocab:
    """A vocabulary of the characters of ``text``, and of its words as symbols."""
    expression = NAMED["words"]
    long = tuple(sorted({word for word in re.findall(expression, text) if len(word) > 1}))
    codes = tuple(sorted(set(map(ord, text))))
    return Vocab(codes, (1,) * (len(codes) + len(long)), False, long, expression)
