"""Lines of a text as they arrive, from a pipe for instance, many at once where many are waiting."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import IO, Any

from charrnn.errors import DecodingError
from charrnn.text.decoding import BYTE_ORDER_MARK, BlockDecoder
from charrnn.text.sources import BLOCK, arriving

MOST = 4096  # lines that are handed on at a time


def arriving_lines(
    file: IO[bytes], name: str, encoding: str, *, marked: bool = False, most: int = BLOCK
) -> Iterator[list[str] | list[bytes]]:
    """Lists of the lines of ``file`` without their line feeds, each as soon as it is complete.

    A file packed with gzip or zstd is unpacked. The last line need not have a line feed.

    Args:
        file: an open file or pipe.
        name: its name, for errors.
        encoding: its encoding; ``bytes`` gives lines of bytes.
        marked: whether to keep a byte order mark at the beginning.
        most: how many bytes of the file are read at a time.

    Raises:
        CorpusError: it can no longer be read.
        DecodingError: it is not in this encoding.
        Interrupted: a signal arrived.

    """
    # of text and bytes alike: mypy cannot follow
    end: Any = b"\n" if encoding == "bytes" else "\n"
    rest: Any = end[:0]
    first = encoding != "bytes" and not marked
    for text in _texts(file, name, encoding, most):
        if first and text:
            text, first = text.removeprefix(BYTE_ORDER_MARK), False
        if end not in text:
            rest += text
            continue
        *lines, rest = (rest + text).split(end)
        for start in range(0, len(lines), MOST):
            yield lines[start : start + MOST]
    if rest:
        yield [rest]


def _texts(file: IO[bytes], name: str, encoding: str, most: int) -> Iterator[Any]:
    if encoding == "bytes":
        yield from arriving(file, name, most)
        return
    decoder, lines = BlockDecoder(encoding, "the text"), 1
    for block, final in chain(((b, False) for b in arriving(file, name, most)), [(b"", True)]):
        try:
            text = decoder.text(block, final)
        except DecodingError as error:
            # what came before this block is gone, so its lines have been counted
            message = f"{error.message} (after line {lines - 1:,})" if lines > 1 else error.message
            raise DecodingError(message, error.offset, "set {encoding}") from None
        lines += text.count("\n")
        yield text
