"""One safetensors file a checkpoint: weights, configuration, alphabet and history. No code in it.

The file's header carries one JSON note under ``charrnn`` and a sha256 over every byte of the file
(its own 64 digits counted as zeros). Files are written atomically through ``charrnn.atomic_io`` and
read as if a stranger had made them: the limits of ``header`` hold before anything is allocated,
shapes are checked against the configuration before a network is built, and a large file is checked
to its last byte before any of it is kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, ConfigError
from charrnn.paths import BEST
from charrnn.text.vocab import Vocab

# What resuming needs is stored by the names of the recurrent state's parts since format 2. Files
# without it, the ones to share, are the same in both, and written as format 1: every charrnn reads
# them.
FORMATS = (1, 2)
_FIRST_NAMES = {"state.hx": "state.h", "state.cx": "state.c"}  # of format 1

BLOCK = 1 << 20
AT_ONCE = 16 << 20  # bytes that may be kept before all of them are checked

_ZEROS = "0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')

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

    def about(self, name: str) -> dict[str, Any]:
        """A part of ``meta``; empty where the note, which may be anybody's, has no such part."""
        part = self.meta.get(name)
        return part if isinstance(part, dict) else {}

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the checkpoint to ``path``, atomically; ``half`` stores weights as float16.

        Raises:
            OSError: it could not be written; what was at ``path`` is still there.
            CheckpointError: it would be larger than what is read.

        """
        weights = {
            name: value.astype(np.float16 if half else np.float32)
            for name, value in self.weights.items()
        }
        note = {
            "format": 2 if self.extra else 1,
            "config": self.config.to_dict(),
            "vocab": self.vocab.to_dict(),
            "meta": self.meta,
        }
        start, data = serialize(weights | self.extra, note)
        if len(start) - 8 > MAX_HEADER_BYTES or len(start) + len(data) > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{path} would have {len(start) + len(data):,} bytes, {len(start):,} of them a "
                f"header: more than the {MAX_FILE_BYTES:,} and {MAX_HEADER_BYTES:,} that are read"
            )
        write_atomic(Path(path), [start, data])


def serialize(tensors: Tensors, note: dict[str, Any]) -> tuple[bytes, memoryview[Any]]:
    """A safetensors file with ``note`` and the checksum in its header: up to its data, and data."""
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
    return b"".join([start[:place], digest.hexdigest().encode(), start[place + 64 :]]), data


def load(path: Path, *, extra: bool = False) -> Checkpoint:
    """Read the checkpoint at ``path``; with ``extra`` also what only resuming needs.

    Raises:
        CheckpointError: it is missing, damaged, not a checkpoint or not one we can hold.

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
    """What the header alone decides is decided before the rest is read."""
    head = read_header(file)
    room = os.fstat(file.fileno()).st_size - len(head)
    layouts, note = parse(head[8:], room)
    number = note.get("format")
    if type(number) is not int or number not in FORMATS:
        raise ConfigError(f"format {number!r} is not {FORMATS[-1]} or lower: use a newer charrnn")
    config = ModelConfig.from_dict(_dict(note, "config"))
    vocab = Vocab.from_dict(_dict(note, "vocab"))
    if len(vocab) != config.vocab_size:
        raise ConfigError(f"{len(vocab)} symbols for a vocabulary of {config.vocab_size}")
    meta = _dict(note, "meta")
    shapes = config.shapes()
    _check_layouts(layouts, shapes)
    if room > AT_ONCE:
        _read_tensors(file, head, layouts, shapes, kept=())
        file.seek(len(head))
    tensors = _read_tensors(file, head, layouts, shapes, kept=layouts if extra else shapes)
    weights = {name: tensors.pop(name) for name in shapes}
    if number == 1:
        tensors = _renamed(tensors)
    return Checkpoint(config, vocab, weights, meta, tensors)


def _renamed(tensors: Tensors) -> Tensors:
    """Tensors of format 1 by today's names; there, a cell without ``c`` had one of no width."""
    return {
        _FIRST_NAMES.get(name, name): value
        for name, value in tensors.items()
        if name not in _FIRST_NAMES or value.size
    }


def _dict(note: dict[str, Any], name: str) -> dict[str, Any]:
    value = note.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"its note has no {name}")
    return value


def _check_layouts(layouts: dict[str, Layout], shapes: dict[str, tuple[int, ...]]) -> None:
    for name, wanted in shapes.items():
        if name not in layouts:
            raise ConfigError(f"it lacks {name}")
        dtype, shape = layouts[name]
        if tuple(shape) != wanted:
            raise ConfigError(f"{name} is {tuple(shape)} where its configuration says {wanted}")
        if dtype.kind != "f":
            raise ConfigError(f"{name} is {dtype} where weights are floating point")


def _read_tensors(
    file: BufferedReader,
    head: bytes,
    layouts: dict[str, Layout],
    weights: Collection[str],
    kept: Collection[str],
) -> Tensors:
    """Those of ``kept`` among the tensors behind the header, if the checksum of all fits.

    Weights become float32 and have to be finite. What is not kept takes no memory.
    """
    digest, written = _digest(head)
    tensors: Tensors = {}
    endless: list[str] = []
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
                endless.append(name)
            if len(values):
                values[begin : begin + len(part)] = part
        if name in kept:
            tensors[name] = values.reshape(shape)
    if digest.hexdigest() != written:
        raise Damage("is damaged: its checksum does not fit")
    if endless:
        raise ConfigError(f"{endless[0]} holds numbers that are not finite")
    return tensors


def _digest(head: bytes) -> tuple[Any, str]:
    """The sha256 of what comes before the data, its own digits as zeros; and those digits."""
    found = list(_DIGEST.finditer(head))
    if len(found) != 1:
        raise Damage("carries no checksum: it is damaged or not a charrnn checkpoint")
    place = found[0].start(1)
    digest = hashlib.sha256(head[:place] + _ZEROS.encode() + head[place + 64 :])
    return digest, found[0][1].decode()
