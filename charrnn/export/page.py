"""A model as one web page that writes text by itself."""

from __future__ import annotations

from collections.abc import Iterable

from charrnn.insight.markup import escaped
from charrnn.textmodel import TextModel


def page(model: TextModel) -> Iterable[bytes]:
    """The page of ``model``, in parts."""
    yield f"<!doctype html>\n<title>{escaped(model.name)}</title>\n".encode()
