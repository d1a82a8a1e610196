"""Output for people: notes, bars and tables, and text made harmless for a terminal.

Notes and bars go to stderr, requested tables to stdout. rich and tqdm are imported only where
they are used: a pipe needs neither.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, TextIO

from charrnn import outlet
from charrnn.errors import counted
from charrnn.hints import PYTHON, Hint, Style
from charrnn.outlet import Outlet

if TYPE_CHECKING:
    from tqdm import tqdm

    from charrnn.config import TrainConfig
    from charrnn.training.events import Plan, Report, Result

QUIET_REPORT_S = 30.0  # between lines of a log while there is no validation to report
LONGEST_NOTE = 2000  # characters; a note may quote an argument of any length
NARROW_CELL = 12  # the least columns of a cell in a table, unless it needs fewer

_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
_LINE = {0x2028, 0x2029}
_CONTROLS = ({*range(0x20), *range(0x7F, 0xA0)} | _BIDI | _LINE) - {0x09, 0x0A}
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS}
_ESCAPES[0x0D] = "\\r"


def harmless(text: str) -> str:
    r"""``text`` with all control characters except newline and tab escaped, as ``\x1b``.

    C0, DEL, C1, bidirectional controls and line separators; each character by itself, so it
    may be applied to a stream. A carriage return before a newline is dropped.
    """
    return text.replace("\r\n", "\n").translate(_ESCAPES)


def one_line(text: str) -> str:
    """``harmless`` for messages: newlines and tabs are escaped too."""
    return text.translate(_ESCAPES | {0x0A: "\\n", 0x09: "\\t"})


def _is_dumb(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that does not understand escape sequences."""
    return os.environ.get("TERM") == "dumb" and stream.isatty()


def is_plain(stream: TextIO) -> bool:
    """Whether ``stream`` should get neither bars nor colors."""
    return bool(_is_dumb(stream) or os.environ.get("NO_COLOR")) or not stream.isatty()


def note(text: str) -> None:
    """Print a line on stderr, if there still is a stderr."""
    line = one_line(text)
    if len(line) > LONGEST_NOTE:
        line = f"{line[: LONGEST_NOTE // 2]} … {line[-LONGEST_NOTE // 2 :]}"
    _say(f"charrnn: {line}")


def _say(text: str) -> None:
    with suppress(OSError):  # a terminal that was closed must not end the run
        outlet.write(sys.stderr, f"{text}\n".encode("utf-8", "backslashreplace"))


# nats at which the next shade starts: expected characters are dim, surprising ones red or,
# without colors, underlined, bold or reversed
_SHADES = ((0.0, "2"), (0.5, "0"), (1.5, "33"), (3.0, "31"), (5.0, "1;31"))
_GREYS = ((0.0, "2"), (0.5, "0"), (1.5, "4"), (3.0, "1"), (5.0, "7"))


def colored(pieces: Sequence[str], nats: Sequence[float]) -> str:
    """Characters colored by the nats that each cost, as one line for stdout."""
    shades = _GREYS if os.environ.get("NO_COLOR") else _SHADES
    dumb = _is_dumb(sys.stdout)
    parts = []
    for code, run in groupby(zip(pieces, nats, strict=True), lambda pair: _shade(pair[1], shades)):
        shown = "".join("⏎" if piece == "\n" else one_line(piece) for piece, _ in run)
        parts.append(shown if dumb else f"\x1b[{code}m{shown}\x1b[0m")
    return "".join(parts)


def _shade(cost: float, shades: Sequence[tuple[float, str]]) -> str:
    reached = [code for least, code in shades if cost >= least]  # none for NaN
    return reached[-1] if reached else "0"


def duration(seconds: float) -> str:
    """Seconds as ``1h02m``, ``2m05s`` or ``8s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table on stdout: with lines on a wide terminal, tab-separated in a pipe."""
    shown = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        lines = [columns, *shown] if any(columns) else shown
        sys.stdout.write("".join("\t".join(line) + "\n" for line in lines))
        return
    width = shutil.get_terminal_size().columns
    widest = [max(map(len, cells)) for cells in zip(columns, *shown, strict=True)]
    if width < 1 + sum(3 + min(cells, NARROW_CELL) for cells in widest):
        sys.stdout.write(_listed(columns, shown))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    ruled = Table(title=title and Text(one_line(title)), show_header=any(columns))
    for column in columns:
        ruled.add_column(column, overflow="fold")
    for row in shown:
        ruled.add_row(*map(Text, row))
    # with a height too, or rich assumes that a dumb terminal is 80 wide
    Console(no_color=is_plain(sys.stdout) or None, width=width, height=25).print(ruled)


