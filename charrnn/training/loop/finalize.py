"""The end of a run: fit the best network's temperature, score the test part, write the result."""

from __future__ import annotations

import dataclasses

from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import CorpusError, Interrupted, TrainingError
from charrnn.paths import BEST
from charrnn.text.splits import Range, length
from charrnn.training.evaluation.temperature import (
    LEAST_TO_FIT,
    enough_to_fit,
    fit_temperature,
    tempered,
)
from charrnn.training.events import Result
from charrnn.training.loop.stopping import TO_CONTINUE
from charrnn.training.loop.trainer import Trainer
from charrnn.training.rundir.directory import SAMPLE, UNFITTED


def finish(trainer: Trainer, early: bool) -> Result:
    """Calibrate the best network, score it on the test part once, and write the last line.

    Raises:
        Interrupted: a signal arrived; training is over and saved.
        SaveError: a checkpoint could not be saved.
        TrainingError: the encoded corpus was truncated; training is over and saved.

    """
    try:
        trainer.keep_missing()
        trainer.folder.check_saved()  # an older network must not be taken for the best
        temperature, val = _calibrate(trainer)
        result = _result(trainer, early, temperature, val, _score_test(trainer))
        trainer.folder.check_saved()
        trainer.folder.append_metrics(result.to_dict())
        trainer.world.check_signals()
    except Interrupted as stopped:
        reached, hint = _reached(trainer)
        message = f"stopped after {reached}"
        raise Interrupted.by(stopped.signum, message, hint, **trainer.resuming) from None
    except CorpusError as error:
        reached, hint = _reached(trainer)
        raise TrainingError(f"{error}; after {reached}", hint, **trainer.resuming) from None
    return result


def _reached(trainer: Trainer) -> tuple[str, str]:
    """How far the run has come, and a hint if it is not complete."""
    if trainer.folder.has_result(trainer.progress.step):
        return f"the last step; the run is complete in {trainer.folder.path}", ""
    return "the last step, before the result was written", TO_CONTINUE


def _calibrate(trainer: Trainer) -> tuple[float | None, float | None]:
    """Fit the best network's temperature on the validation part, and scale its head accordingly.

    If validations read a sample, the network is then measured on the whole validation part.

    Returns:
        The temperature (None: not fitted), and the network's validation loss.

    """
    spec, folder = trainer.spec, trainer.folder
    saved = folder.best_val()  # of a better network, if this run was resumed from an older state
    chosen = trainer.progress.best_val if saved is None else saved
    if not spec.parts.val or not folder.has(BEST):
        return None, chosen
    best = folder.read_best()
    fitted, known = best.meta.get("temperature"), best.about("losses").get("val")
    known = known if isinstance(known, float) else chosen
    if isinstance(fitted, float):  # before the run was resumed
        return fitted, known
    kept, temperature, val = _tempered(trainer, best, chosen)
    if SAMPLE in best.about("losses"):
        val = _scored(trainer, kept, spec.parts.val)
    elif temperature is None:
        return None, known
    losses = {name: value for name, value in best.about("losses").items() if name != SAMPLE}
    meta = best.meta | {"losses": losses | {"val": val, UNFITTED: chosen}}
    if temperature is not None:
        meta["temperature"] = temperature
    if not folder.save(BEST, dataclasses.replace(kept, meta=meta)):
        return None, chosen
    return temperature, val


def _tempered(
    trainer: Trainer, best: Checkpoint, chosen: float | None
) -> tuple[Checkpoint, float | None, float | None]:
    """``best`` at its best temperature, that temperature, and the loss in place of ``chosen``.

    Where no temperature improves the loss, the network stays as it is, and the temperature is None.
    """
    spec = trainer.spec
    # a network that reads its own distribution would not be the same at another temperature; what
    # names a character from both sides draws no text
    other = spec.model.definition.after_head or spec.model.bidirectional
    possible = length(spec.parts.val) >= LEAST_TO_FIT and not other
    if not (spec.training.fit_temperature and possible):
        return best, None, chosen
    with trainer.stepper.weights_of(best):
        temperature = fit_temperature(
            trainer.stepper.network,
            *spec.to_score(enough_to_fit(spec.parts.val, spec.model.vocab_size)),
            device=trainer.stepper.hardware.device,
            world=trainer.world,
        )
    warm = dataclasses.replace(best, weights=tempered(best.weights, temperature))
    val = _scored(trainer, warm, trainer.validator.ranges(trainer.progress))
    if chosen is None or not val < chosen:
        return best, None, chosen
    return warm, temperature, val


def _score_test(trainer: Trainer) -> float | None:
    spec, folder = trainer.spec, trainer.folder
    if not spec.parts.test or not folder.has(BEST):
        return None
    best = folder.read_best()
    test = _scored(trainer, best, spec.parts.test)
    card = best.meta | {"losses": best.about("losses") | {"test": test}}
    folder.save(BEST, dataclasses.replace(best, meta=card))
    return test


def _scored(trainer: Trainer, best: Checkpoint, ranges: tuple[Range, ...]) -> float:
    """Nats a character of ``best`` over ``ranges`` of the run's corpus."""
    return trainer.validator.score(best, ranges).nats_per_char


def _result(
    trainer: Trainer,
    early: bool,
    temperature: float | None,
    val: float | None,
    test: float | None,
) -> Result:
    progress = trainer.progress
    return Result(
        folder=trainer.folder.path,
        steps=progress.step,
        chars=trainer.spec.chars(progress.chars),
        elapsed_s=round(progress.elapsed_s, 1),
        train=progress.train_nats,
        best_val=val,
        test=test,
        seed=trainer.spec.training.seed,
        early=early,
        temperature=temperature,
    )
