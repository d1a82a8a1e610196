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
from charrnn.errors import CheckpointError, os_message
from charrnn.paths import CHECKPOINTS, SUFFIX, bundled_checkpoints, near

METRICS = "metrics.jsonl"
# the largest file and values that are read
MOST_BYTES, MOST_CHARS, MOST_NATS, MOST_NORM, MOST_SECONDS = 64 << 20, 2**53, 1e6, 1e30, 1e12
COUNTS = ("step", "epoch", "chars")  # whole numbers in a report
FIGURES = {
    "elapsed_s": MOST_SECONDS,
    "lr": MOST_NORM,
    "train_nats": MOST_NATS,
    "val_nats": MOST_NATS,
    "grad_norm": MOST_NORM,
    "chars_per_second": MOST_NORM,
}  # other numbers, and the bound that each stays below

Values = dict[str, float | None]  # of a report; None for whatever is missing or invalid


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

    The file may come from anywhere, or be missing: what is invalid is ignored, as by ``reports``.
    """
    found: dict[str, list[tuple[int, float]]] = {"train_nats": [], "val_nats": []}
    for values in _readable(path):
        for name, points in found.items():
            chars, nats = values["chars"], values[name]
            if chars is not None and nats is not None:
                points.append((int(chars), nats))
    return found


def grad_norms(path: Path) -> list[float]:
    """The norm of the gradient in each report that has one, of a file as for ``losses``."""
    norms = (values["grad_norm"] for values in _readable(path))
    return [norm for norm in norms if norm is not None]


def validations(path: Path) -> list[tuple[float, int, float]]:
    """``(elapsed_s, chars, nats a character)`` of all validations, of a file as for ``losses``."""
    names = ("elapsed_s", "chars", "val_nats")
    found = []
    for values in _readable(path):
        seconds, chars, nats = (values[name] for name in names)
        if seconds is not None and chars is not None and nats is not None:
            found.append((seconds, int(chars), nats))
    return found


def _readable(path: Path) -> list[Values]:
    """The reports in a file that may be missing, or may not be read."""
    with suppress(CheckpointError, OSError):
        return reports(path) if path.is_file() else []
    return []


def find_metrics(run: str | Path | None) -> Path:
    """The metrics of a run: a file, the folder that holds it, a checkpoint there, or a run's name.

    None means the run under ``./checkpoints`` that was written to last.

    Raises:
        CheckpointError: there is no such file, or the path is empty.

    """
    if run is None:
        return _newest()
    if not str(run):  # it would mean the current folder
        raise CheckpointError("the run's path is empty: name a folder or a run")
    path = Path(run)
    folders = [path, *([CHECKPOINTS / path] if len(path.parts) == 1 else [])]
    folder: Path | None = None
    with suppress(OSError):  # not a valid file name
        if path.is_file() and path.suffix == Path(METRICS).suffix:
            return path
        if path.is_file() and path.suffix == SUFFIX:
            folders = [path.parent]
        for found in (folder / METRICS for folder in folders):
            if found.is_file():
                return found
        folder = next(filter(Path.is_dir, folders), None)
    folders = [file.parent for file in bundled_checkpoints() if file.parent.name == str(path)]
    if folder := folder or next(iter(folders), None):
        raise CheckpointError(f"{folder} has no {METRICS}", "name the folder of a run")
    raise CheckpointError(
        f"no run at {path}{near(path)}", "{list_checkpoints()} lists the checkpoints"
    )


def _newest() -> Path:
    files = [CHECKPOINTS / METRICS, *CHECKPOINTS.glob(f"*/{METRICS}")]
    found = [path for path in files if path.is_file()]
    if not found:
        raise CheckpointError("there is no run yet", "make one with {train()}")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def reports(path: Path) -> list[Values]:
    """All reports in the file at ``path``, with the values of ``COUNTS`` and ``FIGURES``.

    The file may come from anywhere, and end within a line: what is invalid is ignored, and so is
    everything after 64 MiB. Of reports that a run made twice, because it was resumed from an
    earlier step, those made last count.

    Raises:
        CheckpointError: it cannot be read.

    """
    found: list[Values] = []
    try:
        for values in _lines(path):
            report = _values(values)
            while found and _follows(found[-1], report):
                found.pop()
            found.append(report)
    except OSError as error:
        raise CheckpointError(f"cannot read {os_message(error, path)}") from None
    return found


def _values(line: dict[str, Any]) -> Values:
    counts = {name: value if is_count(value := line.get(name)) else None for name in COUNTS}
    return counts | {
        name: value if is_within(value := line.get(name), most) else None
        for name, most in FIGURES.items()
    }


def _follows(one: Values, other: Values) -> bool:
    """Whether ``one`` is not from an earlier step than ``other``."""
    before, after = one["step"], other["step"]
    return before is not None and after is not None and before >= after


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are reports, without that of the result: its loss is not the last one.

    Raises:
        OSError: the file cannot be read.

    """
    with open(path, "rb") as file:
        for line in file.read(MOST_BYTES).splitlines():
            with suppress(ValueError, RecursionError):
                values = json.loads(line)
                if isinstance(values, dict) and not values.get("final"):
                    yield values


def is_count(value: object) -> TypeGuard[int]:
    """Whether ``value``, from wherever, is a number of characters, steps or epochs."""
    return type(value) is int and 0 <= value < MOST_CHARS


def is_within(value: object, most: float) -> TypeGuard[float]:
    """Whether ``value``, from wherever, is a number from 0 to less than ``most``."""
    return type(value) in (int, float) and 0 <= value < most  # type: ignore[operator]


def _step_of(line: bytes) -> float:
    try:
        values = json.loads(line)
        return float("inf") if values.get("final") else float(values["step"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return float("inf")
