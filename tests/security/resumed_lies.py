"""Lies in the note and the tensors of a run's last checkpoint, each told to a process of its own.

    python -m tests.security.resumed_lies

A run may go on or be refused in words; it must not end in any other way. Prints what did.
"""

from __future__ import annotations

import copy
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import CharRNNError
from charrnn.training.api import train
from tests.support.checkpoints import data_of, forge, header_of, note_of, with_note
from tests.support.runs import SMALL

LAST = Path("run/last.safetensors")
VALUES: list[Any] = [
    None, True, -1, 0, 1, 3, 8, 2.5, 10**18, -(10**18), 1e308, "x", "", "../x", [], {}, [1],
]  # fmt: skip
HANG_S = 20


def places(tree: Any, way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every value."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*way, key)
            yield from places(value, (*way, key))


def lies(header: dict[str, Any], data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is wrong with a file, and the file."""
    note = note_of(header)
    for *way, key in places(note["meta"]):
        for value in [*VALUES, "(removed)"]:
            changed = copy.deepcopy(note)
            owner = changed["meta"]
            for step in way:
                owner = owner[step]
            owner[key] = value
            if value == "(removed)":
                del owner[key]
            yield f"{'.'.join([*way, key])} = {value!r}", forge(with_note(header, changed), data)
    for name in set(header) - {"__metadata__"}:
        if name.startswith(("state", "optimizer", "averaged")):
            yield from tensor_lies(header, data, name)


def tensor_lies(header: dict[str, Any], data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Files whose tensor ``name`` is missing, turned, flat or of another type."""
    entry = header[name]
    rest = {key: value for key, value in header.items() if key != name}
    yield f"{name} renamed", forge({**rest, "other": entry}, data)
    size = (entry["data_offsets"][1] - entry["data_offsets"][0]) // 4
    for shape in (entry["shape"][::-1], [size], [1, size], [size, 1, 1], [2, size // 2]):
        yield f"{name} {shape}", forge({**rest, name: {**entry, "shape": shape}}, data)
    for dtype, shape in (("U8", [size * 4]), ("F16", [size * 2]), ("I64", [size // 2])):
        changed = {**entry, "dtype": dtype, "shape": shape}
        yield f"{name} {dtype}", forge({**rest, name: changed}, data)


def outcome(content: bytes) -> str:
    """How a process ends that resumes ``content``; empty if as it should."""
    LAST.write_bytes(content)
    Path("run/previous.safetensors").unlink(missing_ok=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HANG_S)
        try:
            train(out="run", resume=True, steps=5)
        except CharRNNError:
            pass
        except BaseException as error:
            os.write(writer, repr(error).encode()[:1000])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        words = told.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return words or (f"ended by signal {-status}" if status else "")


def main() -> None:
    """Try all, or so many as the first argument says."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("text.txt").write_text("the quick brown fox jumps\n" * 200)
        train("text.txt", out="run", **(SMALL | {"steps": 3}))
        blob = LAST.read_bytes()
        files = sorted(lies(header_of(blob), data_of(blob)))
        if len(sys.argv) > 1:
            files = random.Random(1).sample(files, int(sys.argv[1]))
        for what, content in files:
            how = outcome(content)
            if how:
                print(f"{what}: {how}")
        print(f"{len(files)} tried")


if __name__ == "__main__":
    main()
