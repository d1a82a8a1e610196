"""How ``charrnn train --plan`` prints what a run would take."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import TYPE_CHECKING

from charrnn.cli.progress import describe, duration
from charrnn.console import note, table
from charrnn.errors import counted

if TYPE_CHECKING:
    from charrnn.training.planning import RunPlan

MIB = 1 << 20


def print_plan(found: RunPlan, *, json: bool, quiet: bool) -> None:
    """Print memory, time and disk on stdout, and unless ``quiet`` on stderr what would be done.

    What this machine lacks for the run is said on stderr in any case.
    """
    if not quiet:
        for line in describe(found.plan, planned=True, seeded=found.seeded):
            note(line)
    for line in lacking(found):
        note(line)
    if json:
        sys.stdout.write(jsonlib.dumps(found.to_dict()) + "\n")
        return
    table(("", "", ""), [_memory(found), _time(found), *_disk(found)])


def lacking(found: RunPlan) -> list[str]:
    """A sentence each for memory and disk, if the run needs more than there is."""
    memory, disk, said = found.memory, found.disk, []
    if 0 < found.memory_there < memory.total:
        each = f" in each of {found.processes} processes" if found.processes > 1 else ""
        where = "the GPU has" if memory.on_gpu else "this machine has"
        share = " for each" if each and not memory.on_gpu else ""
        said.append(
            f"a run of this size needs about {_size(memory.total)} of memory{each}, "
            f"and {where} {_size(found.memory_there)}{share}"
        )
    if 0 < disk.checkpoints_free < disk.checkpoints:
        said.append(
            f"a run of this size needs about {_size(disk.checkpoints)} of disk, "
            f"and {_size(disk.checkpoints_free)} are free for {found.plan.folder}"
        )
    return said


def _memory(found: RunPlan) -> tuple[str, str, str]:
    memory = found.memory
    parts = {
        "the program": memory.program,
        "weights": memory.weights,
        "a step": memory.work,
        "saving": memory.saving,
    }
    shown = ", ".join(f"{_size(size)} {part}" for part, size in parts.items() if size)
    how = "of the GPU" if memory.on_gpu else "at most"
    return "memory", _size(memory.total), f"{how}, estimated by a formula: {shown}"


def _time(found: RunPlan) -> tuple[str, str, str]:
    time = found.time
    epochs = f"{time.epochs:.3g} {'epoch' if time.epochs == 1 else 'epochs'}"
    read = f"{counted(time.steps, 'step')}, {counted(time.chars, 'character')}, {epochs}"
    source = "steps timed" if time.measured else "the speed of matrix products"
    how = f"estimated from {source} on this machine; excludes validation"
    taken = duration(time.seconds) if time.seconds >= 1 else "under 1s"
    return "time", taken, f"{read} at {time.chars_per_second:,.0f} char/s, {how}"


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
