"""How runs learned: their reports, as points on an axis and as a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from charrnn.errors import CheckpointError, counted
from charrnn.paths import BEST, LAST
from charrnn.training.rundir.metrics import (
    COUNTS,
    FIGURES,
    METRICS,
    Values,
    find_metrics,
    is_count,
    is_within,
    reports,
)

Across = Literal["step", "chars", "epoch", "time"]

LOSSES = ("train_nats", "val_nats")
FEW = 20  # reports; from so many on, the first losses of a run need not be shown
START = 0.05  # the part of all runs in which losses fall so fast that the rest would look flat
USUAL = 0.97  # the part of the other losses that need to be shown: no spikes
MOST_NATS = 3.0  # above the lowest loss of a run, that are shown

TIMES = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}

_LACKS = {
    "step": "does not say at which steps it reported",
    "chars": "does not say how many characters were read",
    "epoch": "does not say how long an epoch is, and there is no checkpoint that does",
    "time": "does not say when it reported",
}

Points = tuple[list[float], list[float]]  # x and y


@dataclass(frozen=True, eq=False)
class Learning:
    """How a run learned: its name and its reports."""

    name: str
    path: Path  # of its metrics
    reports: Sequence[Values]

    def points(self, x: Across, name: str) -> Points:
        """The values called ``name`` with their places on the axis ``x``, where both are known.

        Time is in seconds.
        """
        places = [self.place(report, x) for report in self.reports]
        values = [report[name] for report in self.reports]
        known = [
            (place, value)
            for place, value in zip(places, values, strict=True)
            if place is not None and value is not None
        ]
        return [place for place, _ in known], [value for _, value in known]

    def losses(self, x: Across, *, both: bool) -> dict[str, Points]:
        """Training and validation losses as ``points``; if not ``both``, those of one kind.

        These are the validation losses, or the training losses if there was no validation.
        """
        found = {name: self.points(x, name) for name in LOSSES}
        if both:
            return found
        name = "val_nats" if found["val_nats"][0] else "train_nats"
        return {name: found[name]}

    def best(self, x: Across) -> tuple[float, float] | None:
        """Where the first of the lowest validation losses is on the axis ``x``, and that loss."""
        places, nats = self.points(x, "val_nats")
        return min(zip(places, nats, strict=True), key=lambda point: point[1], default=None)

    def place(self, report: Values, x: Across) -> float | None:
        """Where ``report`` is on the axis ``x``; None if that is unknown."""
        if x == "epoch":
            chars, epoch = report["chars"], self._epoch
            return None if chars is None or epoch is None else chars / epoch
        return report["elapsed_s" if x == "time" else x]

    @cached_property
    def _epoch(self) -> float | None:
        """How many characters an epoch has, about; None if nothing says so.

        A report counts whole epochs, so it gives bounds: between ``chars / (epoch + 1)`` and
        ``chars / epoch``. In the first epoch, the corpus in a checkpoint's metadata says it.
        """
        known = [
            (chars, epoch)
            for report in self.reports
            if (chars := report["chars"]) is not None and (epoch := report["epoch"]) is not None
        ]
        most = min((chars / epoch for chars, epoch in known if epoch), default=None)
        if not most:
            return _train_chars(self.path)
        return (max(chars / (epoch + 1) for chars, epoch in known) + most) / 2


def _train_chars(metrics: Path) -> float | None:
    """The characters of the training part, as a checkpoint beside ``metrics`` knows it."""
    from charrnn.checkpoint.file import load

    for file in (BEST, LAST):
        with suppress(CheckpointError):
            corpus = load(metrics.with_name(file)).about("corpus")
            chars, split = corpus.get("chars"), corpus.get("split")
            if not (is_count(chars) and isinstance(split, dict)):
                continue
            others = [split.get(name, 0) for name in ("val_frac", "test_frac")]
            if all(is_within(part, 1) for part in others) and chars and sum(others) < 1:
                return float(chars * (1 - sum(others)))
    return None


def read_runs(
    runs: Sequence[str | Path], on_note: Callable[[str], object] = lambda note: None
) -> list[Learning]:
    """How ``runs`` learned, each once; without any, the newest one.

    Runs without a report are omitted, and noted.

    Raises:
        CheckpointError: a run is missing or cannot be read, or none has a report.

    """
    paths = {path.resolve(): path for path in map(find_metrics, runs or (None,))}
    names = Counter(map(_name, paths))
    found = []
    for place, path in paths.items():
        name = _name(place) if names[_name(place)] == 1 else str(_folder(path))
        found.append(Learning(name, path, reports(path)))
    empty = [run for run in found if not run.reports]
    if len(empty) == len(found):
        raise CheckpointError(f"{empty[0].path} has no reports yet", "wait until a run has some")
    for run in empty:
        on_note(f"{run.path} has no reports yet: omitted")
    return [run for run in found if run.reports]


def _folder(metrics: Path) -> Path:
    return metrics.parent if metrics.name == METRICS else metrics


def _name(metrics: Path) -> str:
    """The name of the run that wrote ``metrics``, or of a file that was renamed."""
    return metrics.parent.name if metrics.name == METRICS else metrics.stem


def as_csv(runs: Sequence[Learning]) -> bytes:
    """A row for each report, after a row of headings; what is unknown is left empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", *COUNTS, *FIGURES])
    for run in runs:
        writer.writerows([run.name, *report.values()] for report in run.reports)
    return out.getvalue().encode("utf-8", "surrogateescape")  # names are bytes of any kind


