"""SVG drawings: learning curves, dots and a map of the symbols."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 36  # margins
TICKS = 6
COLORS = 4  # of groups of dots
MANY = 100  # symbols; a map of more is as high as it is wide
LETTER, LINE = 7, 12  # the room for a letter, about
# how a label on a map may be moved to the right and down, so that it covers no other one
MOVES = ((0, 0), (LETTER, 0), (-LETTER, 0), (0, LINE), (0, -LINE))

Points = Sequence[tuple[float, float]]
_Box = tuple[float, float, float, float]  # left, top, right, bottom


def curves(name: str, lines: dict[str, Points], across: str, up: str) -> str:
    """Named lines through ``(x, y)`` points, over axes named ``across`` and ``up``.

    Empty if there are no points.
    """
    every = [point for points in lines.values() for point in points]
    if not every:
        return ""
    frame = _Frame(every)
    parts = [frame.axes(across, up)]
    for number, (key, points) in enumerate(lines.items()):
        if points:
            path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
            x, y = frame.x(points[-1][0]), frame.y(points[-1][1])
            parts.append(
                f'<polyline class="line{number}" points="{path}"/>'
                f'<circle class="dot{number}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
                f'<text class="key{number}" x="{WIDTH - RIGHT - 8}" y="{TOP + 16 + 18 * number}" '
                f'text-anchor="end">{html.escape(key)}</text>'
            )
    return _svg(name, parts)


def scatter(name: str, dots: dict[str, Points], across: str, up: str) -> str:
    """Named groups of ``(x, y)`` points between 0 and 1, over axes named ``across`` and ``up``."""
    frame = _Frame([(0.0, 0.0), (1.0, 1.0)])
    parts = [frame.axes(across, up)]
    for number, (key, points) in enumerate(dots.items()):
        color = number % COLORS
        parts += [
            f'<circle class="unit{color}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.5"/>'
            for x, y in points
        ]
        parts.append(
            f'<text class="name{color}" x="{WIDTH - RIGHT - 8}" y="{TOP + 16 + 18 * number}" '
            f'text-anchor="end">{html.escape(key)}</text>'
        )
    return _svg(name, parts)


def symbol_map(
    name: str,
    vectors: NDArray[Any],
    labels: Sequence[str],
    kinds: Sequence[str],
    counts: Sequence[int],
) -> str:
    """The two main principal components of ``vectors (V, E)`` as a map.

    A label that would cover that of a more frequent symbol is moved a little. If that does not
    help, there is a dot instead.

    Args:
        name: the title of the picture.
        vectors: one row for each symbol.
        labels: the text for each symbol.
        kinds: the CSS class of each symbol, which sets its color.
        counts: how often each symbol occurs.

    """
    if len(vectors) < 3:
        return ""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    plane = left[:, :2] * scale[:2]
    if plane.shape[1] < 2:  # vectors of one number
        plane = np.column_stack([plane, np.zeros(len(plane))])
    height = HEIGHT if len(labels) <= MANY else WIDTH
    frame = _Frame([(float(x), float(y)) for x, y in plane], height, alike=True)
    parts, taken = list[str](), list[_Box]()
    for row in np.argsort(-np.asarray(counts), kind="stable").tolist():
        label, kind = html.escape(labels[row]), html.escape(kinds[row])
        x, y = frame.x(plane[row, 0]), frame.y(plane[row, 1])
        half = len(labels[row]) * LETTER / 2
        places = [(min(max(x + right, half), WIDTH - half), y + down) for right, down in MOVES]
        boxes = [(at - half, low - LINE, at + half, low) for at, low in places]
        free = [box for box in boxes if not any(map(partial(_overlap, box), taken))]
        if not free:
            parts.append(
                f'<circle class="{kind}" cx="{x:.1f}" cy="{y - LINE / 3:.1f}" r="2">'
                f"<title>{label}</title></circle>"
            )
            continue
        taken.append(free[0])
        at, low = places[boxes.index(free[0])]
        parts.append(
            f'<text class="{kind}" x="{at:.1f}" y="{low:.1f}" text-anchor="middle">{label}</text>'
        )
    return _svg(name, parts, height)


def _overlap(one: _Box, other: _Box) -> bool:
    """Whether two boxes have some room in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _svg(name: str, parts: Sequence[str], height: int = HEIGHT) -> str:
    about = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(name)}"'
    return f"<svg {about}>{''.join(parts)}</svg>"


class _Frame:
    """Maps numbers to positions in the drawing; ``alike`` gives both axes the same scale."""

    def __init__(self, points: Points, height: int = HEIGHT, alike: bool = False) -> None:
        self._height = height
        self._x, self._y = _range([x for x, _ in points]), _range([y for _, y in points])
        if alike:
            width, height = WIDTH - LEFT - RIGHT, height - TOP - BOTTOM
            unit = max((self._x[1] - self._x[0]) / width, (self._y[1] - self._y[0]) / height)
            self._x, self._y = _widened(self._x, unit * width), _widened(self._y, unit * height)

    def x(self, value: float) -> float:
        low, high = self._x
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        room = self._height - TOP - BOTTOM
        return self._height - BOTTOM - (value - low) / (high - low) * room

    def axes(self, across: str, up: str) -> str:
        """Lines at round numbers, and the names of the axes."""
        parts = []
        for value in round_numbers(*self._y):
            y = self.y(value)
            parts.append(
                f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
            )
        below = f'y="{self._height - BOTTOM + 16}" text-anchor="middle"'
        parts += [
            f'<text x="{self.x(value):.1f}" {below}>{value:,.10g}</text>'
            for value in round_numbers(*self._x)
        ]
        middle, bottom = (LEFT + WIDTH - RIGHT) / 2, self._height - 4
        parts.append(
            f'<text x="{middle}" y="{bottom}" text-anchor="middle">{html.escape(across)}</text>'
            f'<text x="{LEFT + 6}" y="{TOP + 4}">{html.escape(up)}</text>'
        )
        return "".join(parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest value with a margin, and never equal."""
    low, high = min(values), max(values)
    air = (high - low) * 0.03 or 0.5
    return low - air, high + air


def _widened(ends: tuple[float, float], length: float) -> tuple[float, float]:
    middle = (ends[0] + ends[1]) / 2
    return middle - length / 2, middle + length / 2


def round_numbers(low: float, high: float) -> list[float]:
    """About ``TICKS`` multiples of 1, 2 or 5 times a power of ten between two numbers."""
    raw = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step)
    return [round(step * n, 12) for n in range(first, math.floor(high / step) + 1)]
