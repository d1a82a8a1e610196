"""The file ``metrics.jsonl``: a line of JSON a report, and a last one for the result."""

from __future__ import annotations

import errno
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn.files import write_atomic

METRICS = "metrics.jsonl"


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


def losses(path: Path, name: str) -> list[tuple[int, float]]:
    """``(chars, nats a character)`` of every report with a loss called ``name``, if there are any.

    The file may be anybody's: lines that are none of ours are passed over.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            values = json.loads(line)
            point = values["chars"], values[name]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if type(point[0]) is int and type(point[1]) is float and math.isfinite(point[1]):
            found.append((min(point[0], 2**53), point[1]))
    return found


def _step_of(line: bytes) -> float:
    try:
        values = json.loads(line)
        return float("inf") if values.get("final") else float(values["step"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return float("inf")
