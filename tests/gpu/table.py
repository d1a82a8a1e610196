"""The table of a measurement: each goal beside what was reached, and what the experiments say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

Found = dict[str, dict[str, Any]]
Row = tuple[str, str, str, str]  # what, goal, reached, verdict

MISSING = "not measured"


def table(found: Found, tests: Path, fixed: Path, *others: Path) -> str:
    """All goals as lines in columns, after the machine's name and before the experiments.

    ``tests``, ``fixed`` and ``others`` are reports of pytest, the second with a fixed workspace of
    cuBLAS.
    """
    more = [row for path in others if path.exists() for row in tested(path)]
    repeats = [*repeated(tests, ""), *repeated(fixed, ", fixed workspace")]
    rows = [("", "goal", "reached", ""), *goals(found), *tested(tests), *more, *repeats]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([machine(found), "", *lines, "", *curves(found), *rest(found)])


def machine(found: Found) -> str:
    """The device and its software, in one line."""
    own = found.get("machine", {})
    if "device" not in own:
        return f"machine: {own.get('failed', MISSING)}"
    return (
        f"{own['device']}; torch {own['torch']}, CUDA {own['cuda']}, cuDNN {own['cudnn']}; "
        f"products {own['product_flops'] / 1e12:.1f} Tflop/s "
        f"({own['product_flops_in_training'] / 1e12:.1f} as training measures them), "
        f"copies {own['copied_bytes_per_second'] / 1e9:,.0f} GB/s"
    )


# name of the line, key, what, goal, whether a value reaches it, how to write it
Goal = tuple[str, str, str, str, Callable[[float], bool], Callable[[float], str]]


def speed(value: float) -> str:
    """Characters per second."""
    return f"{value:,.0f} char/s"


def ratio(value: float) -> str:
    """A quotient."""
    return f"{value:.2f} x"


GOALS: list[Goal] = [
    ("run", "chars_per_second", "3 x 512, B 128, T 100, a run as the user starts it",
     ">= 2.5 M char/s", lambda v: v >= 2.5e6, speed),
    ("3 x 512", "chars_per_second", "the same, steps alone", ">= 2.5 M char/s",
     lambda v: v >= 2.5e6, speed),
    ("3 x 512", "ratio", "  beside the plain float32 loop", ">= 2 x", lambda v: v >= 2, ratio),
    ("3 x 512", "autocast_ratio", "  beside the plain loop under autocast, our precision",
     ">= 1.3 x", lambda v: v >= 1.3, ratio),
    ("3 x 512", "bfloat16_ratio", "  beside the plain loop under autocast, bfloat16",
     ">= 1.3 x", lambda v: v >= 1.3, ratio),
    ("3 x 1024", "chars_per_second", "3 x 1024 (best)", ">= 0.9 M char/s", lambda v: v >= 0.9e6,
     speed),
    ("3 x 512", "window_overhead", "a window beside the model", "< 2 %", lambda v: v < 0.02,
     lambda v: f"{100 * v:.2f} %"),
    ("3 x 512", "waits", "waits for the device in a step", "none", lambda v: v == 0,
     lambda v: f"{v:g}"),
    ("novel", "test_nats", "War and Peace, split P: test", "<= 1.082", lambda v: v <= 1.082,
     lambda v: f"{v:.4f}"),
    ("novel", "wall_s", "  seconds from process start to end", "<= 60 s", lambda v: v <= 60,
     lambda v: f"{v:.1f} s"),
    ("3 x 512", "evaluation_chars_per_second", "evaluation", ">= 2 M char/s", lambda v: v >= 2e6,
     speed),
]  # fmt: skip


def goals(found: Found) -> Iterator[Row]:
    """A row for each goal."""
    first = found.get("3 x 512", {})
    if first.get("bfloat16_autocast_chars_per_second"):
        other = first["bfloat16_autocast_chars_per_second"]
        first["bfloat16_ratio"] = first["chars_per_second"] / other
    for name, key, what, goal, reaches, write in GOALS:
        line = found.get(name, {})
        value = line.get(key)
        if value is None:
            yield what, goal, str(line.get("failed", MISSING))[:60], ""
        else:
            yield what, goal, write(value), "yes" if reaches(value) else "NO"


def tested(path: Path) -> Iterator[Row]:
    """How the tests ended."""
    if not path.exists():
        yield "tests", "all pass", MISSING, ""
        return
    root = ElementTree.parse(path).getroot()
    suite = root if root.tag == "testsuite" else root[0]
    count, bad, skipped = (
        sum(int(suite.get(key, 0)) for key in keys)
        for keys in (("tests",), ("failures", "errors"), ("skipped",))
    )
    yield (
        "tests of the device",
        "all pass",
        f"{count - bad - skipped} passed, {bad} failed, {skipped} skipped",
        "NO" if bad else "yes",
    )
    for case in suite.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            yield f"  {case.get('name')}"[:80], "", "failed", "NO"


def repeated(path: Path, how: str) -> Iterator[Row]:
    """How much two equal runs differ."""
    differ, equal = {}, 0
    for case in ElementTree.parse(path).getroot().iter("testcase") if path.exists() else ():
        for told in case.iter("property"):
            value = float(told.get("value", "nan"))
            equal += value == 0
            if value != 0:
                differ[str(case.get("name")).partition("[")[2].rstrip("]")] = value
    if differ or equal:
        worst = max(differ.values(), default=0.0)
        found = f"{equal} identical, {len(differ)} differ by at most {worst:.1e}"
        yield f"two equal runs{how}", "identical", found, "NO" if differ else "yes"
    for name, value in differ.items():
        yield f"  {name}", "", f"{value:.2e}", ""


def curves(found: Found) -> Iterator[str]:
    """Speeds by batch and by lanes, and where a step's time goes."""
    for name in ("3 x 512 curve", "3 x 1024 curve", "lanes"):
        if line := {k: v for k, v in found.get(name, {}).items() if k != "failed"}:
            yield f"{name}: " + ", ".join(f"{at} {value / 1e6:.2f} M" for at, value in line.items())
    for name in ("3 x 512 divided", "3 x 1024 divided"):
        line = found.get(name, {})
        if line.get("kernels_ms") is not None:
            yield (
                f"{name}: step {line['step_ms']:.2f} ms = kernels {line['kernels_ms']:.2f} "
                f"+ gaps {line['gaps_ms']:.2f}; host {line['host_ms']:.2f} ms, "
                f"{line['launches']:.0f} launches, {line['waits']:g} waits, "
                f"peak {line['peak_memory_mb']:,.0f} MB"
            )
            for kernel, (ms, times) in list(line["longest"].items())[:6]:
                yield f"    {ms:.3f} ms in {times:g}: {kernel[:90]}"
    utilization = [found[n]["utilization"] for n in ("3 x 512", "3 x 1024") if n in found
                   and "utilization" in found[n]]  # fmt: skip
    if utilization:
        yield f"utilization of products (GPU_UTILIZATION): {', '.join(map(str, utilization))}"


KNOWN = {"machine", "run", "novel", "lanes", "3 x 512", "3 x 1024"}


def rest(found: Found) -> Iterator[str]:
    """Everything else as it is: experiments, failures, and how long each part took."""
    for name, line in found.items():
        if "failed" in line and name not in {goal[0] for goal in GOALS}:
            yield f"FAILED {name}: {line['failed']}"
        elif name not in KNOWN and not name.endswith((" curve", " divided")):
            shown = ", ".join(f"{key} {value}" for key, value in line.items())
            yield f"{name}: {shown}"
