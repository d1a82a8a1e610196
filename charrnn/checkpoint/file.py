"""A checkpoint: one safetensors file of weights, configuration, vocabulary and history, no code.

The header of the file has metadata in JSON under ``charrnn``, and a sha256 over every byte of the
file (with its own 64 digits as zeros). Weights are float32, float16 or float64; in format 3 the
layers' matrices may be int8, and then a tensor ``scales`` in float32 has a factor for each of their
rows, matrix by matrix in the order of ``config.shapes()``.

Files are written atomically by ``charrnn.atomic_io`` and read as if a stranger had made them: the
limits in ``header`` apply before anything is allocated, shapes are checked against the
configuration before a network is built, and a large file is checked to its last byte before any of
it is kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from charrnn.arguments import checked
from charrnn.atomic_io import write_atomic
from charrnn.checkpoint.header import (
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    MAX_REASON,
    Damage,
    Layout,
    check_name,
    parse,
    read_header,
)
from charrnn.checkpoint.int8 import SCALES, Int8Weights, matrices, rows, to_store
from charrnn.config import ModelConfig, WeightDtype
from charrnn.errors import CheckpointError, ConfigError
from charrnn.paths import BEST
from charrnn.settings import check_choice
from charrnn.text.vocab import Vocab

# Format 2 names the parts of the recurrent state, which only resuming needs. A file without a
# state, the kind to share, is the same in both formats and is written as format 1, which every
# version of charrnn reads. Format 3 may have weights in int8, and format 4 symbols of several
# characters.
FORMATS = (1, 2, 3, 4)
_FIRST_NAMES = {"state.hx": "state.h", "state.cx": "state.c"}  # names in format 1 and today

BLOCK = 1 << 20
AT_ONCE = 32 << 20  # bytes; if more are to be kept, all of the file is checked before any of it is

_ZEROS = "0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')

Tensors = dict[str, NDArray[Any]]
Weights = Mapping[str, NDArray[Any]]


@checked
@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes:
        config: the shape of the network.
        vocab: its vocabulary.
        weights: the arrays that ``config.shapes()`` lists, in float32.
        meta: the free part of the metadata: corpus, split, losses, recipe, licence and so on.
        extra: further tensors, which only resuming needs.
        weight_dtype: the number format of the recurrent weights in the file that it was read from.

    """

    config: ModelConfig
    vocab: Vocab
    weights: Weights
    meta: dict[str, Any] = field(default_factory=dict)
    extra: Tensors = field(default_factory=dict)
    weight_dtype: str = "float32"

    def about(self, name: str) -> dict[str, Any]:
        """The part ``name`` of ``meta``; empty if an untrusted file has no such part."""
        part = self.meta.get(name)
        return part if isinstance(part, dict) else {}

    def save(
        self, path: str | Path, *, half: bool = False, weight_dtype: WeightDtype | None = None
    ) -> None:
        """Write the checkpoint to ``path``, atomically.

        Args:
            path: the file.
            half: whether to store weights as float16 instead of float32.
            weight_dtype: the number format of the weights. With ``int8`` the layers' matrices have
                a scale for each row, and all else is float16. Default: float32, or what ``half``
                says.

        Raises:
            OSError: it could not be written; an older file at ``path`` is still there.
            CheckpointError: it would be too large to be read again.
            ConfigError: ``weight_dtype`` is invalid.

        """
        dtype = weight_dtype or ("float16" if half else "float32")
        check_choice("weight_dtype", dtype, get_args(WeightDtype))
        if dtype == "int8":
            weights = to_store(self.config, self.weights)
        else:
            weights = {name: value.astype(dtype) for name, value in self.weights.items()}
        metadata = {
            "format": self._format(dtype),
            "config": self.config.to_file(),
            "vocab": self.vocab.to_dict(),
            "meta": self.meta,
        }
        start, data = serialize(weights | self.extra, metadata)
        if len(start) - 8 > MAX_HEADER_BYTES or len(start) + len(data) > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{path} would have {len(start) + len(data):,} bytes, {len(start):,} of them in "
                f"the header: the limits are {MAX_FILE_BYTES:,} and {MAX_HEADER_BYTES:,}"
            )
        write_atomic(Path(path), [start, data])

    def _format(self, dtype: str) -> int:
        """The lowest format that has all this: the oldest versions can read it."""
        if self.vocab.expression:
            return 4
        return 3 if dtype == "int8" else 2 if self.extra else 1


