"""Validations: what they read, and how the losses of a run's networks stay comparable."""

from __future__ import annotations

import dataclasses
import math

from charrnn.checkpoint.file import Checkpoint
from charrnn.generation.scoring import Score
from charrnn.paths import BEST
from charrnn.text.splits import Range, length, spread
from charrnn.training.evaluation.both_sides import evaluate_both_sides
from charrnn.training.evaluation.loss import evaluate
from charrnn.training.evaluation.temperature import tempered
from charrnn.training.events import Listener
from charrnn.training.loop.optimizer import Stepper
from charrnn.training.loop.schedule import Budget, sample_chars
from charrnn.training.rundir.directory import SAMPLE, UNFITTED, RunFolder
from charrnn.training.rundir.model_card import measure
from charrnn.training.state import RunSpec, TrainingState


class Validator:
    """Measures the networks of a run, always in the same way."""

    def __init__(
        self, spec: RunSpec, stepper: Stepper, folder: RunFolder, listener: Listener
    ) -> None:
        self.spec, self.stepper, self.folder, self.listener = spec, stepper, folder, listener
        self._is_best_known = False

    def choose_sample(self, budget: Budget, progress: TrainingState) -> None:
        """Before the first validation: decide how much of the validation part to read."""
        whole = length(self.spec.parts.val)
        if progress.validation_s or progress.validated_step:
            return
        progress.val_chars = sample_chars(budget, progress, whole)
        kind = f"{self.spec.corpus.vocab.unit}s"
        if progress.val_chars:
            self.listener.on_note(
                f"validations read {progress.val_chars:,} of {whole:,} {kind} to save time; "
                "the final loss is that of all"
            )

    def ranges(self, progress: TrainingState) -> tuple[Range, ...]:
        """What validations read: the validation part, or a sample of it."""
        val = self.spec.parts.val
        return spread(val, progress.val_chars) if progress.val_chars else val

    def evaluate(self, progress: TrainingState) -> Score | None:
        """The score of the averaged weights; None without a validation part."""
        if not self.spec.parts.val:
            return None
        with self.stepper.averaged_weights():
            return self._score(self.ranges(progress))

    def score(self, best: Checkpoint, ranges: tuple[Range, ...]) -> Score:
        """How well the network in ``best`` predicts ``ranges`` of the run's corpus."""
        with self.stepper.weights_of(best):
            return self._score(ranges)

    def _score(self, ranges: tuple[Range, ...]) -> Score:
        measured = evaluate_both_sides if self.spec.model.bidirectional else evaluate
        ids, ranges = self.spec.to_score(ranges)
        total = measured(
            self.stepper.network,
            ids,
            ranges,
            device=self.stepper.hardware.device,
            world=self.stepper.world,
        )
        return total.of_symbols(self.spec.corpus.vocab, ids, ranges)

    def renew_best(self, progress: TrainingState) -> None:
        """After resuming: measure the best network again if its loss is not comparable.

        Versions up to 0.1.0 measured it in the number format of training.
        """
        if self._is_best_known or not self.spec.parts.val:
            return
        self._is_best_known = True
        if not self.folder.has(BEST):
            return
        best = self.folder.read_best()
        if best.about("validation") == measure(self.spec, progress):
            return
        is_own = progress.best_val == self.folder.best_val()
        best = _uncalibrated(best)
        val = self.score(best, self.ranges(progress)).nats_per_char
        # one of a later step is compared when that step is reached
        progress.best_val = val if is_own else None
        losses = {k: v for k, v in best.about("losses").items() if k not in (UNFITTED, SAMPLE)}
        losses |= {"val": val, "test": None}
        if progress.val_chars:
            losses[SAMPLE] = progress.val_chars
        meta = best.meta | {"losses": losses, "validation": measure(self.spec, progress)}
        self.folder.save(BEST, dataclasses.replace(best, meta=meta))


def _uncalibrated(best: Checkpoint) -> Checkpoint:
    """``best`` before its temperature was fitted."""
    temperature = best.meta.get("temperature")
    if not isinstance(temperature, float) or not 0 < temperature < math.inf:
        return best
    meta = {name: value for name, value in best.meta.items() if name != "temperature"}
    return dataclasses.replace(best, weights=tempered(best.weights, 1 / temperature), meta=meta)
