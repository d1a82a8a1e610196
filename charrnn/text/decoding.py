"""Bytes become code points: strictly, wherever blocks end."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError, DecodingError
from charrnn.text.sources import Source, blocks
from charrnn.text.undecodable import explaining

# codecs for single host names, which take forever over a text
_NO_TEXTS = {"idna", "punycode"}
# codecs that decode a character's bytes the same way whatever came before them
_STATELESS = {"utf-8", "ascii", "iso8859-1"}
BYTE_ORDER_MARK = "\ufeff"
# encodings that keep a byte order mark as a character, and those that omit it
_MARKLESS = {"utf-8": "utf-8-sig"} | {
    f"utf-{bits}-{order}": f"utf-{bits}" for bits in (16, 32) for order in ("le", "be")
}


def begins_anew(encoding: str) -> bool:
    """Whether texts decoded separately may differ from their concatenated bytes decoded as one.

    A new decoder drops a byte order mark and starts unshifted.
    """
    return encoding != "bytes" and find_codec(encoding).name not in _STATELESS


def markless(encoding: str) -> str | None:
    """The variant of ``encoding`` that omits a byte order mark; None if it has no such variant."""
    return None if encoding == "bytes" else _MARKLESS.get(find_codec(encoding).name)


def find_codec(encoding: str) -> codecs.CodecInfo:
    """The codec of a text encoding.

    Raises:
        CorpusError: there is no text encoding of this name.

    """
    try:
        codec = codecs.lookup(encoding)
        with suppress(UnicodeError):
            b"ab".decode(codec.name)  # LookupError for codecs that do not make text, such as hex
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.name in _NO_TEXTS:
        hint = "set {encoding} to utf-8, utf-16, latin-1 or cp1252, for instance"
        raise CorpusError(f"unknown encoding {encoding!r}", hint)
    return codec


def code_blocks(
    sources: Sequence[Source], encoding: str
) -> Iterator[tuple[bytes, NDArray[np.unsignedinteger[Any]]]]:
    """Each block's raw bytes and its code points (for encoding ``bytes``, the bytes themselves).

    Each source ends with an empty block of bytes.

    Raises:
        CorpusError: a source can no longer be read.
        DecodingError: a source is not in ``encoding``; the offset counts from its first byte.

    """
    for source in sources:
        reader = BlockDecoder(encoding, source.name, truncated=source.cut)
        for raw in blocks(source):
            with explaining(source.between, encoding, any_bytes=True):
                codes = reader.codes(raw)
            yield raw, codes
        with explaining(source.between, encoding, any_bytes=True):
            codes = reader.end()
        yield b"", codes


def decode_text(raw: bytes, encoding: str) -> str:
    """A whole text as characters.

    Raises:
        CorpusError: there is no encoding called ``encoding``.
        DecodingError: the text is not in ``encoding``; names the byte offset.

    """
    with explaining(lambda start, stop: [raw[start:stop]], encoding):
        return BlockDecoder(encoding, "the text").text(raw, final=True)


class BlockDecoder:
    """A strict decoder of blocks of bytes, which may end in the middle of a character.

    Args:
        encoding: the encoding; ``bytes`` makes every byte a code point.
        name: the name of the text, for errors.
        truncated: whether to ignore an incomplete character at the very end.

    """

    def __init__(self, encoding: str, name: str, truncated: bool = False) -> None:
        self._raw = encoding == "bytes"
        codec = find_codec("ascii" if self._raw else encoding)
        self._decoder = codecs.getincrementaldecoder(codec.name)("strict")
        self._ascii_inside = codec.name in _STATELESS
        self._encoding, self._name, self._truncated = encoding, name, truncated
        self._done = 0  # bytes decoded
        self._pending = 0  # bytes that wait for the rest of their character

    def codes(self, raw: bytes) -> NDArray[np.unsignedinteger[Any]]:
        """The code points of one more block."""
        # the bytes of ASCII are its code points already: no decoding, and a quarter of the memory
        if self._raw or (self._ascii_inside and not self._pending and raw.isascii()):
            self._done += len(raw)
            return np.frombuffer(raw, np.uint8)
        return self._decode(raw, final=False)

    def end(self) -> NDArray[np.unsignedinteger[Any]]:
        """The code points that are left at the end of the source."""
        if self._raw or (self._truncated and self._pending):
            return np.empty(0, np.uint8)
        return self._decode(b"", final=True)

    def _decode(self, raw: bytes, final: bool) -> NDArray[np.unsignedinteger[Any]]:
        text = self.text(raw, final)
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)

    def text(self, raw: bytes, final: bool) -> str:
        """The characters of one more block; the ``final`` one must not end within a character.

        Raises:
            DecodingError: the bytes are not in this encoding.

        """
        try:
            text = self._decoder.decode(raw, final)
        except UnicodeDecodeError as error:
            # the decoder sees the pending bytes and this block, perhaps without its mark
            mark = self._pending + len(raw) - len(error.object)
            offset = self._done + mark + error.start
            message = f"{self._name} is not {self._encoding} at byte {offset}"
            raise DecodingError(message, offset) from None
        except UnicodeError as error:
            raise DecodingError(
                f"{self._name} is not {self._encoding} near byte {self._done}: {error}", self._done
            ) from None
        waiting = self._decoder.getstate()[0]
        self._done += self._pending + len(raw) - len(waiting)
        self._pending = len(waiting)
        return text
