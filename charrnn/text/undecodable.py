"""What to say about a text that does not decode: where, what it looks like, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TypeAlias

from charrnn.errors import DecodingError
from charrnn.text.kinds import HEAD, Kind, kind_of
from charrnn.text.places import place_after

Read: TypeAlias = Callable[[int, int], Iterable[bytes]]  # a text between two bytes, in blocks


@contextmanager
def explaining(read: Read, encoding: str, *, any_bytes: bool = False) -> Iterator[None]:
    """Complete a ``DecodingError`` of this block.

    Args:
        read: reads the text whose bytes are not in ``encoding``.
        encoding: the encoding.
        any_bytes: whether the text could be read as bytes instead.

    """
    try:
        yield
    except DecodingError as error:
        kind = kind_of(_sample(read, error.offset), encoding)
        told = error.offset > 0 and (kind is None or kind.is_text)
        where = f" ({place_after(read(0, error.offset), encoding)})" if told else ""
        looks = f", it looks like {kind.name}" if kind else ""
        hint, values = _advice(kind, any_bytes)
        message = f"{error.message}{where}{looks}"
        raise DecodingError(message, error.offset, hint, **values) from None


def _sample(read: Read, offset: int) -> bytes:
    """The beginning of a text, and what is around ``offset``."""
    if offset < HEAD // 2:
        return b"".join(read(0, HEAD))
    first = offset - HEAD // 4
    first -= first % 4
    return b"".join(chain(read(0, HEAD // 2), read(first, first + HEAD // 2)))


def _advice(kind: Kind | None, any_bytes: bool) -> tuple[str, dict[str, str]]:
    """A hint and its values."""
    if kind and kind.encoding:
        return "set {encoding}", {"encoding": kind.encoding}
    first = "set {encoding}" if kind is None else kind.advice or "name a text"
    return first + (", or read it with {is_bytes}" if any_bytes else ""), {}
