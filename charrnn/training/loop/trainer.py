"""The loop around the step: windows, schedule, reports, validation, saving, stopping."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from charrnn.errors import (
    CacheError,
    CorpusError,
    Interrupted,
    LostProcessError,
    NonFiniteLossError,
    SaveError,
    counted,
)
from charrnn.generation.scoring import Score
from charrnn.hints import Hint
from charrnn.model.network import State
from charrnn.paths import BEST, LAST
from charrnn.text.splits import length
from charrnn.text.streams import Streams
from charrnn.training.distributed import is_raised_by_all
from charrnn.training.events import Listener, Report
from charrnn.training.hardware.memory import out_of_memory
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.checkpointing import best_checkpoint, cannot_resume, last_checkpoint
from charrnn.training.loop.clock import Clock, SharedClock
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.preview import preview
from charrnn.training.loop.reporting import report_of
from charrnn.training.loop.schedule import (
    Budget,
    Exchange,
    exchange,
    expected_validation_s,
    learning_rate,
)
from charrnn.training.loop.stopping import TO_CONTINUE, not_finite, stopped, unsaved
from charrnn.training.loop.validation import Validator
from charrnn.training.rundir.directory import RunFolder
from charrnn.training.state import RunSpec, TrainingState

IF_SKIPPED = "if this continues, try {precision} or a smaller {lr}"
REPORT_EVERY = 50  # steps


class Trainer:
    """Trains from the beginning, or from where ``continue_from`` puts it, to the budget's end.

    ``state`` is the carried recurrent state. The rest of a run is in ``progress`` (plain numbers),
    ``stepper`` (tensors) and ``spec`` (what does not change).
    """

    def __init__(
        self,
        spec: RunSpec,
        stepper: Stepper,
        streams: Streams,
        folder: RunFolder,
        listener: Listener,
    ) -> None:
        self.spec, self.stepper, self.streams = spec, stepper, streams
        self.windows = Windows(streams, stepper.hardware.device)
        self.folder, self.listener, self.world = folder, listener, stepper.world
        self.validator = Validator(spec, stepper, folder, listener)
        self.progress = TrainingState()
        self.config = spec.training
        self.budget = Budget.of(self.config, streams.windows, length(spec.parts.val))
        self.state = self._zero_state()
        # means of so many steps, not read from the device yet
        self._losses: list[tuple[Tensor, int]] = []
        self._norm: Tensor | None = None
        self._clock = SharedClock(self.world, Clock(), self.config.seconds)
        self._reported = self.progress.at
        self.resumed = False

    def _zero_state(self) -> State:
        return self.stepper.network.zero_state(self.streams.rows)

    def continue_from(self, progress: TrainingState, state: State) -> None:
        """Continue from a restored checkpoint.

        Raises:
            CheckpointError: its position is beyond the end of the text.

        """
        if progress.window >= self.streams.windows:
            raise cannot_resume("its position is beyond the end of the text")
        self.progress, self.state, self.resumed = progress, state, True
        self._clock = SharedClock(self.world, Clock(progress.elapsed_s), self.config.seconds)
        self._reported = progress.at

    @property
    def complete(self) -> bool:
        """Whether patience has run out, or the budget is spent and its last step was validated."""
        progress = self.progress
        spent = self.budget.spent(progress.step, progress.elapsed_s + progress.validation_s)
        return self.out_of_patience or (spent and progress.validated_step == progress.step)

    @property
    def out_of_patience(self) -> bool:
        """Whether the last ``patience`` validations, up to this step, were all worse."""
        progress = self.progress
        return (
            0 < self.config.patience <= progress.worse and progress.validated_step == progress.step
        )

    def train(self) -> bool:
        """Train until the budget is spent; True if patience ran out before.

        Raises:
            Interrupted: a signal arrived; the run is saved.
            NonFiniteLossError: nothing after the last good step was saved.
            SaveError: checkpoints can no longer be written.
            TrainingError: the corpus, the listener or memory failed; the run is saved.
            BrokenPipeError: the listener's reader went away; the run is saved.

        """
        try:
            while not self.out_of_patience and not self._spent():
                self.world.check_pulse()
                if self._due():
                    self._validate()
                else:
                    self._steps()
            if self.progress.validated_step != self.progress.step or self.progress.step == 0:
                self._validate()
            self._renew_best()
        except (OSError, CacheError, CorpusError, Interrupted) as error:
            raise self._stopped(error) from None
        except LostProcessError as error:
            raise unsaved(error, self.resuming) from None
        except (MemoryError, RuntimeError) as error:
            about = self.spec.model, self.config, self.windows.device, self.spec.corpus.vocab.unit
            failure = out_of_memory(error, *about)
            raise (self._stopped(failure) if self.progress.step else failure) from error
        return self.out_of_patience and not self._spent()

    def keep_missing(self) -> None:
        """Save again whatever could not be saved, or has been removed since."""
        if self.folder.owes(BEST):
            evaluation = self._evaluate()
            self._judge(None if evaluation is None else evaluation.nats_per_char)
        if not self.folder.has(BEST):
            if self.progress.worse:  # best_val belongs to the network that was removed
                evaluation = self._evaluate()
                self.progress.best_val = None if evaluation is None else evaluation.nats_per_char
            self._save_best()
        if not self.folder.has(LAST) or self.folder.owes(LAST):
            self._save_last()

    def _stopped(self, error: BaseException) -> BaseException:
        """Save the run; returns what to raise for ``error``. A signal takes precedence.

        Of several processes, all must have stopped at the same place to save it together.
        """
        if self.world.size > 1 and not is_raised_by_all(error):
            return unsaved(error, self.resuming)
        kept, hint = self._keep()
        return stopped(error, kept, hint, self.resuming)

    def _keep(self) -> tuple[str, str]:
        """Save the run as it is; returns what happened, and a hint how to continue."""
        step, saved = f"{self.progress.step:,}", False
        try:
            self._settle()
            saved = self._save_last()
        except (SaveError, NonFiniteLossError) as error:
            self.listener.on_note(error.message, error.hint)
        except (MemoryError, torch.OutOfMemoryError):
            pass  # as before the step that there was no memory for
        if not saved:
            lost = f"stopped at step {step}, which could not be saved"
            return f"{lost}: the last checkpoint is older", ""
        return f"stopped and saved at step {step} in {self.folder.path}", TO_CONTINUE

    @property
    def resuming(self) -> dict[str, Any]:
        """The values of the hint ``TO_CONTINUE``."""
        return {"resume": True, "out": self.folder.path}

    def _now(self) -> float:
        """Seconds that the run has been training, by the main process's clock."""
        return self._clock.now(self.progress.step)

    def _spent(self) -> bool:
        self.progress.elapsed_s = self._clock.at(self.progress.step)
        # a time budget includes the last validation
        return self.budget.spent(self.progress.step, self.progress.elapsed_s + self._validation_s)

    @property
    def _validation_s(self) -> float:
        """How long a validation takes: as long as the last one; before the first, an estimate."""
        return expected_validation_s(self.budget, self.progress, length(self.spec.parts.val))

    def _steps(self) -> None:
        """Take a step, or as many as until all processes have the same network again."""
        before = self.progress.step
        while self._step() == "nothing":
            pass
        # a validation at this step will report the same losses
        is_reported = self.progress.step // REPORT_EVERY > before // REPORT_EVERY
        if is_reported and not self._spent() and not self._due():
            self._tell(self._report(None))

    def _step(self) -> Exchange:
        """Take a step; returns what the processes have exchanged in it."""
        progress = self.progress
        if progress.position.window == 0:
            self.state = self._zero_state()
        fraction = self.budget.fraction(progress.step, progress.elapsed_s, self._validation_s)
        progress.lr = learning_rate(self.config, progress.step, fraction)
        alone = self.world.size == 1
        how = "gradient" if alone else exchange(self.config, self.budget, progress.step, fraction)
        at = self.windows, progress.position
        result = self.stepper.step_at(*at, self.state, progress.lr, how)
        if result.steps:
            self._losses.append((result.loss, result.steps))
        self._norm = result.grad_norm
        # reading a number waits for a GPU, so there it is done only for a report
        if self.windows.device.type == "cpu" or len(self._losses) >= REPORT_EVERY:
            self._settle()
        self.state = result.state
        progress.advance(self.streams.after(progress.position), self.streams.chars)
        self.listener.on_step(fraction, self.spec.chars(progress.chars), progress.mean_loss)
        return how

    def _settle(self) -> None:
        """Read the losses that are still on the device.

        Raises:
            NonFiniteLossError: one of them is not finite.

        """
        if not self._losses:
            return
        losses, counts = zip(*self._losses, strict=True)
        for loss, steps in zip(torch.stack(losses).tolist(), counts, strict=True):
            if not math.isfinite(loss):
                raise self._not_finite(f"the loss is {loss} near step {self.progress.step + 1}")
            self.progress.loss_sum += loss / self.spec.corpus.chars_per_symbol * steps
            self.progress.loss_steps += steps
        self._losses.clear()

    def _not_finite(self, what: str) -> NonFiniteLossError:
        return not_finite(what, self.spec, self.folder.has(LAST), self.resuming)

    def _report(self, val_nats: float | None, until: float | None = None) -> Report:
        """Write a line of metrics; the speed is that until ``until`` (None: now)."""
        self._settle()
        if skipped := self.stepper.take_skipped():
            self.listener.on_note(
                f"{counted(skipped, 'step')} skipped: gradients that are not finite",
                Hint(IF_SKIPPED, {"precision": "float32"}),
            )
        progress = self.progress
        progress.elapsed_s = self._now()
        self._grad_norm()
        report = report_of(self.spec, progress, self._reported, val_nats, until)
        self._reported = progress.at
        self.folder.append_metrics(report.to_dict())
        return report

    def _tell(self, report: Report) -> None:
        # if the main process's listener fails, all processes stop
        self.world.decide(lambda: self.listener.on_report(report))

    def _grad_norm(self) -> None:
        """Read that of the last step from the device; None if not finite (JSON has no inf)."""
        if self._norm is not None:
            norm = float(self._norm)
            self.progress.grad_norm = norm if math.isfinite(norm) else None

    def _due(self) -> bool:
        """Whether to validate now: by steps, so that a resumed run repeats it, or by the clock.

        The clock is that of ``_spent``, which must have been called.
        """
        if self.progress.validated_step == self.progress.step:
            return False
        if steps := self.config.eval_every or self.budget.validation_steps:
            return self.progress.step % steps == 0
        is_first = not self.progress.validation_s
        pause = self.budget.validation_pause_s(self._validation_s, is_first)
        return self.progress.elapsed_s - self.progress.validated_s >= pause

    def _validate(self) -> None:
        """Evaluate, save, and show a sample."""
        self._settle()
        progress, began = self.progress, self._now()
        progress.elapsed_s = began
        self.validator.choose_sample(self.budget, progress)
        self._renew_best()
        evaluation = self._evaluate()
        if evaluation is not None and not math.isfinite(evaluation.nats):
            raise self._not_finite(f"the validation loss is not finite at step {progress.step}")
        progress.validated_step = progress.step
        val_nats = None if evaluation is None else evaluation.nats_per_char
        measured = evaluation is not None or progress.loss_steps > 0
        report = self._report(val_nats, began) if measured else None
        self._judge(val_nats)
        progress.validated_s = self._now()
        progress.validation_s = progress.validated_s - began
        self._save_last()
        if report is not None:
            self._tell(report)
        if self.world.is_main:
            self.listener.on_sample(preview(self.spec, self.stepper))
        progress.elapsed_s = self._now()
        progress.validation_s = progress.elapsed_s - began  # now including saving and the sample
        self._reported = progress.at

    def _judge(self, val_nats: float | None) -> None:
        """Save the network if it is the best so far; a best one that was removed does not count."""
        if not self.folder.has(BEST):
            self.progress.best_val = None
        before = self.progress.best_val, self.progress.worse
        is_best = self.progress.judge(val_nats)
        if is_best and not self._has_better(val_nats) and not self._save_best():
            self.progress.best_val, self.progress.worse = before

    def _has_better(self, val_nats: float | None) -> bool:
        """Whether the folder has a better network than one with a loss of ``val_nats``.

        That is so if a run was resumed from the last checkpoint but one.
        """
        if not self.resumed or val_nats is None:
            return False
        saved = self.folder.best_val()
        return saved is not None and saved < val_nats

    def _renew_best(self) -> None:
        if self.resumed:
            self.validator.renew_best(self.progress)

    def _save_best(self) -> bool:
        return self.folder.save(BEST, best_checkpoint(self.spec, self.stepper, self.progress))

    def _evaluate(self) -> Score | None:
        return self.validator.evaluate(self.progress)

    def _save_last(self) -> bool:
        self.progress.elapsed_s = self._now()
        self._grad_norm()
        saved = last_checkpoint(self.spec, self.stepper, self.progress, self.state)
        return self.folder.save(LAST, saved)
