"""What follows a run's last step: the best network's temperature is fitted on the validation part,
the test part is scored once, and the result is written.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from charrnn import interrupts
from charrnn.checkpoint import load
from charrnn.errors import ConfigError, CorpusError, Interrupted, TrainingError
from charrnn.library import BEST
from charrnn.training.calibration import fit_temperature, tempered
from charrnn.training.evaluation import evaluate
from charrnn.training.loop import Trainer
from charrnn.training.records import Result


def check_incomplete(trainer: Trainer) -> None:
    """See to it that there is something to go on with.

    Raises:
        ConfigError: the budget is spent and the result is written.

    """
    tally = trainer.tally
    if trainer.complete and trainer.folder.has_result(tally.step):
        raise ConfigError(
            f"the run is complete after {tally.step} steps and {tally.elapsed_s:.0f} s: "
            "a larger --epochs, --steps or --time goes on with it"
        )


def finish(trainer: Trainer, early: bool) -> Result:
    """Score the test part with the best weights, and write the last line.

    Raises:
        Interrupted: a signal came; training is over and saved.
        SaveError: the last state could not be saved.
        TrainingError: the encoded corpus was cut short; training is over and saved.

    """
    try:
        trainer.keep_missing()
        temperature, val = _calibrate(trainer)
        result = _result(trainer, early, temperature, val, _score_test(trainer))
        trainer.folder.check_saved()
        trainer.folder.append_metrics(result.to_dict())
        interrupts.check()
    except Interrupted as stopped:
        raise Interrupted(stopped.signum, f"stopped after {_said(trainer)}") from None
    except CorpusError as error:
        raise TrainingError(f"{error}; it came after {_said(trainer)}") from None
    return result


def _said(trainer: Trainer) -> str:
    if trainer.folder.has_result(trainer.tally.step):
        return f"the last step; the run is complete in {trainer.folder.path}"
    return f"the last step, before the result was written; to go on: {trainer.resuming}"


def _calibrate(trainer: Trainer) -> tuple[float | None, float | None]:
    """The best network's temperature, made part of its weights, and its validation loss then."""
    setting, folder, best_val = trainer.setting, trainer.folder, trainer.tally.best_val
    if not (setting.training.fit_temperature and setting.parts.val and folder.has(BEST)):
        return None, best_val
    best = load(folder.path / BEST)
    if "temperature" in best.meta:  # fitted before the run went on, and not bettered since
        return best.meta["temperature"], best.about("losses").get("val")
    place, network = trainer.stepper.place, trainer.stepper.network
    where: Any = {"device": place.device, "dtype": place.dtype}
    network.load_numpy(best.weights)
    temperature = fit_temperature(network, setting.corpus.ids, setting.parts.val, **where)
    weights = tempered(best.weights, temperature)
    network.load_numpy(weights)
    val = evaluate(network, setting.corpus.ids, setting.parts.val, **where).nats_per_char
    if best_val is None or not val < best_val:
        return None, best_val
    losses = best.about("losses") | {"val": val}
    meta = best.meta | {"temperature": temperature, "losses": losses}
    folder.save(BEST, dataclasses.replace(best, weights=weights, meta=meta))
    return temperature, val


def _score_test(trainer: Trainer) -> float | None:
    setting, folder = trainer.setting, trainer.folder
    if not setting.parts.test or not folder.has(BEST):
        return None
    place, network = trainer.stepper.place, trainer.stepper.network
    best = load(folder.path / BEST)
    network.load_numpy(best.weights)
    scored = evaluate(
        network, setting.corpus.ids, setting.parts.test, device=place.device, dtype=place.dtype
    )
    test = scored.nats_per_char
    card = best.meta | {"losses": best.meta["losses"] | {"test": test}}
    folder.save(BEST, dataclasses.replace(best, meta=card))
    return test


def _result(
    trainer: Trainer,
    early: bool,
    temperature: float | None,
    val: float | None,
    test: float | None,
) -> Result:
    tally = trainer.tally
    return Result(
        folder=trainer.folder.path,
        steps=tally.step,
        chars=tally.chars,
        elapsed_s=round(tally.elapsed_s, 1),
        train=tally.train_nats,
        best_val=val,
        test=test,
        seed=trainer.setting.training.seed,
        early=early,
        temperature=temperature,
    )
