"""One safetensors file a checkpoint: weights, configuration, alphabet and history. No code in it.

The file's header carries one JSON note under ``charrnn`` and a sha256 over every byte of the file
(its own 64 digits counted as zeros). Files are written atomically through ``charrnn.files`` and
read as if a stranger had made them: the caps below hold before anything is allocated, and shapes
are checked against the configuration before a network is built.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, ConfigError
from charrnn.files import write_atomic
from charrnn.library import BEST
from charrnn.text.vocab import Vocab

FORMAT = 1

# What an untrusted file may ask for.
MAX_HEADER_BYTES = 4 << 20
MAX_TENSORS = 64
MAX_TENSOR_ELEMENTS = 1 << 31
MAX_FILE_BYTES = 8 << 30
MAX_JSON_DEPTH = 32
MAX_JSON_PARTS = 10_000  # names and brackets; numbers and texts are not counted
MAX_REASON = 300  # characters of a message that may quote the file

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_ZEROS = "0" * 64
# A JSON string, or what begins as one and never ends; nothing is tried twice, so time is linear.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (PyTorch's torch.save writes those)",
    **{bytes((0x80, protocol)): "a pickle" for protocol in range(2, 8)},
    b"GGUF": "a GGUF file",
}

Tensors = dict[str, NDArray[Any]]
Layout = tuple[np.dtype[Any], list[int], int]  # type, shape, first byte


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    ``weights`` are those of ``config.shapes()``, in float32. ``meta`` is the note's free part
    (corpus, split, losses, recipe, licence …); ``extra`` holds the further tensors that resuming
    needs.
    """

    config: ModelConfig
    vocab: Vocab
    weights: Tensors
    meta: dict[str, Any] = field(default_factory=dict)
    extra: Tensors = field(default_factory=dict)

    def about(self, name: str) -> dict[str, Any]:
        """A part of ``meta``; empty where the note, which may be anybody's, has no such part."""
        part = self.meta.get(name)
        return part if isinstance(part, dict) else {}

    def save(self, path: Path, *, half: bool = False) -> None:
        """Write the checkpoint to ``path``, atomically; ``half`` stores weights as float16.

        Raises:
            OSError: it could not be written; what was at ``path`` is still there.

        """
        weights = {
            name: value.astype(np.float16 if half else np.float32)
            for name, value in self.weights.items()
        }
        note = {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "vocab": self.vocab.to_dict(),
            "meta": self.meta,
        }
        write_atomic(path, [serialize(weights | self.extra, note)])


def serialize(tensors: Tensors, note: dict[str, Any]) -> bytes:
    """The bytes of a safetensors file with ``note`` and the checksum in its header."""
    from safetensors.numpy import save

    text = json.dumps(note, allow_nan=False, separators=(",", ":"))
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    blob = save(arrays, {"charrnn": text, "sha256": _ZEROS})
    end = 8 + int.from_bytes(blob[:8], "little")
    # safetensors leaves the order of its metadata to chance; equal checkpoints are equal files
    table = json.loads(blob[8:end])
    table["__metadata__"] = {"charrnn": text, "sha256": _ZEROS}
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    start, data = len(header).to_bytes(8, "little") + header, memoryview(blob)[end:]
    # inside the note a quote is written \", so this is the checksum's own place
    place = start.index(f'"sha256":"{_ZEROS}"'.encode()) + len('"sha256":"')
    digest = hashlib.sha256(start)
    digest.update(data)
    return b"".join([start[:place], digest.hexdigest().encode(), start[place + 64 :], data])


def load(path: Path, *, extra: bool = False) -> Checkpoint:
    """Read the checkpoint at ``path``; with ``extra`` also what only resuming needs.

    Raises:
        CheckpointError: it is missing, damaged, not a checkpoint or not one we can hold.

    """
    try:
        if path.is_dir():
            path = path / BEST
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise _Damage("is not a file, so not a checkpoint")
        with open(path, "rb") as file:
            return _load(file, extra)
    except OSError as error:
        reason = "no such checkpoint" if isinstance(error, FileNotFoundError) else error.strerror
        raise CheckpointError(
            f"cannot read {path}: {reason}; charrnn ls shows what there is"
        ) from None
    except ConfigError as error:
        raise CheckpointError(f"{path} is not usable: {str(error)[:MAX_REASON]}") from None
    except _Damage as damage:
        raise CheckpointError(f"{path} {damage}") from None


class _Damage(Exception):
    """What is wrong with a file, to follow its name."""


def _load(file: BufferedReader, extra: bool) -> Checkpoint:
    """What the header alone decides is decided before the rest is read."""
    start = _read_header(file)
    room = os.fstat(file.fileno()).st_size - len(start)
    layouts, note = _parse(start[8:], room)
    if note.get("format") != FORMAT:
        raise ConfigError(f"format {note.get('format')!r} is not {FORMAT}: use a newer charrnn")
    config = ModelConfig.from_dict(_dict(note, "config"))
    vocab = Vocab.from_dict(_dict(note, "vocab"))
    if len(vocab) != config.vocab_size:
        raise ConfigError(f"{len(vocab)} symbols for a vocabulary of {config.vocab_size}")
    meta = _dict(note, "meta")
    _check_layouts(layouts, config)
    tensors = _read_tensors(file, start, layouts, room)
    weights = {name: _weight(name, tensors.pop(name)) for name in config.shapes()}
    return Checkpoint(config, vocab, weights, meta, tensors if extra else {})


