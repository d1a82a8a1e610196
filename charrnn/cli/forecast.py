"""How ``charrnn train --plan`` prints what a run would take."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import TYPE_CHECKING

from charrnn.cli.progress import describe, duration
from charrnn.console import note, table

if TYPE_CHECKING:
    from charrnn.training.planning import RunPlan

MIB = 1 << 20


def print_plan(found: RunPlan, *, json: bool, quiet: bool, seeded: bool) -> None:
    """Print memory, time and disk on stdout, and unless ``quiet`` on stderr what would be done.

    ``seeded`` says whether the run's seed is known; otherwise it will be a random one.
    """
    if not quiet:
        for line in describe(found.plan):
            note(line if seeded else line.replace(f", seed {found.plan.training.seed}", ""))
    if json:
        sys.stdout.write(jsonlib.dumps(found.to_dict()) + "\n")
        return
    table(("", "", ""), [_memory(found), _time(found), *_disk(found)])


def _memory(found: RunPlan) -> tuple[str, str, str]:
    memory = found.memory
    parts = {
        "the program": memory.program,
        "weights": memory.weights,
        "a step": memory.work,
        "saving": memory.saving,
    }
    shown = ", ".join(f"{_size(size)} {part}" for part, size in parts.items() if size)
    how = "of the GPU, computed" if memory.on_gpu else "at most, by a formula fitted to runs"
    return "memory", _size(memory.total), f"{how}: {shown}"


def _time(found: RunPlan) -> tuple[str, str, str]:
    time = found.time
    read = f"{time.steps:,} steps, {time.chars:,} characters, {time.epochs:.3g} epochs"
    speed = f"{time.chars_per_second:,.0f} char/s, estimated from matrix products here"
    return "time", duration(time.seconds), f"{read} at {speed}; without validations"


def _disk(found: RunPlan) -> list[tuple[str, str, str]]:
    disk = found.disk
    free = f" ({_size(disk.checkpoints_free)} free)" if disk.checkpoints_free else ""
    return [
        ("disk", _size(disk.checkpoints), f"for checkpoints in {found.plan.folder}{free}"),
        ("", _size(disk.encoded), f"for the encoded text, which is in {disk.cache}"),
    ]


def _size(count: int) -> str:
    """Bytes in a unit that suits them."""
    if count >= 10 * 1024 * MIB:
        return f"{count / 1024 / MIB:,.1f} GiB"
    return f"{count / MIB:,.0f} MiB" if count >= 10 * MIB else f"{count / MIB:.1f} MiB"
