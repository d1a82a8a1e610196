"""The pictures of the experiments, by matplotlib, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.insight.figures import COLORS, INK, STYLE, drawn, panels
from charrnn.lab.flow import AFTER, BEFORE, CLIPPED, Flow
from charrnn.lab.gradients import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from charrnn.lab.compare import Compared

SHOWN_NATS = 1.2  # above the lowest loss
LOWEST = 1e-12  # gradients below are not worth showing
HIGHEST = 1e6


def flow_picture(flow: Flow, kind: str = "svg") -> bytes:
    """Gradients against the lag, before and after training, and the norms while training."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure, axes = panels(3 if flow.norms else 2, 4.6)
        names = list(dict.fromkeys(curve.network for curve in flow.curves))
        colors = dict(zip(names, COLORS * len(names), strict=False))
        before = [curve for curve in flow.curves if curve.stage != AFTER]
        after = [curve for curve in flow.curves if curve.stage == AFTER]
        for ax, title, curves in zip(
            axes, ("before training", "after training"), (before, after), strict=False
        ):
            _flow_panel(ax, curves, colors)
            ax.set_xlabel(f"lag k, in {flow.unit}s")
            ax.set_title(title)
        axes[1].sharey(axes[0])
        axes[0].set_ylabel("mean norm of ∂loss$_t$ / ∂state$_{t-k}$")
        handles = dict(zip(*axes[0].get_legend_handles_labels()[::-1], strict=True))
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=6, fontsize="small"
        )
        if flow.norms:
            _norms_panel(axes[2], flow)
        return drawn(figure, kind)


def _flow_panel(ax: Axes, curves: Sequence[Curve], colors: dict[str, str]) -> None:
    for curve in curves:
        norms = np.where((curve.norms > LOWEST) & (curve.norms < HIGHEST), curve.norms, np.nan)
        changed = curve.stage not in (BEFORE, AFTER)
        dashes = ":" if changed else "-" if curve.part in ("h", "p") else "--"
        label = f"{curve.network}, {curve.stage}" if changed else f"{curve.network}  {curve.part}"
        ax.plot(np.arange(len(norms)), norms, dashes, color=colors[curve.network], label=label)
    ax.set_yscale("log")


def compare_picture(runs: Sequence[Compared], kind: str = "svg") -> bytes:
    """Validation losses against time, and against characters read."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure, axes = panels(2, 4.6)
        lowest = min((run.best for run in runs if run.best is not None), default=0.0)
        for run, color in zip(runs, COLORS * len(runs), strict=False):
            if not run.validations:
                continue
            seconds, chars, nats = zip(*run.validations, strict=True)
            label = f"{run.cell}  {run.best:.3f}"
            axes[0].plot(seconds, nats, color=color, label=label)
            axes[1].plot(np.array(chars) / 1e6, nats, color=color, label=label)
        for ax, what in zip(axes, ("seconds of training", "million characters"), strict=True):
            ax.set_xlabel(what)
            ax.set_ylim(lowest - 0.05, lowest + SHOWN_NATS)
        axes[0].set_ylabel("validation, nats per character")
        axes[1].sharey(axes[0])
        axes[1].legend(fontsize="small", title="the best of each", title_fontsize="small")
        return drawn(figure, kind)


def _norms_panel(ax: Axes, flow: Flow) -> None:
    found = {kind: norms[np.isfinite(norms) & (norms > 0)] for kind, norms in flow.norms.items()}
    every = np.concatenate(list(found.values()))
    if not len(every):
        return
    low, high = np.log10(every.min()), np.log10(every.max())
    edges = np.logspace(low - 0.05, high + 0.05, 40).tolist()
    for (name, norms), color in zip(found.items(), COLORS[1:], strict=False):
        look: Any = {"histtype": "stepfilled", "edgecolor": color, "facecolor": f"{color}30"}
        ax.hist(norms, edges, linewidth=1.6, label=CLIPPED[name], **look)
    if flow.clip is not None and set(flow.norms) != {"none"}:
        ax.axvline(
            flow.clip, color=INK, linewidth=1, linestyle=":", label=f"clipped at {flow.clip:g}"
        )
    ax.set_xscale("log")
    ax.set_title(f"gradients while training: {flow.clipped}")
    ax.set_xlabel("norm of the gradient before clipping")
    ax.set_ylabel("steps")
    ax.legend(fontsize="small")
