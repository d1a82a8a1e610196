"""``plot``: the learning curves of runs, as a picture or a table. The command line calls this."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from charrnn.arguments import checked
from charrnn.insight.learning import Across, as_csv, placed, read_runs
from charrnn.option import check_choice

Kind = Literal["svg", "png", "pdf", "csv"]


@checked
def plot(
    *runs: str | Path,
    x: Across = "step",
    grad_norm: bool = False,
    kind: Kind = "svg",
    on_note: Callable[[str], object] = lambda note: None,
) -> bytes:
    """The learning curves of runs, as the bytes of a file.

    A picture shows training and validation losses, learning rates and characters per second, a
    color for each run, with the lowest validation loss marked. It needs matplotlib.

    Args:
        runs: folders of runs, names of runs under ``./checkpoints``, checkpoints in such folders,
            or files like their ``metrics.jsonl``. Default: the run that was written to last.
        x: the axis across: steps, characters read, epochs, or time of training.
        grad_norm: whether to draw the norms of gradients as well.
        kind: the format of the picture, or ``"csv"``: a row for each report.
        on_note: is called with a line about each run that is omitted, because it has no reports
            yet or they do not say where they are on the axis.

    Returns:
        The file. The same reports give the same bytes.

    Raises:
        CheckpointError: a run is missing or cannot be read, or none can be shown.
        ConfigError: ``x`` or ``kind`` is unknown.
        ModuleNotFoundError: matplotlib is not installed.

    """
    check_choice("x", x, get_args(Across))
    check_choice("kind", kind, get_args(Kind))
    found = read_runs(runs, on_note)
    if kind == "csv":
        return as_csv(found)
    from charrnn.insight.learning_picture import learning_picture

    return learning_picture(placed(found, x, on_note), x, grad_norm, kind)