def _dict(note: dict[str, Any], name: str) -> dict[str, Any]:
    value = note.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"its note has no {name}")
    return value


def _check_layouts(layouts: dict[str, Layout], config: ModelConfig) -> None:
    for name, wanted in config.shapes().items():
        if name not in layouts:
            raise ConfigError(f"it lacks {name}")
        dtype, shape, _ = layouts[name]
        if tuple(shape) != wanted:
            raise ConfigError(f"{name} is {tuple(shape)} where its configuration says {wanted}")
        if dtype.kind != "f":
            raise ConfigError(f"{name} is {dtype} where weights are floating point")


def _weight(name: str, stored: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        value = stored.astype(np.float32, copy=False)
    if not np.isfinite(value).all():
        raise ConfigError(f"{name} holds numbers that are not finite")
    return value


def _read_header(file: BufferedReader) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE_BYTES:
        raise _Damage(f"has {size:,} bytes: more than any checkpoint")
    head = file.read(8)
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise _Damage(f"is {what}, not a charrnn checkpoint: it was not opened")
    header = int.from_bytes(head, "little")
    if len(head) < 8 or not 2 <= header <= min(MAX_HEADER_BYTES, size - 8):
        raise _Damage("is not a charrnn checkpoint, or it is cut short")
    return head + file.read(header)


def _read_tensors(
    file: BufferedReader, start: bytes, layouts: dict[str, Layout], room: int
) -> Tensors:
    """The tensors behind the header ``start``, if the checksum fits."""
    data = bytearray(room)
    if file.readinto(data) != room:
        raise _Damage("became shorter while it was being read")
    _check_digest(start, data)
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), place).reshape(shape)
        for name, (dtype, shape, place) in layouts.items()
    }


def _parse(header: bytes, room: int) -> tuple[dict[str, Layout], dict[str, Any]]:
    table = _json(header)
    metadata = table.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("charrnn"), str):
        raise _Damage("has no note: it is not a charrnn checkpoint")
    if len(table) > MAX_TENSORS:
        raise _Damage(f"has {len(table)} tensors: more than {MAX_TENSORS}")
    note = _json(metadata["charrnn"].encode("utf-8", "surrogatepass"))
    return _layouts(table, room), note


def _check_digest(start: bytes, data: bytearray) -> None:
    digests = list(_DIGEST.finditer(start))
    if len(digests) != 1:
        raise _Damage("carries no checksum: it is damaged or not a charrnn checkpoint")
    place = digests[0].start(1)
    digest = hashlib.sha256(start[:place] + _ZEROS.encode() + start[place + 64 :])
    digest.update(data)
    if digest.hexdigest() != digests[0][1].decode():
        raise _Damage("is damaged: its checksum does not fit")


def _json(raw: bytes) -> dict[str, Any]:
    """A JSON object without duplicate keys, nested and divided no more than the caps allow."""
    # cheaper than parsing: 4 MiB of "{}," would become 100 MiB of dictionaries
    outside = _STRING.sub(b"", raw)
    if sum(map(outside.count, (b":", b"[", b"{"))) > MAX_JSON_PARTS:
        raise _Damage("has a header of too many parts")
    depths = accumulate(1 if byte in b"[{" else -1 for byte in outside if byte in b"[]{}")
    if max(depths, default=0) > MAX_JSON_DEPTH:
        raise _Damage("is nested too deep")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise _Damage(f"has a header that is not JSON: {str(error)[:MAX_REASON]}") from None
    if not isinstance(value, dict):
        raise _Damage("has a header that is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands twice")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _layouts(table: dict[str, Any], room: int) -> dict[str, Layout]:
    layouts: dict[str, Layout] = {}
    end = 0
    for name, entry in sorted(table.items(), key=lambda item: _offsets(item[1])):
        dtype, shape, start, stop = *_layout(entry), *_offsets(entry)
        count = math.prod(shape)
        if start != end or stop - start != count * dtype.itemsize or stop > room:
            raise _Damage(f"has tensors that do not fit its data, {ascii(name)[:80]} first")
        layouts[name] = dtype, shape, start
        end = stop
    if end != room:
        raise _Damage("has data that belongs to no tensor")
    return layouts


def _offsets(entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise _Damage("has a tensor without a place")
    return offsets[0], offsets[1]


def _layout(entry: dict[str, Any]) -> tuple[np.dtype[Any], list[int]]:
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _Damage(f"has a tensor of type {ascii(dtype)[:40]}")
    if not isinstance(shape, list) or len(shape) > 4 or not all(map(_is_size, shape)):
        raise _Damage("has a tensor with a bad shape")
    if math.prod(max(n, 1) for n in shape) > MAX_TENSOR_ELEMENTS:
        raise _Damage("has a tensor that is too large")
    return DTYPES[dtype], shape


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= sys.maxsize
