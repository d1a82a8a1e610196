"""The formats of export: a format is one entry of ``FORMATS``, and the suffix of a file chooses it.

The command line lists formats in its help, which must not wait for NumPy: import what a format
needs inside its function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.option import check

if TYPE_CHECKING:
    from charrnn.textmodel import TextModel


@dataclass(frozen=True)
class Format:
    """A form in which a model can be used without charrnn.

    Attributes:
        suffixes: what the names of its files end in, in lower case, the usual one first.
        description: what such a file is, in a few words, as part of a sentence.
        write: the bytes of the file for a model, in parts. It raises ``CheckpointError`` for a
            network that the format cannot hold.

    """

    suffixes: tuple[str, ...]
    description: str
    write: Callable[[TextModel], Iterable[bytes | memoryview[Any]]]


def _page(model: TextModel) -> Iterable[bytes]:
    from charrnn.export.page import page

    return page(model)


def _onnx(model: TextModel) -> Iterable[bytes]:
    from charrnn.export.onnx_model import onnx_model

    return onnx_model(model.checkpoint)


def _torch(model: TextModel) -> Iterable[bytes | memoryview[Any]]:
    from charrnn.export.torch_weights import torch_weights

    return torch_weights(model.checkpoint)


FORMATS = (
    Format((".html",), "a web page that writes text by itself", _page),
    Format((".onnx",), "a network for ONNX runtimes; needs onnx", _onnx),
    Format((".torch.safetensors",), "weights for plain torch modules", _torch),
)


def format_of(file: str | Path) -> Format:
    """The format that the suffix of ``file`` means.

    Raises:
        ConfigError: it means none.

    """
    name = Path(file).name.lower()
    found = next((f for f in FORMATS if name.endswith(f.suffixes) and name not in f.suffixes), None)
    check(found is not None, "file", str(file), f"a name that ends in {listed()}")
    assert found is not None
    return found


def listed() -> str:
    """The suffixes of all formats, each with what it means."""
    each = [f"{' or '.join(each.suffixes)} ({each.description})" for each in FORMATS]
    return f"{', '.join(each[:-1])} or {each[-1]}"
