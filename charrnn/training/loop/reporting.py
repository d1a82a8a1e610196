"""What a line of metrics says."""

from __future__ import annotations

from charrnn.training.events import Report
from charrnn.training.state import RunSpec, TrainingState


def report_of(
    spec: RunSpec,
    progress: TrainingState,
    since: tuple[int, float],
    val_nats: float | None,
    until: float | None = None,
) -> Report:
    """The report at ``progress``, whose losses are then counted anew.

    The speed is that from ``since``, as in ``TrainingState.at``, until ``until`` (None: now).
    """
    chars = spec.chars(progress.chars) - spec.chars(since[0])
    seconds = (progress.elapsed_s if until is None else until) - since[1]
    progress.train_nats = progress.mean_loss if progress.loss_steps else progress.train_nats
    report = Report(
        step=progress.step,
        epoch=progress.epoch,
        chars=spec.chars(progress.chars),
        elapsed_s=round(progress.elapsed_s, 3),
        lr=progress.lr,
        train_nats=progress.mean_loss,
        val_nats=val_nats,
        grad_norm=progress.grad_norm,
        chars_per_second=round(chars / seconds, 1) if chars and seconds > 0 else None,
    )
    progress.loss_sum, progress.loss_steps = 0.0, 0
    return report