def serialize(tensors: Tensors, metadata: dict[str, Any]) -> tuple[bytes, memoryview[Any]]:
    """The two parts of a checkpoint file: the header with metadata and checksum, and the data."""
    text = json.dumps(metadata, allow_nan=False, separators=(",", ":"))
    start, data = pack(tensors, {"charrnn": text, "sha256": _ZEROS})
    # inside our metadata quotes are escaped, so this matches only the checksum itself
    place = start.index(f'"sha256":"{_ZEROS}"'.encode()) + len('"sha256":"')
    digest = hashlib.sha256(start)
    digest.update(data)
    return b"".join([start[:place], digest.hexdigest().encode(), start[place + 64 :]]), data


def pack(tensors: Tensors, metadata: dict[str, str]) -> tuple[bytes, memoryview[Any]]:
    """The two parts of any safetensors file, the header and the data; the same for equal values."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    blob = save(arrays, metadata)
    end = 8 + int.from_bytes(blob[:8], "little")
    # safetensors writes its metadata in random order
    table = json.loads(blob[8:end])
    table["__metadata__"] = metadata
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header, memoryview(blob)[end:]


def load(path: Path, *, extra: bool = False) -> Checkpoint:
    """Read the checkpoint at ``path``.

    Args:
        path: the file, or the folder of a run.
        extra: whether to read the tensors that only resuming needs, too.

    Raises:
        CheckpointError: it is missing, damaged, not a checkpoint, or beyond a limit.

    """
    try:
        if path.is_dir():
            path = path / BEST
        if path.exists():
            check_name(path)
        with open(path, "rb") as file:
            return _load(file, extra)
    except OSError as error:
        reason = "no such checkpoint" if isinstance(error, FileNotFoundError) else error.strerror
        message = f"cannot read {path}: {reason}"
        raise CheckpointError(message, "{list_checkpoints()} lists the checkpoints") from None
    except ConfigError as error:
        raise CheckpointError(f"{path} is not usable: {str(error)[:MAX_REASON]}") from None
    except Damage as damage:
        raise CheckpointError(f"{path} {damage}") from None


def _load(file: BufferedReader, extra: bool) -> Checkpoint:
    head = read_header(file)
    room = os.fstat(file.fileno()).st_size - len(head)
    # everything that the header decides is checked before the rest is read
    layouts, metadata = parse(head[8:], room)
    number = metadata.get("format")
    if type(number) is not int or number not in FORMATS:
        raise ConfigError(f"format {number!r} is not {FORMATS[-1]} or lower: use a newer charrnn")
    config = ModelConfig.from_dict(_dict(metadata, "config"))
    vocab = Vocab.from_dict(_dict(metadata, "vocab"))
    if vocab.expression and number < 4:
        raise ConfigError(f"format {number} has no symbols of several characters")
    if len(vocab) != config.vocab_size:
        raise ConfigError(f"{len(vocab)} symbols for a vocabulary of {config.vocab_size}")
    meta = _dict(metadata, "meta")
    in_int8 = _in_int8(config, layouts) if number >= 3 else {}
    shapes = config.shapes() | ({SCALES: (rows(in_int8),)} if in_int8 else {})
    _check_layouts(layouts, shapes, in_int8)
    wide = shapes.keys() - in_int8  # become float32
    kept = layouts if extra else shapes
    if sum(_bytes_kept(layouts[name], name in wide) for name in kept) > AT_ONCE:
        _read_tensors(file, head, layouts, wide, kept=())
        file.seek(len(head))
    tensors = _read_tensors(file, head, layouts, wide, kept)
    weights: Weights = {name: tensors.pop(name) for name in config.shapes()}
    if in_int8:
        weights = Int8Weights.split(weights, in_int8, tensors.pop(SCALES))
    if number == 1:
        tensors = _renamed(tensors)
    return Checkpoint(config, vocab, weights, meta, tensors, _weight_dtype(config, layouts))


def _in_int8(config: ModelConfig, layouts: dict[str, Layout]) -> dict[str, tuple[int, int]]:
    """Name and shape of the matrices that are int8 in the file."""
    return {
        name: shape
        for name, shape in matrices(config).items()
        if name in layouts and layouts[name][0] == np.int8
    }


def _bytes_kept(layout: Layout, wide: bool) -> int:
    """The bytes of a tensor in memory, where it may become float32."""
    dtype, shape = layout
    return math.prod(shape) * (4 if wide else dtype.itemsize)


def _weight_dtype(config: ModelConfig, layouts: dict[str, Layout]) -> str:
    """The number format of the layers' matrices, which a file of ours has in one format."""
    first = next(iter(matrices(config)), "head.weight")
    return layouts[first][0].name


