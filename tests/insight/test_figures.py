"""The style of pictures: seen on any page, by anybody."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.insight.figures import COLORS, INK

Values = NDArray[np.float64]

# linear RGB as it is seen by dichromats (Machado, Oliveira & Fernandes 2009, severity 1)
SEEN = {
    "all colors": np.eye(3),
    "no red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no blue": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(color: str) -> Values:
    """``#rrggbb`` as linear RGB."""
    values = np.array([int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Values) -> Values:
    """Linear RGB in CIE 1976 L*a*b*, where distances are those that are seen."""
    x, y, z = np.cbrt(np.clip(TO_XYZ @ np.clip(rgb, 0, 1), 1e-9, None) / (0.95047, 1.0, 1.08883))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colors: tuple[str, ...], seen: str) -> float:
    """The distance of the two that are nearest to each other."""
    found = [lab(SEEN[seen] @ linear(color)) for color in colors]
    return min(float(np.linalg.norm(one - other)) for one, other in combinations(found, 2))


@pytest.mark.parametrize("seen", SEEN)
def test_the_color_blind_tell_the_colors_apart(seen: str) -> None:
    """A distance of 2 can just be seen in patches side by side; thin lines need much more."""
    assert nearest(COLORS, seen) > 20
    assert nearest(COLORS[:4], seen) > 30


@pytest.mark.parametrize("color", [INK, *COLORS])
def test_colors_are_seen_on_white_and_on_black(color: str) -> None:
    """By the contrast ratio of WCAG 2, of which 3 is asked of large things."""
    luminance = float(TO_XYZ[1] @ linear(color))
    assert 1.05 / (luminance + 0.05) > 2.5
    assert (luminance + 0.05) / 0.05 > 2.9