def _listed(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a narrow terminal: ``name: value`` lines; with headings, a row is a paragraph."""
    if not any(columns):
        return "".join(f"{': '.join(row)}\n" for row in rows)
    paragraphs = (
        "".join(f"{column}: {cell}\n" for column, cell in zip(columns, row, strict=True) if cell)
        for row in rows
    )
    return "\n".join(paragraphs)


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
        self._said = time.monotonic()
        self._unsaid: Report | None = None

    def on_plan(self, plan: Plan) -> None:
        """Print what was chosen, in one line each for text, network and run."""
        if self._quiet:
            return
        for line in describe(plan):
            note(line)
        if not is_plain(sys.stderr):
            with suppress(OSError):
                self._bar = _new_bar()

    def on_compiling(self) -> None:
        """Print what takes so long."""
        if not self._quiet:
            note("compiling kernels for this processor, which takes about ten seconds")

    def on_note(self, text: str, hint: Hint | None = None) -> None:
        """Print a note, even if quiet."""
        advice = f"; {hint.spelled(self._style)}" if hint else ""
        self._write(f"charrnn: {one_line(text + advice)}")

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
            self._write(_report_line(self._unsaid))
        self._unsaid = None

    def on_sample(self, text: str) -> None:
        """Print a sample, and the report that it belongs to."""
        self._say_report()
        if not self._quiet and text.strip():
            shown = " ".join(harmless(text).split())
            columns = min(shutil.get_terminal_size().columns, 80) - 4
            self._write(textwrap.indent(textwrap.fill(shown, max(columns, 20)), "    "))

    def on_result(self, result: Result) -> None:
        """Print the result, and a command to try it with."""
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
            _say(text)
            return
        with suppress(OSError):
            self._bar.write(text, file=self._bar.fp)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()


def _new_bar() -> tqdm[Any]:
    from tqdm import tqdm

    # otherwise a thread prints, too, and holds a lock while it waits for a reader
    unwatched: type[tqdm[Any]] = type("Bar", (tqdm,), {"monitor_interval": 0})
    return unwatched(
        total=100,
        miniters=0,  # look at the clock at every step: without that thread, nobody else would
        file=Outlet(sys.stderr),
        dynamic_ncols=True,
        leave=False,
        bar_format="{percentage:3.0f}%|{bar}| {desc}  {unit}  {elapsed}<{remaining}",
        unit="",
    )


def describe(plan: Plan) -> list[str]:
    """A run in three lines, and one more if it started from the weights of a checkpoint."""
    model, config, chars = plan.model, plan.training, plan.chars
    verbs = {"train": "train on", "val": "validate", "test": "test"}
    parts = ", ".join(f"{chars[part]:,} to {verb}" for part, verb in verbs.items() if chars[part])
    budget = (
        counted(config.epochs, "epoch") if config.epochs
        else counted(config.steps, "step") if config.steps
        else duration(config.seconds)
    )  # fmt: skip
    going_on = f"resuming at step {plan.resumed_at:,}, up to {budget} in total"
    doing = going_on if plan.resumed_at else f"training for {budget}"
    return [
        *([plan.origin] if plan.origin else []),
        f"{plan.corpus}: {parts}; {counted(model.vocab_size, 'symbol')}",
        f"{model.cell} {model.layers} x {model.hidden}, embedding {model.embedding}: "
        f"{model.parameters / 1e6:.2f} M weights; {counted(config.batch, 'stream')} of "
        f"{config.window}, lr {config.lr:g}, dropout {_dropouts(config)}, seed {config.seed}",
        f"{doing} on {plan.hardware} into {plan.folder}",
    ]


def _dropouts(config: TrainConfig) -> str:
    """The dropout between layers, followed by those of inputs and recurrent weights, if any."""
    others = {"inputs": config.input_dropout, "weights": config.weight_dropout}
    more = ", ".join(f"{name} {rate:g}" for name, rate in others.items() if rate)
    return f"{config.dropout:g}" + (f" ({more})" if more else "")


def _report_line(report: Report) -> str:
    from charrnn.training.events import bits

    parts = [f"step {report.step:,}", f"epoch {report.epoch}", duration(report.elapsed_s)]
    if report.train_nats is not None:
        parts.append(f"train {report.train_nats:.4f}")
    if report.val_nats is not None:
        parts.append(f"val {report.val_nats:.4f} nats/char ({bits(report.val_nats):.3f} bits)")
    if report.chars_per_second:
        parts.append(f"{report.chars_per_second:,.0f} char/s")
    return "  ".join(parts)
