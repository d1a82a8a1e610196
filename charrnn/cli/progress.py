"""How a training run looks on stderr: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import shlex
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from charrnn.cli.bar import new_bar
from charrnn.console import (
    columns_of,
    harmless,
    is_plain,
    note,
    on_stderr,
    one_line,
    say,
    weight_count,
)
from charrnn.errors import counted
from charrnn.hints import PYTHON, Hint, Style

if TYPE_CHECKING:
    from tqdm import tqdm

    from charrnn.config import ModelConfig, TrainConfig
    from charrnn.training.events import Plan, Report, Result

QUIET_REPORT_S = 30.0  # between lines of a log while there is no validation to report
PREVIEW_S = 5.0  # between two samples; the last one is always printed
WIDEST_SAMPLE = 80  # columns
BAR = "{percentage:3.0f}%|{bar}| {desc}  {unit}  {elapsed}<{remaining}"


class TrainConsole:
    """Reports a run on stderr: a bar on a terminal, plain lines in a log.

    Args:
        quiet: print notes only.
        echo: is called with each line of the metrics.
        style: how the hints of notes spell settings.

    """

    def __init__(
        self,
        quiet: bool = False,
        echo: Callable[[dict[str, Any]], None] | None = None,
        style: Style = PYTHON,
    ) -> None:
        self._quiet, self._echo, self._style = quiet, echo, style
        self._bar: tqdm[Any] | None = None
        self._said = self._shown = time.monotonic()
        self._unsaid: Report | None = None
        self._unshown = ""

    def on_plan(self, plan: Plan) -> None:
        """Print what was chosen, in one line each for text, network and run."""
        if self._quiet:
            return
        self._shown = time.monotonic()
        for line in describe(plan):
            note(line)
        self.open()

    def open(self) -> None:
        """Show an empty bar on a terminal."""
        if not is_plain(sys.stderr):
            with suppress(OSError):
                self._bar = new_bar(BAR, 100, unit="")

    def on_compiling(self) -> None:
        """Print what takes so long."""
        if not self._quiet:
            note("compiling kernels for this processor, which takes about ten seconds")

    def on_note(self, text: str, hint: Hint | None = None) -> None:
        """Print a note, even if quiet."""
        advice = f"; {hint.spelled(self._style)}" if hint else ""
        self._write(on_stderr(f"charrnn: {one_line(text + advice)}"))

    def on_step(self, progress: float, chars: int, loss: float | None) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        if loss is not None:
            self._bar.set_description_str(f"loss {loss:.3f}", refresh=False)
        with suppress(OSError):
            self._bar.update(progress * 100 - self._bar.n)

    def on_report(self, report: Report) -> None:
        """Print each validation, and now and then a line in a log without any."""
        if self._echo is not None:
            self._echo(report.to_dict())
        due = time.monotonic() - self._said > QUIET_REPORT_S and self._bar is None
        if self._bar is not None and report.chars_per_second:
            self._bar.unit = f"{report.chars_per_second:,.0f} char/s"
        self._unsaid = report
        if report.val_nats is not None or due:
            self._say_report()

    def _say_report(self) -> None:
        if self._unsaid is not None and not self._quiet:
            self._said = time.monotonic()
            parts = _report_parts(self._unsaid, speed=self._bar is None)  # which a bar shows
            self._write(on_stderr("  ".join(parts), parts))
        self._unsaid = None

    def on_sample(self, text: str) -> None:
        """Print a sample and the report that it belongs to, unless it is too soon for another."""
        self._unshown = text
        if time.monotonic() - self._shown >= PREVIEW_S:
            self._show_sample()

    def _show_sample(self) -> None:
        text, self._unshown = self._unshown, ""
        if not text.strip():
            return
        self._say_report()
        self._shown = time.monotonic()
        if not self._quiet:
            shown = " ".join(harmless(text).split())
            columns = min(columns_of(sys.stderr), WIDEST_SAMPLE) - 4
            self._write(textwrap.indent(textwrap.fill(shown, max(columns, 20)), "    "))

    def on_result(self, result: Result) -> None:
        """Print the last sample, the result, and a command to try it with."""
        self._show_sample()
        if self._echo is not None:
            self._echo(result.to_dict())
        if self._quiet:
            return
        losses = {"train": result.train, "val": result.best_val, "test": result.test}
        shown = ", ".join(f"{k} {v:.4f}" for k, v in losses.items() if v is not None)
        shown += " nats/char" if shown else ""
        why = " (stopped early: no improvement for a while)" if result.early else ""
        if result.temperature is not None:
            shown += f" at temperature {result.temperature:.3f}"
        note(
            f"{f'{shown} after ' if shown else ''}{counted(result.steps, 'step')}, "
            f"{counted(result.chars, 'character')}, "
            f"{duration(result.elapsed_s)}, seed {result.seed}{why}"
        )
        then = shlex.join(["charrnn", "sample", str(result.folder)])
        note(f"kept {result.best}; try: {then}")

    def _write(self, text: str) -> None:
        if self._bar is None:
            say(text)
            return
        with suppress(OSError):
            self._bar.write(text, file=self._bar.fp)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()
            self._bar = None


def duration(seconds: float) -> str:
    """Seconds as ``1h02m``, ``2m05s`` or ``8s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def describe(plan: Plan, *, planned: bool = False, seeded: bool = True) -> list[str]:
    """A run in three lines, and one more if it started from the weights of a checkpoint.

    A run that is only ``planned`` does not begin; if it is not ``seeded``, its seed is not known.
    """
    model, config, chars = plan.model, plan.training, plan.chars
    verbs = {"train": "train on", "val": "validate", "test": "test"}
    parts = ", ".join(f"{chars[part]:,} to {verb}" for part, verb in verbs.items() if chars[part])
    budget = (
        counted(config.epochs, "epoch") if config.epochs
        else counted(config.steps, "step") if config.steps
        else duration(config.seconds)
    )  # fmt: skip
    symbols = counted(model.vocab_size, "symbol")
    if plan.long_symbols:
        symbols += f", {plan.long_symbols:,} of several characters"
    going_on = f"resuming at step {plan.resumed_at:,}, up to {budget} in total"
    begun = f"planned: {budget}" if planned else f"training for {budget}"
    doing = going_on if plan.resumed_at else begun
    seed = f", seed {config.seed}" if seeded else ""
    return [
        *([plan.origin] if plan.origin else []),
        f"{plan.corpus}: {parts}; {symbols}",
        f"{_network(model)}, embedding {model.embedding}: "
        f"{weight_count(model.parameters)} weights; {counted(config.batch, 'stream')} of "
        f"{config.window}, lr {config.lr:g}, dropout {_dropouts(config)}{seed}",
        f"{doing} on {plan.hardware} into {plan.folder}",
    ]


def _network(model: ModelConfig) -> str:
    """The network in a few words."""
    direction = f" {model.direction}" if model.direction else ""
    return f"{model.cell} {model.layers} x {model.hidden}{direction}"


def _dropouts(config: TrainConfig) -> str:
    """The dropout between layers, followed by those of inputs and recurrent weights, if any."""
    others = {"inputs": config.input_dropout, "weights": config.weight_dropout}
    more = ", ".join(f"{name} {rate:g}" for name, rate in others.items() if rate)
    return f"{config.dropout:g}" + (f" ({more})" if more else "")


def _report_parts(report: Report, speed: bool) -> list[str]:
    from charrnn.training.events import bits

    parts = [f"step {report.step:,}", f"epoch {report.epoch}", duration(report.elapsed_s)]
    if report.train_nats is not None:
        parts.append(f"train {report.train_nats:.4f}")
    if report.val_nats is not None:
        parts.append(f"val {report.val_nats:.4f} nats/char ({bits(report.val_nats):.3f} bits)")
    if speed and report.chars_per_second:
        parts.append(f"{report.chars_per_second:,.0f} char/s")
    return parts