def _renamed(tensors: Tensors) -> Tensors:
    """Tensors of format 1 by today's names; there, cells without ``c`` have one of no width."""
    return {
        _FIRST_NAMES.get(name, name): value
        for name, value in tensors.items()
        if name not in _FIRST_NAMES or value.size
    }


def _dict(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    value = metadata.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"its metadata has no {name}")
    return value


def _check_layouts(
    layouts: dict[str, Layout],
    shapes: dict[str, tuple[int, ...]],
    in_int8: Collection[str],
) -> None:
    for name, wanted in shapes.items():
        if name not in layouts:
            raise ConfigError(f"{name} is missing")
        dtype, shape = layouts[name]
        if tuple(shape) != wanted:
            raise ConfigError(f"{name} is {tuple(shape)}, but its configuration says {wanted}")
        if dtype.kind != "f" and name not in in_int8:
            raise ConfigError(f"{name} is {dtype}, but weights must be floating point")


def _read_tensors(
    file: BufferedReader,
    head: bytes,
    layouts: dict[str, Layout],
    weights: Collection[str],
    kept: Collection[str],
) -> Tensors:
    """Read all tensors after the header, check their checksum, and return those in ``kept``.

    Weights become float32 and must be finite. Tensors that are not kept take no memory.
    """
    digest, written = _digest(head)
    tensors: Tensors = {}
    infinite: list[str] = []
    block = np.empty(BLOCK, np.uint8)
    for name, (dtype, shape) in layouts.items():
        count, most = math.prod(shape), BLOCK // dtype.itemsize
        values = np.empty(count if name in kept else 0, np.float32 if name in weights else dtype)
        for begin in range(0, count, most):
            raw = block[: min(most, count - begin) * dtype.itemsize]
            if file.readinto(raw.data) != len(raw):
                raise Damage("became shorter while it was being read")
            digest.update(raw.data)
            with np.errstate(all="ignore"):
                part = raw.view(dtype).astype(values.dtype, copy=False)
            if name in weights and not np.isfinite(part).all():
                infinite.append(name)
            if len(values):
                values[begin : begin + len(part)] = part
        if name in kept:
            tensors[name] = values.reshape(shape)
    if digest.hexdigest() != written:
        raise Damage("is damaged: its checksum does not match")
    if infinite:
        raise ConfigError(f"{infinite[0]} has values that are not finite")
    return tensors


def _digest(head: bytes) -> tuple[Any, str]:
    """A running sha256 of all before the data, with its own digits as zeros; and those digits."""
    found = list(_DIGEST.finditer(head))
    if len(found) != 1:
        raise Damage("has no checksum: it is damaged or not a charrnn checkpoint")
    place = found[0].start(1)
    digest = hashlib.sha256(head[:place] + _ZEROS.encode() + head[place + 64 :])
    return digest, found[0][1].decode()
