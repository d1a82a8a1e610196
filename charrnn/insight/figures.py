"""How pictures by matplotlib look: on light and on dark pages, and to color-blind people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
INK, FAINT = "#808080", "#80808055"  # seen on white and on black
# seen on white and on black, too; color-blind people tell them apart, the first four best
COLORS = ("#e1780f", "#0069ff", "#784b69", "#96a578", "#b4001e", "#e178e1", "#5a4ba5", "#4ba5a5")
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": "medium",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 10,
    "grid.color": FAINT,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "charrnn",  # the same picture has the same bytes
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def check_matplotlib() -> None:
    """Import matplotlib, before any work.

    Raises:
        ModuleNotFoundError: it is not installed.

    """
    import matplotlib

    matplotlib.use("agg")


def drawn(figure: Figure, kind: str) -> bytes:
    """``figure`` as a file of ``kind``, one of ``FORMATS``."""
    out = io.BytesIO()
    metadata: Any = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    figure.savefig(out, format=kind, metadata=metadata, dpi=150)
    return out.getvalue()


def panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """``count`` panels side by side. No global state of matplotlib is touched."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(4.2 * count, height), layout="constrained")
    axes = [figure.add_subplot(1, count, 1 + n) for n in range(count)]
    for ax in axes:
        ax.grid(True, linewidth=0.6)
    return figure, axes


def stacked(width: float, heights: Sequence[float], below: float) -> tuple[Figure, list[Axes]]:
    """Panels one above the other, with one axis across, and room ``below`` them; in inches."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, sum(heights) + below), layout="constrained")
    grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    axes = list(grid[:, 0])
    for ax in axes:
        ax.grid(True, linewidth=0.6)
    return figure, axes
