"""The file ``metrics.jsonl``: a line of JSON for each report, and a last one for the result."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from charrnn.atomic_io import write_atomic

METRICS = "metrics.jsonl"
# the largest file and values that are read
MOST_BYTES, MOST_CHARS, MOST_NATS, MOST_NORM, MOST_SECONDS = 64 << 20, 2**53, 1e6, 1e30, 1e12


def append(path: Path, values: dict[str, Any]) -> None:
    """Add a line, or nothing: part of a line would make the next one invalid too.

    Raises:
        OSError: the line could not be added.

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


def drop_after(path: Path, step: int) -> None:
    """Remove the lines after ``step``, that of the result, and those that a crash left incomplete.

    Raises:
        OSError: the file could not be written, and is unchanged.

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
    """``(chars, nats a character)`` of all reports, under ``train_nats`` and ``val_nats``.

    The file may come from anywhere: other lines are ignored, and so is everything after 64 MiB.
    """
    found: dict[str, list[tuple[int, float]]] = {"train_nats": [], "val_nats": []}
    for values in _reports(path):
        for name, points in found.items():
            chars, nats = values.get("chars"), values.get(name)
            if _is_count(chars) and _is_within(nats, MOST_NATS):
                points.append((chars, nats))
    return found


def grad_norms(path: Path) -> list[float]:
    """The norm of the gradient in each report that has one; the file may come from anywhere."""
    norms = (values.get("grad_norm") for values in _reports(path))
    return [norm for norm in norms if _is_within(norm, MOST_NORM)]


def validations(path: Path) -> list[tuple[float, int, float]]:
    """``(elapsed_s, chars, nats a character)`` of all validations, as ``losses`` finds them."""
    return [
        (values["elapsed_s"], values["chars"], values["val_nats"])
        for values in _reports(path)
        if _is_count(values.get("chars"))
        and _is_within(values.get("val_nats"), MOST_NATS)
        and _is_within(values.get("elapsed_s"), MOST_SECONDS)
    ]


def _reports(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are reports, without that of the result: its loss is not the last one."""
    if not path.is_file():
        return
    with suppress(OSError), open(path, "rb") as file:
        for line in file.read(MOST_BYTES).splitlines():
            with suppress(ValueError, RecursionError):
                values = json.loads(line)
                if isinstance(values, dict) and not values.get("final"):
                    yield values


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < MOST_CHARS


def _is_within(value: object, most: float) -> TypeGuard[float]:
    return type(value) is float and 0 <= value < most


def _step_of(line: bytes) -> float:
    try:
        values = json.loads(line)
        return float("inf") if values.get("final") else float(values["step"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return float("inf")
