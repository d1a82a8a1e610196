"""A seeded, structure-aware fuzzer of checkpoints.

    python tests/fuzz_checkpoints.py --inputs 100000 --seed 1

Every input is a real checkpoint that was changed where it hurts: in the tree of its header, in the
header's bytes, in its data. Most get a checksum that fits, so that what lies behind it is reached.
Reading one must either work or raise ``CheckpointError``; so must showing it and sampling from it.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import random
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from charrnn.checkpoint import load
from charrnn.cli.info import info
from charrnn.cli.ls import ls
from charrnn.errors import CheckpointError, UserError
from charrnn.textmodel import TextModel
from tests.support import ZEROS, data_of, forge_raw, header_of, note_of, tiny

VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 7, 255, 2**31, 2**40, 2**63, 2**64, 10**400, 0.5, -1e308, 1e16,
    "", "x", "F32", "F16", "BF16", "I64", "../../etc/passwd", "\x1b[31m", "\ud800", "[bold]", "\0",
    "0" * 64, "x" * 5000, [], {}, [0, 0], [2**62, 4], [[[[[]]]]], {"name": {}}, [1.5, "a"], [True],
]  # fmt: skip
RAW: list[bytes] = [
    b"[" * 5000, b'{"a":' * 40, b"9" * 5000, b'"\\' * 3000, b"\xff\xfe", b"NaN", b"-Infinity",
    b"1e999", b"\0", b'"', b"}", b",", b":", b'"sha256":"' + b"0" * 64 + b'",', b"{}," * 20_000,
    b'"a":1,"a":2,',
]  # fmt: skip


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON tree; long lists by their first few."""
    found = [path] if path else []
    if isinstance(tree, dict):
        found += [p for key in tree for p in _places(tree[key], (*path, key))]
    elif isinstance(tree, list):
        found += [p for i, value in enumerate(tree[:3]) for p in _places(value, (*path, i))]
    return found


def _change_tree(rng: random.Random, tree: dict[str, Any]) -> None:
    """Replace, remove, copy or rename one value."""
    path = rng.choice(_places(tree))
    owner = tree
    for step in path[:-1]:
        owner = owner[step]
    key = path[-1]
    kind = rng.randrange(6)
    if kind == 0:
        del owner[key]
    elif kind == 1 and isinstance(owner, dict):
        owner[str(rng.choice(VALUES))] = owner.pop(key)
    elif kind == 2:
        other: Any = tree
        for step in rng.choice(_places(tree)):
            other = other[step]
        owner[key] = copy.deepcopy(other)
    elif kind == 3 and type(owner[key]) is int:
        owner[key] += rng.choice([-8, -4, -1, 1, 4, 2**32])
    else:
        owner[key] = rng.choice(VALUES)


def _add_tensors(rng: random.Random, header: dict[str, Any], size: int) -> None:
    for i in range(rng.choice([1, 20, 60, 500])):
        place = rng.choice([0, size, size // 2])
        shape = rng.choice([[0], [1], [2**62, 0], [0, 2**62], [2**41], []])
        header[f"more.{i}"] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place]}


def _change_vocabulary(rng: random.Random, note: dict[str, Any]) -> None:
    size = rng.choice([0, 1, 29, 256, 65_535, 65_536, 200_000])
    start = rng.choice([0, -3, 0xD000, 0x10FF00])
    codes = list(range(start, start + size))
    if codes and rng.random() < 0.3:
        codes[-1] = codes[0]
    note["vocab"] = {"codes": codes, "counts": [1] * size, "bytes": rng.choice(VALUES)}
    if rng.random() < 0.5 and isinstance(note.get("config"), dict):
        note["config"]["vocab_size"] = size


def _change_bytes(rng: random.Random, raw: bytes) -> bytes:
    place = rng.randrange(len(raw) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return raw[:place] + rng.choice(RAW) + raw[place:]
    if kind == 1:
        return raw[:place]
    if kind == 2:
        return raw[:place] + rng.randbytes(rng.randrange(1, 9)) + raw[place + rng.randrange(9) :]
    end = min(len(raw), place + rng.randrange(200))
    return raw[:end] + raw[place:end] + raw[end:]


def attack(blob: bytes, seed: int, index: int) -> bytes:
    """The ``index``-th hostile variant of the checkpoint ``blob``."""
    rng = random.Random(f"{seed}/{index}")
    header, data = header_of(blob), data_of(blob)
    note = note_of(header)
    for _ in range(rng.randrange(1, 4)):
        kind = rng.randrange(7)
        if kind < 2:
            _change_tree(rng, note)
        elif kind < 4:
            _change_tree(rng, header)
        elif kind == 4:
            _add_tensors(rng, header, len(data))
        elif kind == 5:
            _change_vocabulary(rng, note)
        else:
            data = _change_bytes(rng, data)
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict):
        if rng.random() < 0.95 and isinstance(metadata.get("charrnn"), str):
            metadata["charrnn"] = json.dumps(note)
        metadata["sha256"] = ZEROS
    raw = json.dumps(header, separators=(",", ":")).encode()
    if rng.random() < 0.3:
        raw = _change_bytes(rng, raw)
    forged = forge_raw(raw, data)
    if rng.random() < 0.1:
        length = rng.choice([0, 1, 2**63, 2**64 - 1, 4 << 20, (4 << 20) + 1, len(raw) + 1])
        forged = length.to_bytes(8, "little") + forged[8:]
    return forged


def try_one(path: Path, content: bytes) -> bool:
    """Whether the file could be loaded; anything but success and the promised error comes out."""
    path.write_bytes(content)
    with (
        redirect_stdout(io.StringIO()),
        patch("charrnn.cli.ls.bundled_checkpoints", list),  # to save time
    ):
        ls(path.parent.parent, json=bool(len(content) % 2))
    try:
        loaded = load(path, extra=True)
    except CheckpointError as error:
        if "\n" in str(error) or len(str(error)) > 1000:
            raise AssertionError(f"not one short line: {error}") from error
        return False
    with redirect_stdout(io.StringIO()):
        info(path, json=False)
        info(path, json=True)
    model = TextModel(loaded, path)
    try:
        model.sample(length=3)
        model.score_split("val")
    except UserError:
        pass
    return True


def run(inputs: int, seed: int, folder: Path, show: bool = False) -> int:
    """Try so many inputs; the number of those that loaded.

    Raises:
        AssertionError: an input did anything else; names it.

    """
    path = folder / "checkpoints" / "fuzz" / "best.safetensors"
    path.parent.mkdir(parents=True)
    tiny().save(path)
    blob = path.read_bytes()
    good = 0
    for index in range(inputs):
        try:
            good += try_one(path, attack(blob, seed, index))
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {index}: {error!r}") from error
        if show and index % 1000 == 999:
            print(f"{index + 1:,} inputs, {good:,} loaded", file=sys.stderr)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = run(given.inputs, given.seed, Path(folder), show=True)
    print(f"{given.inputs:,} inputs of seed {given.seed}: {good:,} loaded, the rest refused")


if __name__ == "__main__":
    main()
