"""How a comparison of cells looks on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.cli.progress import TrainConsole
from charrnn.console import note, weight_count

if TYPE_CHECKING:
    from charrnn.hints import Style
    from charrnn.lab.compare import Compared
    from charrnn.training.events import Plan, Result


class CompareConsole(TrainConsole):
    """Reports each cell in a line when it begins and when it is done; between them, with a bar."""

    def __init__(self, style: Style) -> None:
        super().__init__(quiet=True, style=style)

    def on_plan(self, plan: Plan) -> None:
        """Print which network begins."""
        model = plan.model
        sizes = f"{model.layers} x {model.hidden}, {weight_count(model.parameters)} weights"
        note(f"training {model.cell}: {sizes}")
        self.open()

    def on_result(self, result: Result) -> None:
        """Remove the bar."""
        self.close()

    def on_run(self, run: Compared) -> None:
        """Print how a run ended."""
        self.close()
        note(_told(run))


def _told(run: Compared) -> str:
    best = "not validated" if run.best is None else f"{run.best:.4f} nats/char"
    reached = f"{best} after {run.seconds:.0f} s, {run.chars:,} characters"
    if run.failure is not None:
        reached = f"{run.failure}; {reached if run.validations else best}"
    return f"{run.cell}: {reached}"
