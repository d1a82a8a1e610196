"""The file ``metrics.jsonl``: a line of JSON a report, and a last one for the result."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn.atomic_io import write_atomic

METRICS = "metrics.jsonl"
# what a log can say
MOST_BYTES, MOST_CHARS, MOST_NATS = 64 << 20, 2**53, 1e6


def append(path: Path, values: dict[str, Any]) -> None:
    """Write a line more, all of it or nothing: a part of one would spoil the next too.

    Raises:
        OSError: the line is not there.

    """
    line = json.dumps(values).encode() + b"\n"
    with open(path, "ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


def cut(path: Path, step: int) -> None:
    """Drop the lines from after ``step``, the result's and those that a crash has cut short.

    Raises:
        OSError: the file is as it was.

    """
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(True)
    kept = [line for line in lines if line.endswith(b"\n") and _step_of(line) <= step]
    if kept != lines:
        write_atomic(path, kept)


def has_result(path: Path, step: int) -> bool:
    """Whether the last line is the result of a run that ended after ``step``."""
    try:
        last = json.loads(path.read_bytes().splitlines()[-1])
        return last.get("final") is True and bool(last["step"] == step)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return False


def losses(path: Path) -> dict[str, list[tuple[int, float]]]:
    """``(chars, nats a character)`` of the reports, under ``train_nats`` and ``val_nats``.

    The file may be anybody's: what is none of ours is passed over, and what lies beyond its first
    64 MiB.
    """
    found: dict[str, list[tuple[int, float]]] = {"train_nats": [], "val_nats": []}
    if not path.is_file():
        return found
    with suppress(OSError), open(path, "rb") as file:
        for line in file.read(MOST_BYTES).splitlines():
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                values = json.loads(line)
                if values.get("final"):  # the best, not the last
                    continue
                for name, points in found.items():
                    chars, nats = values["chars"], values.get(name)
                    known = type(chars) is int and type(nats) is float
                    if known and 0 <= chars < MOST_CHARS and 0 <= nats < MOST_NATS:
                        points.append((chars, nats))
    return found


def _step_of(line: bytes) -> float:
    try:
        values = json.loads(line)
        return float("inf") if values.get("final") else float(values["step"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return float("inf")
