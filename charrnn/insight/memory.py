"""How a network keeps what it has read: its gates, its slow context, its modules, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.cells.clockwork import modules
from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import counted
from charrnn.generation.numpy_engine import Array
from charrnn.insight.findings import Finding, find
from charrnn.insight.markup import escaped, table
from charrnn.insight.pictures import Points, curves, scatter
from charrnn.insight.traces import Trace
from charrnn.insight.traits import traits
from charrnn.insight.watching import CLOSED, OPEN, Watched, saturation, watch

SLOW = 4  # slow units whose course is drawn
DRAWN = 400  # values of it


def memory(checkpoint: Checkpoint, text: Sequence[str], trace: Trace) -> list[str]:
    """The sections that suit the cell; none for a cell without gates, context or modules, and
    none without the states in ``trace``.

    ``text`` has the characters of each symbol (``traits.texts``).

    Raises:
        CheckpointError: the network's numbers overflow.

    """
    cell = checkpoint.config.definition
    if cell.name == "clockwork":
        return _modules(text, trace, checkpoint.config.value("periods"))
    if not trace.before:
        return []
    if cell.gates is not None and cell.after_head is None:
        return _gates(watch(checkpoint, trace))
    if cell.name == "scrn":
        return _context(text, watch(checkpoint, trace), checkpoint.vocab.widths[trace.ids])
    return []


def _gates(watched: Watched) -> list[str]:
    """One picture for each gate, as in the 2015 paper, and a table of the means."""
    parts = [
        "<h2>How its gates stand</h2>",
        '<p class="about">Each dot is a unit: how much of the time its gate is open (above '
        f"{OPEN}) and closed (below {CLOSED}), as Karpathy, Johnson and Fei-Fei drew them in 2015. "
        "A unit whose forget gate is always open keeps what it has. At the bottom left are gates "
        "that are neither.</p>",
    ]
    rows = [("layer", "gate", f"below {CLOSED}", f"above {OPEN}")]
    for name, gate in watched.gates.items():
        closed, opened = saturation(gate)
        dots: dict[str, Points] = {
            f"layer {layer + 1}": list(zip(opened[layer], closed[layer], strict=True))
            for layer in range(len(closed))
        }
        across, up = f"{name} gate: part of the time open", "closed"
        parts.append(scatter(f"{name} gate", dots, across, up))
        rows += [
            (f"{layer + 1}", name, f"{closed[layer].mean():.1%}", f"{opened[layer].mean():.1%}")
            for layer in range(len(closed))
        ]
    return [*parts, table(rows)]


def _context(text: Sequence[str], watched: Watched, widths: NDArray[np.int64]) -> list[str]:
    """The course of the slow units that vary most, and what they follow."""
    places = (np.cumsum(widths) - widths[0]).tolist()  # 0 after the first symbol
    slow = watched.states["s"].astype(np.float32)  # (N, L, C)
    N, L, C = slow.shape
    units = slow.reshape(N, L * C)
    most = np.argsort(-units[:DRAWN].std(axis=0))[:SLOW]
    lines: dict[str, Points] = {
        f"layer {unit // C + 1}, unit {unit % C + 1}": [
            (float(place), float(value))
            for place, value in zip(places, units[:DRAWN, unit], strict=False)
        ]
        for unit in most.tolist()
    }
    drawing = curves("Slow context", lines, "characters read", "value")
    known = traits(text[:N])
    return [
        "<h2>Its slow context</h2>",
        '<p class="about">The context units change slowly: each is a running mean of its input. '
        f"These are the {len(lines)} that vary most in the beginning of the text.</p>",
        drawing,
        _followed(find(units, known, C)),
    ]


def _modules(text: Sequence[str], trace: Trace, periods: Sequence[int]) -> list[str]:
    """How much each module of a clockwork network changes, and what it follows best."""
    known, hidden = traits(text), trace.width
    layers = trace.units.shape[1] // hidden
    rows = [("layer", "period", "units", "change per update", "follows")]
    for layer in range(layers):
        for (first, end), period in zip(modules(hidden, len(periods)), periods, strict=True):
            start = layer * hidden
            units = trace.units[:, start + first : start + end]
            rows.append((
                f"{layer + 1}",
                f"{period}",
                f"{end - first}",
                f"{_change(units, period):.2f}",
                _best(units, known, first),
            ))  # fmt: skip
    return [
        "<h2>Its modules</h2>",
        '<p class="about">A module is updated once in each of its periods, and keeps its values in '
        "between. Its change is the mean absolute difference that an update makes to a unit.</p>",
        table(rows),
    ]


def _change(units: NDArray[Any], period: int) -> float:
    updates = units[::period].astype(np.float32)
    return float(np.abs(np.diff(updates, axis=0)).mean()) if len(updates) > 1 else 0.0


def _best(units: NDArray[Any], known: dict[str, Array], first: int) -> str:
    found = find(units, known, units.shape[1])
    if not found:
        return "none of the traits"
    best = found[0]
    return f"{best.trait}: unit {first + best.unit + 1}, r = {best.r:.2f}"


def _followed(found: Sequence[Finding]) -> str:
    if not found:
        return "<p>No slow unit follows any of the traits.</p>"
    rows = [
        (f"{f.trait}", f"layer {f.layer + 1}, unit {f.unit + 1}", f"r = {f.r:.2f}") for f in found
    ]
    return f"<p>{escaped(counted(len(found), 'trait'))} that slow units follow:</p>{table(rows)}"
