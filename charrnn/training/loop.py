"""The loop around the step: windows, schedule, reports, validation, saving, leaving."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from charrnn import interrupts
from charrnn.errors import ConfigError, Interrupted, NonFiniteLossError
from charrnn.generation.scoring import Score
from charrnn.library import BEST, LAST
from charrnn.model.network import State
from charrnn.text.streams import Streams
from charrnn.training.evaluation import evaluate
from charrnn.training.folder import RunFolder
from charrnn.training.preview import preview
from charrnn.training.records import Listener, Report
from charrnn.training.schedule import Budget, learning_rate
from charrnn.training.setting import Setting, Tally
from charrnn.training.snapshot import best_checkpoint, last_checkpoint
from charrnn.training.step import Stepper

REPORT_EVERY = 50  # steps
VALIDATIONS = 20  # a run, about
EVALUATION_SHARE = 0.04  # of the time that a run with a time limit may spend on validating


class Trainer:
    """A run from its beginning, or from where ``continue_from`` puts it, to its budget's end.

    ``state`` is the carried ``(hx, cx)``; everything else that a run is lies in ``tally`` (plain
    numbers), in ``stepper`` (tensors) and in ``setting`` (what never changes).
    """

    def __init__(
        self,
        setting: Setting,
        stepper: Stepper,
        streams: Streams,
        folder: RunFolder,
        listener: Listener,
    ) -> None:
        self.setting, self.stepper, self.streams = setting, stepper, streams
        self.folder, self.listener = folder, listener
        self.tally = Tally()
        self.config = setting.training
        self.budget = Budget.of(self.config, streams.windows)
        self.state = stepper.network.zero_state(self.config.batch)
        self._losses: list[Tensor] = []  # of steps not yet looked at
        self._norm: Tensor | None = None
        self._clock = time.monotonic()  # when elapsed_s was 0
        self._reported = self.tally.at
        self._validated_s = 0.0

    def continue_from(self, tally: Tally, state: State) -> None:
        """Go on from a restored checkpoint.

        Raises:
            ConfigError: the budget is spent already.

        """
        if self.budget.spent(tally.step, tally.elapsed_s + tally.validation_s):
            raise ConfigError(
                f"the run is complete after {tally.step} steps and {tally.elapsed_s:.0f} s: "
                "a larger --epochs, --steps or --time goes on with it"
            )
        self.tally, self.state = tally, state
        self._clock = time.monotonic() - tally.elapsed_s
        self._reported = tally.at
        self._validated_s = tally.elapsed_s

    def train(self) -> bool:
        """Train until the budget is spent; True if patience ended it before.

        Raises:
            Interrupted: a signal came; the run is saved.
            NonFiniteLossError: nothing of the bad step was kept.
            SaveError: checkpoints cannot be written any more.

        """
        early = False
        try:
            while not early and not self._spent():
                interrupts.check()
                if self._due():
                    early = self._validate()
                else:
                    self._step()
            if self.tally.validated_step != self.tally.step or self.tally.step == 0:
                self._validate()
        except OSError:  # whoever read the metrics went away
            self._keep()
            interrupts.check()
            raise
        except Interrupted as stopped:
            raise Interrupted(stopped.signum, self._keep()) from None
        return early

    def _keep(self) -> str:
        """Save where the run stands, and say so."""
        self._settle()
        step = f"{self.tally.step:,}"
        if not self._save_last():
            return f"stopped at step {step}, which could not be saved: the last checkpoint is older"
        return (
            f"stopped and saved at step {step}: "
            f"charrnn train --resume --out {self.folder.path} goes on"
        )

    def _spent(self) -> bool:
        self.tally.elapsed_s = time.monotonic() - self._clock
        # the last validation belongs to the time that was asked for
        return self.budget.spent(self.tally.step, self.tally.elapsed_s + self.tally.validation_s)

    def _step(self) -> None:
        tally = self.tally
        window = self.streams.at(tally.position)
        if window.fresh:
            self.state = self.stepper.network.zero_state(len(window.x))
        progress = self.budget.progress(tally.step, tally.elapsed_s, tally.validation_s)
        tally.lr = learning_rate(self.config, tally.step, progress)
        device = self.stepper.place.device
        x, y = (torch.from_numpy(a).to(device, non_blocking=True) for a in (window.x, window.y))
        result = self.stepper.step(x, y, self.state, tally.lr)
        self._losses.append(result.loss)
        self._norm = result.grad_norm
        # reading a number waits for a GPU, so there it is done once a report
        if device.type == "cpu" or len(self._losses) >= REPORT_EVERY:
            self._settle()
        self.state = result.state
        tally.advance(self.streams.after(tally.position), x.numel())
        self.listener.on_step(progress, tally.chars, tally.mean_loss)
        if tally.step % REPORT_EVERY == 0:
            self.listener.on_report(self._report(None))

    def _settle(self) -> None:
        """Read the losses that are still on the device.

        Raises:
            NonFiniteLossError: one of them is not finite.

        """
        for loss in map(float, self._losses):
            if not math.isfinite(loss):
                raise NonFiniteLossError(
                    f"the loss is {loss} near step {self.tally.step + 1}: nothing of it was kept; "
                    f"resume with a lower --lr than {self.config.lr:g} or with --precision float32"
                )
            self.tally.loss_sum += loss
            self.tally.loss_steps += 1
        self._losses.clear()

    def _report(self, val_nats: float | None) -> Report:
        """Write a line of metrics."""
        self._settle()
        tally = self.tally
        tally.elapsed_s = time.monotonic() - self._clock
        chars, seconds = (now - then for now, then in zip(tally.at, self._reported, strict=True))
        self._reported = tally.at
        tally.train_nats = tally.mean_loss if tally.loss_steps else tally.train_nats
        report = Report(
            step=tally.step,
            epoch=tally.epoch,
            chars=tally.chars,
            elapsed_s=round(tally.elapsed_s, 3),
            lr=tally.lr,
            train_nats=tally.mean_loss,
            val_nats=val_nats,
            grad_norm=self._grad_norm(),
            chars_per_second=round(chars / seconds, 1) if chars and seconds > 0 else None,
        )
        tally.loss_sum, tally.loss_steps = 0.0, 0
        self.folder.append_metrics(report.to_dict())
        return report

    def _grad_norm(self) -> float | None:
        """The last step's, read from the device; None where it is not finite (JSON has no inf)."""
        if self._norm is not None:
            norm = float(self._norm)
            self.tally.grad_norm = norm if math.isfinite(norm) else None
        return self.tally.grad_norm

    def _due(self) -> bool:
        """Whether to validate now: by steps, which a resumed run repeats, or by the clock."""
        if self.tally.validated_step == self.tally.step:
            return False
        if self.config.eval_every:
            return self.tally.step % self.config.eval_every == 0
        if self.budget.total_steps:
            return self.tally.step % max(1, self.budget.total_steps // VALIDATIONS) == 0
        pause = max(self.budget.seconds / VALIDATIONS, self.tally.validation_s / EVALUATION_SHARE)
        return time.monotonic() - self._clock - self._validated_s >= pause

    def _validate(self) -> bool:
        """Evaluate, keep the best, save, show a sample; True when patience is at its end."""
        self._settle()
        tally, began = self.tally, time.monotonic()
        evaluation = self._evaluate()
        if evaluation is not None and not math.isfinite(evaluation.nats):
            raise NonFiniteLossError(f"the validation loss is not finite at step {tally.step}")
        tally.validated_step = tally.step
        report = None if evaluation is None else self._report(evaluation.nats_per_char)
        self._judge(None if evaluation is None else evaluation.nats_per_char)
        tally.validation_s = time.monotonic() - began
        self._validated_s = time.monotonic() - self._clock
        self._save_last()
        if report is not None:
            self.listener.on_report(report)
        self.listener.on_sample(preview(self.setting, self.stepper))
        return 0 < self.config.patience <= tally.worse

    def _judge(self, val_nats: float | None) -> None:
        """Keep the network if it is the best so far; one that could not be saved sets no bar."""
        before = self.tally.best_val, self.tally.worse
        if self.tally.judge(val_nats) and not self.folder.save(
            BEST, best_checkpoint(self.setting, self.stepper, self.tally)
        ):
            self.tally.best_val, self.tally.worse = before

    def _evaluate(self) -> Score | None:
        if not self.setting.parts.val:
            return None
        place = self.stepper.place
        with self.stepper.averaged_weights():
            return evaluate(
                self.stepper.network,
                self.setting.corpus.ids,
                self.setting.parts.val,
                device=place.device,
                dtype=place.dtype,
            )

    def _save_last(self) -> bool:
        self.tally.elapsed_s = time.monotonic() - self._clock
        self._grad_norm()
        saved = last_checkpoint(self.setting, self.stepper, self.tally, self.state)
        return self.folder.save(LAST, saved)
