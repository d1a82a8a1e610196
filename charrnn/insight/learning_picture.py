"""How runs learned, as a picture by matplotlib: losses, and below them what else was reported."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import accumulate, cycle, pairwise, product
from typing import TYPE_CHECKING, Any

from charrnn.insight.figures import COLORS, STYLE, drawn, stacked
from charrnn.insight.learning import Across, Learning, Points, after, shown_nats, unit_of_time
from charrnn.insight.markup import visible
from charrnn.training.events import bits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, LOWER = 8.0, 3.8, 1.15  # inches: of all panels, of the first, of each other one
LINE = 0.19  # the height of a line of the legend, in inches
LETTER, HANDLE = 0.078, 0.75  # the width of a letter, and of all else, in the legend, in inches
LONGEST = 32  # characters of a name
THIN, MEDIUM, THICK = 0.8, 1.2, 1.8  # lines: training losses, lower panels, validation losses
DOTTED = 12  # points of a line of losses; of so few, each is a dot
MARK: Any = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.5}
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))  # all colors with each, in turn
LOOKS: Any = [{"linestyle": dashes, "color": color} for dashes, color in product(DASHES, COLORS)]
PANELS = {
    "lr": "learning\nrate",
    "chars_per_second": "characters\nper second",
    "grad_norm": "gradient\nnorm",
}
AXES = {"step": "step", "chars": "characters read", "epoch": "epoch"}
LINES: Any = {
    "train_nats": {"linewidth": THIN, "alpha": 0.75},
    "val_nats": {"linewidth": THICK},
}
LEAST = 1e-30  # the lowest norm on a logarithmic scale: ticks overflow if it has 300 decades
ROUND = [1, 2, 5, 10]  # digits of the numbers at an axis


def learning_picture(
    runs: Sequence[Learning], x: Across, grad_norm: bool = False, kind: str = "svg"
) -> bytes:
    """Losses, learning rates, speeds and, if ``grad_norm``, norms of gradients, as a file.

    Training losses are thin lines, validation losses thick ones; of more runs than there are
    colors, training losses are omitted if there are validation losses. The lowest validation loss
    of each run is marked, and named in the legend.
    """
    import matplotlib

    names = [name for name in PANELS if name != "grad_norm" or grad_norm]
    names = [name for name in names if any(run.points(x, name)[0] for run in runs)]
    labels = _labels(runs, x)
    columns = _columns([HANDLE + LETTER * len(label) for label in labels])
    below = LINE * (math.ceil(len(labels) / columns) + 1)
    # names are shown as they are, not as formulas; fonts may lack some of their characters
    with matplotlib.rc_context(STYLE | {"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure, axes = stacked(WIDTH, [HEIGHT, *(LOWER for _ in names)], below)
        word, unit = _unit(runs, x)
        _losses(axes[0], runs, x, unit)
        for ax, name in zip(axes[1:], names, strict=True):
            for run, look in zip(runs, cycle(LOOKS), strict=False):
                _line(ax, run.points(x, name), unit, 1, **look, linewidth=MEDIUM)
            _name_panel(ax, name)
        _name_places(axes[-1], x, word)
        figure.align_ylabels(axes)
        _legend(figure, labels, columns, several=len(runs) > 1)
        return drawn(figure, kind)


def _columns(widths: Sequence[float]) -> int:
    """How many columns a legend with labels of these widths has; it is filled column by column."""
    for rows in range(1, len(widths)):
        columns = math.ceil(len(widths) / rows)
        least, longer = divmod(len(widths), columns)
        sizes = (least + (number < longer) for number in range(columns))
        parts = pairwise(accumulate(sizes, initial=0))
        if sum(max(widths[start:end]) for start, end in parts) <= WIDTH:
            return columns
    return 1


def _labels(runs: Sequence[Learning], x: Across) -> list[str]:
    """What the legend says of each line: of one run what it is, of several which run it is."""
    if len(runs) > 1:
        bests = [run.best(x) for run in runs]
        names = [_shortened(visible(run.name), LONGEST) for run in runs]
        return [
            name if best is None else f"{name}  {best[1]:.4f}"
            for name, best in zip(names, bests, strict=True)
        ]
    best = runs[0].best(x)
    if best is None:
        return ["training"]
    lowest = f"lowest: {best[1]:.4f} nats ({bits(best[1]):.4f} bits) {after(best[0], x)}"
    return ["training", "validation", lowest]


def _unit(runs: Sequence[Learning], x: Across) -> tuple[str, float]:
    """The name of the axis ``x``, and what its unit is in what the reports give."""
    if x != "time":
        return AXES[x], 1.0
    known = [place for run in runs for report in run.reports if (place := run.place(report, x))]
    word, unit = unit_of_time(max(known, default=0.0))
    return f"{word} of training", unit


def _losses(ax: Axes, runs: Sequence[Learning], x: Across, unit: float) -> None:
    """Draw all losses, over a scale in nats and one in bits."""
    few = len(runs) <= len(COLORS)
    curves = [run.losses(x, both=few) for run in runs]
    for run, losses, look in zip(runs, curves, cycle(LOOKS), strict=False):
        for name, points in losses.items():
            _line(ax, points, unit, DOTTED if few else 1, **look, **LINES[name])
        if best := run.best(x):
            ax.plot(best[0] / unit, best[1], color=look["color"], zorder=3, **MARK)
    low, high = shown_nats([points for losses in curves for points in losses.values()])
    room = 0.05 * (high - low) or 0.05
    ax.set_ylim(low - room, high + room)
    ax.set_ylabel("nats per character")
    both_ways: Any = bits, nats
    scale = ax.secondary_yaxis("right", functions=both_ways)
    scale.set_ylabel("bits per character")
    name = _shortened(visible(runs[0].name), 2 * LONGEST)
    several = "validation (thick), its lowest (○), training (thin)" if few else "validation losses"
    ax.set_title(name if len(runs) == 1 else several)


def _line(ax: Axes, points: Points, unit: float, dotted: int, **look: Any) -> None:
    """Draw a line; one of at most ``dotted`` points with a dot at each."""
    places, values = points
    if len(places) <= dotted:
        look |= {"marker": ".", "markersize": 5}
    ax.plot([place / unit for place in places], values, **look)


def _name_panel(ax: Axes, name: str) -> None:
    from matplotlib.ticker import (
        EngFormatter,
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
    )

    ax.set_ylabel(PANELS[name])
    low, high = ax.dataLim.ymin, ax.dataLim.ymax
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=ROUND))
    if name != "grad_norm":
        ax.set_ylim(bottom=0)
    elif high > 5 * low > LEAST:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
        ax.yaxis.set_minor_formatter(NullFormatter())
    units = EngFormatter(sep="") if name == "chars_per_second" else FuncFormatter(_plainly)
    ax.yaxis.set_major_formatter(units)


def _plainly(value: float, _: int | None) -> str:
    return f"{value:g}"


def _name_places(ax: Axes, x: Across, word: str) -> None:
    from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

    ax.set_xlabel(word)
    if x == "chars":
        ax.xaxis.set_major_formatter(EngFormatter())
    elif x == "step":
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=ROUND))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:,.0f}"))


def _legend(figure: Figure, labels: Sequence[str], columns: int, *, several: bool) -> None:
    from matplotlib.lines import Line2D

    own = [{"linewidth": THIN}, {"linewidth": THICK}, {"linewidth": 0, **MARK}]
    looks = LOOKS if several else [LOOKS[0] | look for look in own]
    handles = [Line2D([], [], **look) for _, look in zip(labels, cycle(looks), strict=False)]
    # the names come afterwards: one that begins with "_" would be omitted
    legend = figure.legend(
        handles,
        [str(number) for number in range(len(labels))],
        loc="outside lower center",
        ncols=columns,
        fontsize="small",
        title="lowest validation loss of each run" if several else None,
        title_fontsize="small",
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)


def nats(bits: float) -> float:
    """``bits`` in nats."""
    return bits * math.log(2)


def _shortened(text: str, most: int) -> str:
    """``text`` with its middle left out if it is longer than ``most``."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"
