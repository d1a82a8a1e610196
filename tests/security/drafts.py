"""Checkpoint files in parts, and the values, names, numbers and bytes that hurt."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from charrnn.config import WeightDtype
from tests.support.checkpoints import ZEROS, data_of, forge_raw, header_of, note_of, tiny

MIB, GIB = 1 << 20, 1 << 30
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "I64": 8, "I8": 1, "U8": 1, "BF16": 2, "BOOL": 1}
SIZES = [
    0,
    1,
    2,
    7,
    2**31,
    2**32,
    2**40,
    2**41,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    -1,
    -(2**63),
]
VALUES: list[Any] = [
    None, True, False, *SIZES, 10**400, 0.5, 1.0, -1e308, 1e16, 5e-324, float("nan"), float("inf"),
    "", "x", "1", "F32", "BF16", "lstm", "val", "punycode", "\ud800", "0" * 64, "x" * 5000, [], {},
    [0, 0], [2**62, 4], [[[[[]]]]], {"name": {}}, {"kind": "contiguous"}, [1.5, "a"], [True],
]  # fmt: skip
NAMES = [
    "../../etc/passwd", "/dev/zero", "C:\\con", "\x1b[31m", "\x1b]0;x\x07", "[bold]", "\0",
    "a\nb", "\u202etxt", "\ufeff", "é", "e\u0301", "😀", "\ud800", "\udfff\ud800", "__class__",
    "__metadata__", "charrnn", "head.bias ", "HEAD.BIAS", "head．bias", "", " ", "x" * 100_000,
    "{}", "%s%n", '"', "\\",
]  # fmt: skip
NUMBERS = [
    "9" * 19, "9" * 20, "9" * 21, "9" * 4300, "9" * 4301, "-" + "9" * 300, "1e999", "-1e999",
    "1E400", "1e-999", "NaN", "Infinity", "-Infinity", "nan", "-0", "-0.0", "01", "1.", "0x10",
    "1_000", "+1", "0." + "3" * 5000, "1e" + "9" * 5000, "٣", "1e5", "128.0", "true", "null",
]  # fmt: skip
RAW = [
    b'"\\' * 3000, b"\xff\xfe", b"NaN", b"1e999", b"\0", b'"', b"}", b",", b":", b"\n", b"\x1b[2J",
    b'"sha256":"' + b"0" * 64 + b'",', b'"a":1,"a":2,', b"\\u0000", b"\\ud800", b"/**/", b"'",
]  # fmt: skip
FOREIGN = [
    b"", b"\0", b"PK\x03\x04", b"PK\x05\x06", b"GGUF", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY",
    b"\x1f\x8b", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x04\x95\x0b", b"(dp0\n", b"{}",
    b"\x7fELF", b"#!/bin/sh\n", b"\x08" + bytes(7) + b"{}      ", b"\x02" + bytes(7) + b"{}",
]  # fmt: skip
THINGS = [
    '"ab",', '"\\ud83d\\ude00",', "999,", "1.5,", "{},", "[],", '"",', '{"a":1},', "1e1,", "null,",
    "-1,", "[[]],", " ", '"a":1,', "true,", "\\\\", "]", "}", "[", "{", ":", '"', "9", "\\u00e9",
]  # fmt: skip
SPECIAL = [float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-45, -0.0, 1e20, 7e4]


@dataclass
class Draft:
    """A checkpoint file in parts. ``raw`` are texts to put where their marks stand."""

    note: Any
    table: dict[str, Any]
    data: bytes
    more: dict[str, Any] = field(default_factory=dict)  # beside the note in the metadata
    raw: dict[str, str] = field(default_factory=dict)
    note_edits: list[Callable[[str], str]] = field(default_factory=list)
    edits: list[Callable[[bytes], bytes]] = field(default_factory=list)
    after: list[Callable[[bytes], bytes]] = field(default_factory=list)  # with the checksum in it
    size: int | None = None  # to make the file as large, sparsely

    def mark(self, text: str) -> str:
        """A value in whose place ``text`` will stand, unquoted."""
        name = f"@{len(self.raw)}@"
        self.raw[f'"{name}"'] = text
        return name

    def tensor(self, rng: random.Random) -> dict[str, Any]:
        """One of the tensors' entries."""
        entries = [entry for entry in self.table.values() if isinstance(entry, dict)]
        return rng.choice(entries) if entries else {}

    def build(self) -> bytes:
        """The file, up to where it becomes sparse."""
        note = self._text(self.note)
        for change in self.note_edits:
            note = change(note)
        metadata = {"charrnn": note, "sha256": ZEROS} | self.more
        header = self._text(self.table | {"__metadata__": metadata}).encode(
            "utf-8", "surrogatepass"
        )
        for edit in self.edits:
            header = edit(header)
        blob = forge_raw(header, self.data)
        for edit in self.after:
            blob = edit(blob)
        return blob

    def _text(self, tree: Any) -> str:
        text = json.dumps(tree, separators=(",", ":"))
        for mark, raw in self.raw.items():
            text = text.replace(mark, raw)
        return text


@cache
def base(weight_dtype: WeightDtype) -> tuple[str, str, bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "base.safetensors"
        tiny().save(path, weight_dtype=weight_dtype)
        blob = path.read_bytes()
    header = header_of(blob)
    note = note_of(header)
    del header["__metadata__"]
    return json.dumps(note), json.dumps(header), data_of(blob)


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON tree; long lists by their first few."""
    found = [path] if path else []
    if isinstance(tree, dict):
        found += [p for key in tree for p in _places(tree[key], (*path, key))]
    elif isinstance(tree, list):
        found += [p for i, value in enumerate(tree[:3]) for p in _places(value, (*path, i))]
    return found


def pick(rng: random.Random, tree: Any) -> tuple[Any, Any]:
    """An owner in ``tree`` and the key of one of its values."""
    places = _places(tree)
    if not places:
        return {"": None}, ""
    *way, key = rng.choice(places)
    for step in way:
        tree = tree[step]
    return tree, key


def note_or_table(rng: random.Random, draft: Draft) -> Any:
    return draft.note if rng.random() < 0.6 else draft.table


def edit(rng: random.Random, raw: bytes) -> bytes:
    """Insert, cut, replace, repeat or flip some bytes."""
    place, kind = rng.randrange(len(raw) + 1), rng.randrange(5)
    if kind == 0:
        return raw[:place] + rng.choice(RAW) + raw[place:]
    if kind == 1:
        return raw[:place]
    if kind == 2:
        return raw[:place] + rng.randbytes(rng.randrange(1, 9)) + raw[place + rng.randrange(9) :]
    if kind == 3:
        end = min(len(raw), place + rng.randrange(200))
        return raw[:end] + raw[place:end] + raw[end:]
    return (
        raw[:place]
        + bytes(b ^ 1 << rng.randrange(8) for b in raw[place : place + 1])
        + raw[place + 1 :]
    )