def shown_nats(curves: Sequence[Points]) -> tuple[float, float]:
    """The lowest and the highest loss worth showing: not those with which a long run begins."""
    curves = [curve for curve in curves if curve[0]]
    if not curves:
        return 0.0, 1.0
    places = [place for curve in curves for place in curve[0]]
    start = min(places) + START * (max(places) - min(places))
    bounds = [_bounds(curve, start) for curve in curves]
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _bounds(curve: Points, start: float) -> tuple[float, float]:
    places, nats = curve
    low = min(nats)
    if len(nats) >= FEW:
        start = min(start, (places[0] + places[-1]) / 2)  # of a run that is shorter than others
        nats = [value for place, value in zip(places, nats, strict=True) if place >= start]
    high = sorted(nats)[int(USUAL * (len(nats) - 1))] if len(nats) >= FEW else max(nats)
    return low, min(high, low + MOST_NATS)


def after(place: float, x: Across) -> str:
    """A place on the axis ``x`` in a sentence: ``after 1,200 steps``."""
    return f"after {so_many(place, x)}"


def so_many(place: float, x: Across) -> str:
    """A place on the axis ``x`` in words: ``1,200 steps``."""
    if x == "time":
        word, unit = unit_of_time(place)
        return f"{place / unit:.1f} {word}" if unit > 1 else counted(round(place), "second")
    if x == "epoch":
        return f"{place:.2f} epochs"
    return counted(round(place), "step" if x == "step" else "character")


def unit_of_time(most: float) -> tuple[str, float]:
    """The unit of time that suits so many seconds, and how many seconds it has."""
    return next((word, unit) for word, unit in TIMES.items() if most >= 3 * unit or unit == 1)


def placed(
    runs: Sequence[Learning], x: Across, on_note: Callable[[str], object] = lambda note: None
) -> list[Learning]:
    """Those of ``runs`` whose reports say where they are on the axis ``x``; others are noted.

    Raises:
        CheckpointError: none does.

    """
    known = [run for run in runs if any(run.place(report, x) is not None for report in run.reports)]
    if not known:
        raise CheckpointError(f"{runs[0].path} {_LACKS[x]}", "choose another {x}")
    for run in runs:
        if run not in known:
            on_note(f"{run.path} {_LACKS[x]}: omitted")
    return known
