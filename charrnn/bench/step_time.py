"""Where the time of a training step on a GPU goes: kernels, gaps between them, the host, waits."""

from __future__ import annotations

import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

Step = Callable[[], object]
Interval = tuple[float, float]  # start and end

REPEATS = 10  # steps that are profiled


@dataclass(frozen=True)
class StepTime:
    """How the time of one step divides; times in milliseconds.

    While kernels run, the host prepares the next ones. So ``kernels_ms`` (at least one kernel or
    copy runs) and ``gaps_ms`` (none runs) make up the step's time, and ``host_ms``, the time to
    launch a step, matters only if it is longer.

    Attributes:
        kernels_ms: None if the profiler saw none.
        gaps_ms: the rest of the step's time.
        host_ms: how long the host takes to launch a step.
        launches: kernels and copies in a step.
        waits: how often a step makes the host wait for the GPU.
        peak_memory_mb: the most memory in use, in megabytes.
        longest: the kernels that take longest, with their milliseconds and number in a step.
        waiting: the places in the program that wait, with how often.

    """

    kernels_ms: float | None
    gaps_ms: float | None
    host_ms: float
    launches: float | None
    waits: float
    peak_memory_mb: float
    longest: dict[str, tuple[float, float]]
    waiting: dict[str, float]


def divide(step: Step, seconds: float, trace: Path | None = None) -> StepTime:
    """How the time of ``step``, which takes ``seconds``, divides on the current GPU.

    ``step`` must have run before. ``trace`` is a file to write the profiler's trace to.
    """
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    host = [_launch_seconds(step) for _ in range(REPEATS)]
    peak = torch.cuda.max_memory_allocated()
    waiting = count_waits(step, 3)
    kernels = profile_kernels(step, REPEATS, trace)
    busy = 1e3 * covered(interval for _, interval in kernels) / REPEATS
    return StepTime(
        kernels_ms=round(busy, 4) if kernels else None,
        gaps_ms=round(max(0.0, 1e3 * seconds - busy), 4) if kernels else None,
        host_ms=round(1e3 * statistics.median(host), 4),
        launches=len(kernels) / REPEATS if kernels else None,
        waits=round(sum(waiting.values()), 2),
        peak_memory_mb=round(peak / 1e6, 1),
        longest=longest(kernels, REPEATS),
        waiting=waiting,
    )


def covered(intervals: Iterable[Interval]) -> float:
    """The length of the union of ``intervals``: kernels on several streams may overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def longest(
    kernels: list[tuple[str, Interval]], steps: int, most: int = 12
) -> dict[str, tuple[float, float]]:
    """The names of those that take longest, with milliseconds and number in each of ``steps``."""
    spent, times = Counter[str](), Counter[str]()
    for name, (start, end) in kernels:
        spent[name] += 1e3 * (end - start)  # type: ignore[assignment]  # counts may be fractions
        times[name] += 1
    return {
        name: (round(ms / steps, 4), times[name] / steps) for name, ms in spent.most_common(most)
    }


def _launch_seconds(step: Step) -> float:
    """How long the host takes to launch a step while the GPU has nothing else to do."""
    began = time.perf_counter()
    step()
    spent = time.perf_counter() - began
    torch.cuda.synchronize()
    return spent


def count_waits(step: Step, repeats: int) -> dict[str, float]:
    """Places where ``step`` waits for the GPU, as torch detects them, with the times in a step."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")  # warns once that it does not detect everything
        try:
            for _ in range(repeats):
                step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    places = Counter(
        f"{Path(warning.filename).name}:{warning.lineno}"
        for warning in caught
        if "called a synchronizing" in str(warning.message)
    )
    return {place: times / repeats for place, times in places.most_common()}


def profile_kernels(
    step: Step, repeats: int, trace: Path | None = None
) -> list[tuple[str, Interval]]:
    """Names and times, in seconds, of all kernels and copies of ``repeats`` steps.

    Empty if the profiler cannot see the GPU.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(repeats):
            step()
        torch.cuda.synchronize()
    if trace is not None:
        profiled.export_chrome_trace(str(trace))
    return [
        (event.name, (event.time_range.start / 1e6, event.time_range.end / 1e6))
        for event in profiled.events() or ()
        if "CUDA" in str(event.device_type)
    ]
