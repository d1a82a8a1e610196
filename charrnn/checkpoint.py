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
import re
import sys
from dataclasses import dataclass, field
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

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_ZEROS = "0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (PyTorch's torch.save writes those)",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"GGUF": "a GGUF file",
}

Tensors = dict[str, NDArray[Any]]


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
    start = blob.index(_ZEROS.encode(), 8)
    digest = hashlib.sha256(blob).hexdigest().encode()
    return b"".join([blob[:start], digest, blob[start + 64 :]])


def load(path: Path, *, extra: bool = False) -> Checkpoint:
    """Read the checkpoint at ``path``; with ``extra`` also what only resuming needs.

    Raises:
        CheckpointError: it is missing, damaged, not a checkpoint or not one we can hold.

    """
    tensors, note = read(path)
    try:
        if note.get("format") != FORMAT:
            raise ConfigError(f"format {note.get('format')!r} is not {FORMAT}: use a newer charrnn")
        config = ModelConfig.from_dict(_dict(note, "config"))
        vocab = Vocab.from_dict(_dict(note, "vocab"))
        if len(vocab) != config.vocab_size:
            raise ConfigError(f"{len(vocab)} symbols for a vocabulary of {config.vocab_size}")
        weights = _weights(tensors, config)
        meta = _dict(note, "meta")
    except ConfigError as error:
        raise CheckpointError(f"{path} is not usable: {error}") from None
    rest = {name: value for name, value in tensors.items() if name not in weights}
    return Checkpoint(config, vocab, weights, meta, rest if extra else {})


def _dict(note: dict[str, Any], name: str) -> dict[str, Any]:
    value = note.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"its note has no {name}")
    return value


def _weights(tensors: Tensors, config: ModelConfig) -> Tensors:
    weights: Tensors = {}
    for name, shape in config.shapes().items():
        if name not in tensors:
            raise ConfigError(f"it lacks {name}")
        value = tensors[name]
        if value.shape != shape:
            raise ConfigError(f"{name} is {value.shape} where its configuration says {shape}")
        if value.dtype.kind != "f":
            raise ConfigError(f"{name} is {value.dtype} where weights are floating point")
        weights[name] = value.astype(np.float32, copy=False)
        if not np.isfinite(weights[name]).all():
            raise ConfigError(f"{name} holds numbers that are not finite")
    return weights


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and note of the file at ``path``, its checksum verified.

    Raises:
        CheckpointError: as ``load``.

    """
    blob = _read_bytes(path)
    try:
        return _parse(blob)
    except _Damage as damage:
        raise CheckpointError(f"{path} {damage}") from None


class _Damage(Exception):
    """What is wrong with a file, to follow its name."""


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            path = path / BEST
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise CheckpointError(f"{path} has {size:,} bytes: more than any checkpoint")
        with open(path, "rb") as file:
            # what the header alone decides is decided before the rest is read
            head = file.read(8)
            _check_head(path, head, size)
            return head + file.read()
    except OSError as error:
        reason = "no such checkpoint" if isinstance(error, FileNotFoundError) else error.strerror
        raise CheckpointError(
            f"cannot read {path}: {reason}; charrnn ls shows what there is"
        ) from None


def _check_head(path: Path, head: bytes, size: int) -> None:
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise CheckpointError(f"{path} is {what}, not a charrnn checkpoint: it was not opened")
    header = int.from_bytes(head, "little")
    if len(head) < 8 or not 2 <= header <= min(MAX_HEADER_BYTES, size - 8):
        raise CheckpointError(f"{path} is not a charrnn checkpoint, or it is cut short")


def _parse(blob: bytes) -> tuple[Tensors, dict[str, Any]]:
    start = 8 + int.from_bytes(blob[:8], "little")
    header = blob[8:start]
    digests = list(_DIGEST.finditer(header))
    if len(digests) != 1:
        raise _Damage("carries no checksum: it is damaged or not a charrnn checkpoint")
    if _digest(blob, 8 + digests[0].start(1)) != digests[0][1].decode():
        raise _Damage("is damaged: its checksum does not fit")
    table = _json(header)
    metadata = table.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("charrnn"), str):
        raise _Damage("has no note: it is not a charrnn checkpoint")
    if len(table) > MAX_TENSORS:
        raise _Damage(f"has {len(table)} tensors: more than {MAX_TENSORS}")
    note = _json(metadata["charrnn"].encode())
    return _tensors(table, memoryview(blob)[start:]), note


def _digest(blob: bytes, place: int) -> str:
    view = memoryview(blob)
    digest = hashlib.sha256(view[:place])
    digest.update(_ZEROS.encode())
    digest.update(view[place + 64 :])
    return digest.hexdigest()


def _json(raw: bytes) -> dict[str, Any]:
    """A JSON object without duplicate keys, not nested past ``MAX_JSON_DEPTH``."""
    # cheaper than parsing, and json's own limit is the interpreter's stack
    depth = deepest = 0
    for byte in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", raw):
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    if deepest > MAX_JSON_DEPTH:
        raise _Damage("is nested too deep")
    try:
        value = json.loads(raw, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _Damage(f"has a header that is not JSON: {error}") from None
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


def _tensors(table: dict[str, Any], data: memoryview[Any]) -> Tensors:
    tensors: Tensors = {}
    end = 0
    for name, entry in sorted(table.items(), key=lambda item: _offsets(item[1])):
        dtype, shape, start, stop = *_layout(entry), *_offsets(entry)
        count = math.prod(shape)
        if start != end or stop - start != count * dtype.itemsize or stop > len(data):
            raise _Damage(f"has tensors that do not fit its data, {ascii(name)[:80]} first")
        tensors[name] = np.frombuffer(data, dtype, count, start).reshape(shape)
        end = stop
    if end != len(data):
        raise _Damage("has data that belongs to no tensor")
    return tensors


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
    if math.prod(shape) > MAX_TENSOR_ELEMENTS:
        raise _Damage("has a tensor that is too large")
    return DTYPES[dtype], shape


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= sys.maxsize
