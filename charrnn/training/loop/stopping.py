"""What a run raises when it cannot go on: what was saved of it, and what to do."""

from __future__ import annotations

from typing import Any

from charrnn import interrupts
from charrnn.errors import (
    Interrupted,
    LostProcessError,
    NonFiniteLossError,
    TrainingError,
    os_message,
)
from charrnn.training.distributed import raised_by_all
from charrnn.training.state import RunSpec

TO_CONTINUE = "to continue: {train(resume, out)}"


def stopped(error: BaseException, kept: str, hint: str, resuming: dict[str, Any]) -> BaseException:
    """What to raise for ``error`` after the run was saved; a signal takes precedence.

    Args:
        error: why the run has stopped.
        kept: what was saved.
        hint: how to continue.
        resuming: the values of ``hint``.

    """
    if signum := getattr(error, "signum", 0) or interrupts.received():
        return raised_by_all(Interrupted.by(signum, kept, hint, **resuming))
    if isinstance(error, BrokenPipeError):  # the listener's reader went away
        return error
    return raised_by_all(TrainingError(f"{_reason(error)}; {kept}", hint, **resuming))


def unsaved(error: BaseException, resuming: dict[str, Any]) -> TrainingError:
    """What to raise for ``error`` if not all processes are there, so that nothing can be saved."""
    kind = LostProcessError if isinstance(error, LostProcessError) else TrainingError
    lost = f"{_reason(error)}; what followed the last save is lost"
    return kind(lost, TO_CONTINUE, **resuming)


def not_finite(
    what: str, spec: RunSpec, is_saved: bool, resuming: dict[str, Any]
) -> NonFiniteLossError:
    """The error of a loss that is not finite, on all processes.

    The hint lowers what most probably was too high: where weight dropout makes recurrent weights
    larger and states have no bound, that is its rate, which a resumed run keeps.

    Args:
        what: which loss, and where.
        spec: the run.
        is_saved: whether there is a checkpoint to resume from.
        resuming: how to resume from it.

    """
    again = "try {train(resume, out, lr)}, or with {precision}"
    anew = "try again with {lr}, or with {precision}"
    if spec.training.weight_dropout and not spec.model.definition.bounded:
        again = anew = "try a new run with {weight_dropout}, or with {lr}"
    error = NonFiniteLossError(
        f"{what}: nothing after the last good step is saved",
        again if is_saved else anew,
        lr=float(f"{spec.training.lr / 3:.1g}"),
        precision="float32",
        weight_dropout=0,
        **resuming,
    )
    return raised_by_all(error)


def _reason(error: BaseException) -> object:
    return os_message(error) if isinstance(error, OSError) else error
