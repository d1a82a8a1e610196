"""The header of a checkpoint file, read as if a stranger had written it.

Everything that an untrusted file may request is limited here, and checked before anything is
allocated for it. A ``Damage`` says what is wrong with a file, in words that follow the file's name.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from io import BufferedReader
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

# MAX_VOCABULARY, MAX_LAYERS and MAX_WIDTH of charrnn.model_config apply too.
MAX_FILE_BYTES = 8 << 30
MAX_HEADER_BYTES = 4 << 20
MAX_TENSORS = 64
MAX_TENSOR_ELEMENTS = 1 << 31
MAX_JSON_DEPTH = 32
MAX_JSON_PARTS = 10_000  # names and brackets
MAX_JSON_TEXTS = 20_000  # names and strings
MAX_JSON_VALUES = 200_000  # the largest vocabulary has two numbers for each symbol
MAX_DIGITS = 20  # in a number

EXPORTED = "charrnn_export"  # the metadata of a file that was exported for other programs
MAX_REASON = 300  # characters in a message that may quote the file

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
# A JSON string, or an unterminated one; the pattern never backtracks, so it takes linear time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MAX_DIGITS + 1))
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_FOREIGN_NAMES = {
    ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".zip", ".npy", ".npz", ".h5", ".hdf5",
    ".keras", ".gguf", ".onnx", ".tar", ".gz",
}  # fmt: skip
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (PyTorch's torch.save writes those)",
    b"PK\x05\x06": "an empty zip archive",
    **{bytes((0x80, protocol)): "a pickle" for protocol in range(2, 8)},
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"\x1f\x8b": "a gzip file",
}

Layout = tuple[np.dtype[Any], list[int]]  # of a tensor: type, shape


class Damage(Exception):
    """What is wrong with a file, in words that follow its name."""


def check_name(path: Path) -> None:
    """Refuse anything that is not a regular file, or has the suffix of another format.

    Raises:
        Damage: it is refused.

    """
    if not path.is_file():  # opening a pipe would wait forever
        raise Damage("is not a regular file, so it cannot be a checkpoint")
    if path.suffix.lower() in _FOREIGN_NAMES:
        raise Damage(
            f"is a {path.suffix} file: it was not opened; "
            "charrnn reads only the .safetensors files that it writes"
        )


def read_header(file: BufferedReader) -> bytes:
    """The bytes before the data: the header's length, and the header.

    Raises:
        Damage: the file is too large, or does not begin like a checkpoint.

    """
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE_BYTES:
        raise Damage(f"has {size:,} bytes, more than any checkpoint")
    head = file.read(8)
    length = int.from_bytes(head, "little")
    fits = len(head) == 8 and 2 <= length <= min(MAX_HEADER_BYTES, size - 8)
    what = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None)
    # a length may happen to look like another format, but then a header follows with its brace
    if fits and (what is None or file.peek(1)[:1] == b"{"):
        return head + file.read(length)
    if what is not None:
        raise Damage(f"is {what}, not a charrnn checkpoint: it was not opened")
    raise Damage("is not a charrnn checkpoint, or it is cut short")


def parse(header: bytes, room: int) -> tuple[dict[str, Layout], dict[str, Any]]:
    """The layouts of the tensors after the header, in file order, and our metadata.

    Args:
        header: the header in JSON.
        room: the number of bytes after it, which the tensors must fill exactly.

    Raises:
        Damage: they do not, or there are no metadata, or something is beyond its limit.

    """
    table = _json(header)
    metadata = table.pop("__metadata__", None)
    if isinstance(metadata, dict) and EXPORTED in metadata:
        raise Damage("has plain weights for torch: name the checkpoint that it was exported from")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("charrnn"), str):
        raise Damage("has no metadata of ours: it is not a charrnn checkpoint")
    if len(table) > MAX_TENSORS:
        raise Damage(f"has {len(table)} tensors, more than {MAX_TENSORS}")
    layouts = _layouts(table, room)
    return layouts, _json(metadata["charrnn"].encode("utf-8", "surrogatepass"))


def _json(raw: bytes) -> dict[str, Any]:
    """A JSON object without duplicate names and within the limits."""
    _check_json(raw)
    try:
        value = json.loads(
            raw.decode("ascii"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise Damage(f"has a header that is not JSON: {str(error)[:MAX_REASON]}") from None
    if not isinstance(value, dict):
        raise Damage("has a header that is not a JSON object")
    return value


def _check_json(raw: bytes) -> None:
    """Check the limits before parsing: 4 MiB of ``{},`` would become 100 MiB of dictionaries."""
    if raw.count(b'"') > 2 * MAX_JSON_TEXTS or raw.count(b",") > MAX_JSON_VALUES:
        raise Damage("has a header with too many parts")
    outside = _STRING.sub(b"", raw)
    brackets = outside.translate(None, _NO_BRACKETS)
    names, opening = outside.count(b":"), brackets.count(b"[") + brackets.count(b"{")
    if names + opening > MAX_JSON_PARTS or len(brackets) > 2 * MAX_JSON_PARTS:
        raise Damage("has a header with too many parts")
    depths = accumulate(1 if byte in b"[{" else -1 for byte in brackets)
    if max(depths, default=0) > MAX_JSON_DEPTH:
        raise Damage("has a header that is nested too deeply")
    if _NUMBER.search(outside):
        raise Damage(f"has a number of more than {MAX_DIGITS} digits")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _layouts(table: dict[str, Any], room: int) -> dict[str, Layout]:
    """Type and shape of each tensor in file order; there must be no gaps."""
    layouts: dict[str, Layout] = {}
    end = 0
    for name, entry in sorted(table.items(), key=lambda item: _offsets(item[1])):
        (dtype, shape), (start, stop) = _layout(entry), _offsets(entry)
        size = math.prod(shape) * dtype.itemsize
        if start != end or stop - start != size or stop > room:
            shown = ascii(name)[:80]
            raise Damage(f"is damaged or cut short: tensor {shown} does not fit its data")
        layouts[name] = dtype, shape
        end = stop
    if end != room:
        raise Damage("has data that belongs to no tensor")
    return layouts


def _offsets(entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise Damage("has a tensor without a position")
    return offsets[0], offsets[1]


def _layout(entry: dict[str, Any]) -> Layout:
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES or len(entry) != 3:
        raise Damage(f"has a tensor of type {ascii(dtype)[:40]}")
    if not isinstance(shape, list) or len(shape) > 4 or not all(map(_is_size, shape)):
        raise Damage("has a tensor with an invalid shape")
    if math.prod(max(n, 1) for n in shape) > MAX_TENSOR_ELEMENTS:
        raise Damage("has a tensor that is too large")
    return DTYPES[dtype], shape


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= sys.maxsize
