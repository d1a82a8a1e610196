"""How runs learned, as a chart of characters: losses over one axis, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters

from charrnn.insight.figures import COLORS, INK
from charrnn.insight.learning import Across, Learning, Points, after, shown_nats, so_many
from charrnn.insight.markup import visible
from charrnn.training.events import bits

ROWS, LEAST, MOST = 14, 20, 72  # rows of curves; the least columns of them, the most of all
TICKS = 4  # figures at the axis of losses, about
HIGHEST = 1.2  # times the height of the chart: what is higher leaves it as steeply
# a character by its filled quarters, which are counted 1, 2 above and 4, 8 below
BLOCKS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"

Line = list[tuple[str, str]]  # pieces of text with their colors; "" is that of all other text


@dataclass(frozen=True)
class _Curve:
    points: Points
    color: str
    letter: str
    name: str


def chart(runs: Sequence[Learning], x: Across, columns: int, *, blocks: bool) -> list[Line]:
    """The losses of ``runs`` and what is what, in lines of about ``columns`` characters at most.

    Of one run these are training and validation losses, of several runs validation losses. Names
    of runs are not shortened, and may make their lines longer.

    Args:
        runs: the runs.
        x: the axis across.
        columns: the width, of which at most 72 are used.
        blocks: whether to draw with blocks, in up to eight colors. More curves are drawn with a
            letter each; without blocks, all curves are, and the chart itself is ASCII.

    """
    curves = _curves(runs, x)
    low, high = shown_nats([curve.points for curve in curves])
    room = 0.05 * (high - low) or 0.05
    low, high = low - room, high + room
    ticks = _ticks(low, high)
    indent = max(map(len, ticks.values()))
    parts = 2 if blocks and len(curves) <= len(COLORS) else 1
    canvas = _Canvas(max(LEAST, min(columns, MOST) - indent - 1), parts)
    most = max((place for curve in curves for place in curve.points[0]), default=0.0) or 1.0
    for curve in curves:
        values = _sampled(curve.points, most, canvas.columns * parts)
        canvas.draw(curve, [None if v is None else (v - low) / (high - low) for v in values])
    tick, side, corner, floor = ("┤", "│", "└", "─") if blocks else ("+", "|", "+", "-")
    name = f"{visible(runs[0].name)}: " if len(runs) == 1 else "validation losses: "
    lines: list[Line] = [[(f"{name}nats per character", "")]]
    for row in range(ROWS):
        label = ticks.get(row, "")
        lines.append([(label.rjust(indent) + (tick if label else side), ""), *canvas.line(row)])
    end = so_many(most, x)
    lines.append([(" " * indent + corner + floor * canvas.columns, "")])
    lines.append([(" " * indent + " 0" + end.rjust(canvas.columns - 1), "")])
    return lines + _legend(runs, curves, x, parts)


def _curves(runs: Sequence[Learning], x: Across) -> list[_Curve]:
    if len(runs) == 1:
        looks = {"train_nats": (INK, ".", "training"), "val_nats": (COLORS[0], "o", "validation")}
        losses = runs[0].losses(x, both=True)
        return [_Curve(points, *looks[name]) for name, points in losses.items() if points[0]]
    found = []
    for number, run in enumerate(runs):
        [(name, points)] = run.losses(x, both=False).items()
        kind = "" if name == "val_nats" else "  (training)"
        color = COLORS[number % len(COLORS)]
        letter = ascii_letters[number % len(ascii_letters)]
        found.append(_Curve(points, color, letter, visible(run.name) + kind))
    return found


def _legend(
    runs: Sequence[Learning], curves: Sequence[_Curve], x: Across, parts: int
) -> list[Line]:
    """What the curves are, and the lowest validation losses."""
    keys: list[Line] = [
        [("▄▄" if parts > 1 else curve.letter, curve.color), (f" {curve.name}", "")]
        for curve in curves
    ]
    bests = [run.best(x) for run in runs]
    if len(runs) > 1:
        for key, best in zip(keys, bests, strict=True):
            key.append((f"  {best[1]:.4f} {after(best[0], x)}" if best else "", ""))
        return keys
    both = [piece for key in keys for piece in (*key, ("  ", ""))]
    if (best := bests[0]) is None:
        return [both]
    nats = f"lowest {best[1]:.4f} nats ({bits(best[1]):.4f} bits) {after(best[0], x)}"
    return [both, [(nats, "")]]


class _Canvas:
    """``columns`` by ``ROWS`` characters, each of ``parts`` by ``parts`` dots."""

    def __init__(self, columns: int, parts: int) -> None:
        self.columns, self._parts = columns, parts
        self._dots: dict[tuple[int, int], tuple[int, _Curve]] = {}  # the filled ones, and whose

    def draw(self, curve: _Curve, heights: Sequence[float | None]) -> None:
        """Draw ``curve`` through ``heights``, one for each column of dots: 0 is below, 1 above.

        None is where it has none. Where it is higher than 1, it leaves the chart.
        """
        most = ROWS * self._parts - 1
        before: int | None = None
        for column, height in enumerate(heights):
            level = None if height is None else round((1 - min(height, HIGHEST)) * most)
            if level is not None:
                start = level if before is None else before + (level > before) - (level < before)
                for row in range(min(start, level), max(start, level) + 1):
                    if 0 <= row <= most:
                        self._fill(curve, column, row)
            before = level

    def _fill(self, curve: _Curve, column: int, row: int) -> None:
        cell = column // self._parts, row // self._parts
        filled, whose = self._dots.get(cell, (0, curve))
        dot = 1 << (column % self._parts + 2 * (row % self._parts))
        self._dots[cell] = (filled | dot if whose is curve else dot), curve

    def line(self, row: int) -> Line:
        """A row of characters."""
        found: Line = []
        for column in range(self.columns):
            filled, curve = self._dots.get((column, row), (0, None))
            text = BLOCKS[filled] if self._parts > 1 or curve is None else curve.letter
            color = curve.color if curve else ""
            if found and found[-1][1] == color:
                text = found.pop()[0] + text
            found.append((text, color))
        return found


def _ticks(low: float, high: float) -> dict[int, str]:
    """Round figures between two losses, by the row of each."""
    step = 10.0 ** math.floor(math.log10((high - low) / TICKS))
    step *= next(digit for digit in (1, 2, 5, 10) if (high - low) / (digit * step) <= TICKS)
    decimals = max(0, -math.floor(math.log10(step)))
    figures = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    rows = [round((high - figure) / (high - low) * (ROWS - 1)) for figure in figures]
    return {row: f"{figure:.{decimals}f}" for row, figure in zip(rows, figures, strict=True)}


def _sampled(points: Points, most: float, columns: int) -> list[float | None]:
    """A value for each of ``columns`` between 0 and ``most``: a mean, or one between neighbors."""
    sums: dict[int, list[float]] = {}
    for place, value in zip(*points, strict=True):
        sums.setdefault(min(int(place / most * columns), columns - 1), []).append(value)
    known = {column: sum(values) / len(values) for column, values in sorted(sums.items())}
    found: list[float | None] = [known.get(column) for column in range(columns)]
    last: int | None = None
    for column, value in known.items():
        if last is not None:
            for between in range(last + 1, column):
                part = (between - last) / (column - last)
                found[between] = known[last] + part * (value - known[last])
        last = column
    return found
