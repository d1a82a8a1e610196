"""``charrnn lab``: the experiments of the lecture notes."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import TYPE_CHECKING, Any

import typer

from charrnn import cells
from charrnn.cli.command import Command
from charrnn.cli.lab_compare import compare
from charrnn.cli.lab_flow import flow
from charrnn.cli.lab_options import CELLS, SEED
from charrnn.cli.options import JSON, takes
from charrnn.cli.output import check_stdout

if TYPE_CHECKING:
    from charrnn.lab.check import Check

app = typer.Typer(
    help="Run the experiments of the lecture notes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def lab() -> None:
    """Run the experiments of the lecture notes."""


@app.command("check", cls=Command, short_help="Check gradients derived by hand.")
@takes(CELLS, *cells.options(), SEED.replace(unset="", help="Seed of the random weights."), JSON)
def check(
    *,
    cells: tuple[str, ...] = CELLS.default,
    seed: int = 0,
    json: bool = False,
    **options: Any,
) -> None:
    """Check back-propagation through time by hand against torch and finite differences.

    Small networks with random weights read a few words. For one cell, the tables show the gradient
    of each weight, and what is left of the gradient of the recurrent weights if each loss goes back
    a limited number of steps; for several cells, the largest differences.
    """
    from charrnn.lab.check import EMBEDDING, HIDDEN, TEXT, check_gradients
    from charrnn.lab.networks import networks

    check_stdout()
    symbols = sorted(set(TEXT))
    ids = [symbols.index(symbol) for symbol in TEXT]
    sizes = {"embedding": EMBEDDING, "hidden": max(HIDDEN, _least(options)), "layers": 1}
    configs = networks(cells, len(symbols), sizes | options)
    found = [check_gradients(config, ids, seed) for config in configs.values()]
    if json:
        sys.stdout.writelines(f"{jsonlib.dumps(one.to_dict())}\n" for one in found)
    elif len(found) == 1:
        _print_gradients(found[0])
    else:
        _print_checks(found)
    for one in found:
        one.verify()


def _least(options: dict[str, Any]) -> int:
    """The units that a network with these options needs at least."""
    return len(options.get("periods", ()))


def _print_gradients(check: Check) -> None:
    from charrnn.console import table

    heads = "weight", "shape", "norm of gradient", "off from torch", "off from differences"
    rows = [
        (r.name, " × ".join(map(str, r.shape)), f"{r.norm:.6g}", f"{r.autograd:.1e}",
         f"{r.differences:.1e}")
        for r in check.rows
    ]  # fmt: skip
    table(heads, rows, f"{check.cell}: {check.T} steps, {check.loss:.4f} nats/char")
    sys.stdout.write("\n")
    heads = "steps back", "norm of the last", "norm of the sum", "cosine to all", "off from torch"
    rows = [
        (f"{t.steps}", f"{t.lag_norm:.3g}", f"{t.norm:.6g}", f"{t.cosine:.6f}",
         f"{t.autograd:.1e}")
        for t in check.truncated
    ]  # fmt: skip
    table(heads, rows, "truncation: the gradient of the recurrent weights")


def _print_checks(checks: list[Check]) -> None:
    from charrnn.console import table

    rows = [(c.cell, f"{c.loss:.4f}", *(f"{worst:.1e}" for worst in c.worst)) for c in checks]
    table(("cell", "nats/char", "off from torch", "off from differences"), rows)


app.command("flow", cls=Command, short_help="Show how far gradients flow back.")(flow)
app.command("compare", cls=Command, short_help="Compare cells on a text.")(compare)
