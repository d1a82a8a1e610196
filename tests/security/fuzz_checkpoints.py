"""A seeded, structure-aware fuzzer of checkpoints; ``tests/security/hostile.py`` makes the files.

    python -m tests.security.fuzz_checkpoints --count 100000 --seed 1

Reading a file must either work, and then one character can be sampled, or raise
``CheckpointError`` with one short line, within a second of processor time and 64 MiB. The work is
done in a process of its own, so that a crash or a hang has the number of its input.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import io
import json
import mmap
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from charrnn.checkpoint.file import Checkpoint, load
from charrnn.cli.info import info
from charrnn.cli.ls import _entry, _row
from charrnn.errors import CheckpointError, UserError
from charrnn.generation.factory import open_engine
from charrnn.textmodel import TextModel
from tests.security.drafts import MIB
from tests.security.hostile import attack
from tests.support.checkpoints import ROOT, tiny

MOST_SECONDS, MOST_BYTES = 1.0, 64 * MIB  # for a file that is refused
HANG_S = 60.0
FAILURES = 20  # then it stops
TOLD_EVERY = 1000  # inputs
COMPILED = "lstm"  # for every cell it would take seconds


@dataclass
class Summary:
    """What became of the inputs."""

    inputs: int = 0
    loaded: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)  # processor seconds of a refusal, input
    largest: tuple[int, int] = (0, -1)  # bytes over the base, input
    attacks: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def tell(self) -> Summary:
        """Print it for the process that watches; a new one."""
        print(json.dumps(vars(self)), flush=True)
        return Summary()

    def add(self, other: dict[str, Any]) -> None:
        """Take in what a worker says of its part."""
        self.inputs += other["inputs"]
        self.loaded += other["loaded"]
        self.slowest = max(self.slowest, tuple(other["slowest"]))
        self.largest = max(self.largest, tuple(other["largest"]))
        self.attacks.update(other["attacks"])

    def __str__(self) -> str:
        rate = self.seconds / max(self.inputs, 1) * 1000
        return (
            f"{self.inputs:,} inputs, {self.loaded:,} loaded, {len(self.failures)} failures, "
            f"{self.seconds:.0f} s ({rate:.2f} ms each); the slowest refusal took "
            f"{self.slowest[0]:.3f} s (input {self.slowest[1]}), the largest "
            f"{self.largest[0] / MIB:.1f} MiB (input {self.largest[1]})"
        )


# --- in the worker


class Gauge:
    """Peak memory of this process since ``reset``, over what it had when the gauge was made."""

    def __init__(self) -> None:
        self._base = self._read("VmRSS")

    def _read(self, name: str) -> int:
        try:
            text = Path("/proc/self/status").read_text()
        except OSError:  # elsewhere the peak of the whole process has to do
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = re.search(rf"{name}:\s+(\d+)", text)
        return int(found[1]) * 1024 if found else 0

    def reset(self) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        return self._read("VmHWM") - self._base


def use(path: Path, loaded: Checkpoint) -> None:
    """Show a checkpoint and sample one character."""
    with redirect_stdout(io.StringIO()):
        if path.stat().st_size % 2:
            info(checkpoint=path, json=bool(path.stat().st_size % 3))
        else:
            _row(_entry(path, False))
    model = TextModel(loaded, path)
    compiled = loaded.config.cell == COMPILED
    with patch("charrnn.generation.writer.open_engine", partial(open_engine, accelerate=compiled)):
        text = model.sample(length=1, lines=False)
    assert len(text) == 1, f"sampled {text!r}"
    with suppress(UserError):
        model.score_split("val")


def try_one(path: Path, gauge: Gauge) -> tuple[bool, float, int]:
    """Whether the file could be loaded, and the processor seconds and bytes that this took.

    Raises:
        AssertionError: it did neither what a good nor what a bad checkpoint does.

    """
    gauge.reset()
    began = time.process_time()
    try:
        loaded = load(path, extra=True)
    except CheckpointError as error:
        seconds, size = time.process_time() - began, gauge.peak()
        message = str(error)
        assert "\n" not in message, f"not one line: {message!r}"
        assert len(message) < 1000, f"not a short line: {len(message)} characters"
        assert seconds < MOST_SECONDS, f"refused after {seconds:.2f} s: {message}"
        assert size < MOST_BYTES, f"refused with {size / MIB:.0f} MiB: {message}"
        return False, seconds, size
    use(path, loaded)
    return True, 0.0, 0


def work(first: int, stop: int, seed: int, folder: Path) -> None:
    """Try the inputs ``first`` … ``stop − 1``; says on stdout what became of them."""
    path = folder / "fuzz" / "best.safetensors"
    path.parent.mkdir(exist_ok=True)
    with open(folder / "progress", "r+b") as file:
        progress = mmap.mmap(file.fileno(), 8)
    gauge, total, failed = warmed_up(path), Summary(), 0
    for index in range(first, stop):
        if total.inputs == TOLD_EVERY:
            total = total.tell()
        progress[:] = index.to_bytes(8, "little")
        content, size, attacks = attack(seed, index)
        with open(path, "r+b") as file:  # to make the file anew would take ten times as long
            file.write(content)
            file.truncate(max(size or 0, len(content)))
        total.inputs += 1
        total.attacks.update(attacks)
        try:
            good, seconds, peak = try_one(path, gauge)
        except Exception as error:
            print(json.dumps({"input": index, "failure": f"{attacks}: {error!r}"}), flush=True)
            failed += 1
            if failed == FAILURES:
                break
        else:
            total.loaded += good
            total.slowest = max(total.slowest, (seconds, index))
            total.largest = max(total.largest, (peak, index))
    total.tell()


def warmed_up(path: Path) -> Gauge:
    """A gauge that begins when everything that reading and using a good file needs is there."""
    made = tiny()
    for summed in (False, True):
        replace(made, config=replace(made.config, sum_layers=summed)).save(path)
        try_one(path, Gauge())
    gc.collect()
    with suppress(OSError, AttributeError):  # what compiling has left would be used again
        ctypes.CDLL(None).malloc_trim(0)
    return Gauge()


# --- in the process that watches


def run(count: int, seed: int, folder: Path, first: int = 0) -> Summary:
    """Try ``count`` inputs, from number ``first``, in workers in ``folder``."""
    total, began, stop = Summary(), time.monotonic(), first + count
    (folder / "progress").write_bytes(bytes(8))
    while first < stop and len(total.failures) < FAILURES:
        lines, error = _watch(first, stop, seed, folder)
        for line in lines:
            if "failure" in line:
                total.failures.append((line["input"], line["failure"]))
            else:
                total.add(line)
        if error is None:
            break
        first = int.from_bytes((folder / "progress").read_bytes(), "little")
        total.failures.append((first, error))
        first += 1
    total.seconds = time.monotonic() - began
    return total


def _watch(
    first: int, stop: int, seed: int, folder: Path
) -> tuple[list[dict[str, Any]], str | None]:
    """What a worker printed, and how it ended if that was not well."""
    command = [sys.executable, "-m", "tests.security.fuzz_checkpoints", "--worker", str(folder)]
    command += ["--first", str(first), "--count", str(stop - first), "--seed", str(seed)]
    # freed memory goes back at once, or it would hide what later inputs take
    frugal = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    env = os.environ | frugal | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    with open(folder / "out", "w+b") as out, open(folder / "err", "w+b") as err:
        worker = subprocess.Popen(command, env=env, stdout=out, stderr=err, cwd=folder)
        seen, since = b"", time.monotonic()
        while worker.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(0.5)
            now = (folder / "progress").read_bytes()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > HANG_S:
                worker.kill()
                worker.wait()
                return _lines(folder), f"hung for {HANG_S:.0f} s"
    if worker.returncode == 0:
        return _lines(folder), None
    told = (folder / "err").read_text("utf-8", "replace")[-2000:]
    return _lines(folder), f"the process ended with {worker.returncode}: {told}"


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out").read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.first, given.first + given.count, given.seed, given.worker)
        return
    with tempfile.TemporaryDirectory() as folder:
        total = run(given.count, given.seed, Path(folder), given.first)
    for index, failure in total.failures:
        print(f"seed {given.seed}, input {index}: {failure}")
    print(f"{total}\n{dict(total.attacks.most_common())}")
    sys.exit(bool(total.failures))


if __name__ == "__main__":
    main()
