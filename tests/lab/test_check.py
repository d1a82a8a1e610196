"""``charrnn lab check``: gradients by hand beside torch's and finite differences."""

from __future__ import annotations

import json

import numpy as np
import pytest

from charrnn.cli.lab_options import CELLS
from charrnn.config import ModelConfig
from charrnn.errors import CharRNNError
from charrnn.insight import derivatives
from charrnn.insight.derivatives import RULES, Rules, elman_backward
from charrnn.lab.check import check_gradients
from tests.support.command_line import leave, options

IDS = [0, 3, 1, 2, 2, 0, 1, 3, 0, 1]


def elman() -> ModelConfig:
    return ModelConfig(4, cell="elman", embedding=3, hidden=5, layers=1)


def test_the_checked_gradients_agree_and_truncation_comes_closer() -> None:
    found = check_gradients(elman(), IDS)
    found.verify()
    assert max(found.worst) < 1e-6
    assert [row.name for row in found.rows] == list(elman().shapes())
    assert [t.steps for t in found.truncated] == [1, 2, 4, 8, 9]
    assert found.truncated[-1].cosine == pytest.approx(1)
    assert found.truncated[0].cosine < found.truncated[2].cosine
    assert found.truncated[0].norm == found.truncated[0].lag_norm
    assert check_gradients(elman(), IDS, seed=1) != found == check_gradients(elman(), IDS)


def test_a_wrong_derivative_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(v: derivatives.Values) -> derivatives.Vector:
        return np.asarray(1 - v.h**2 + 1e-3)

    rules = Rules(RULES["elman"].forward, lambda w, v, y, s: elman_backward(w, v, y, s, wrong))
    monkeypatch.setitem(RULES, "elman", rules)
    with pytest.raises(CharRNNError, match="elman: the gradients by hand differ from those of to"):
        check_gradients(elman(), IDS).verify()


def test_the_command_prints_a_line_for_each_cell(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = leave(["lab", "check", "--cells", "elman,clockwork"], capfd)
    assert (code, err) == (0, "")
    head, *rows = [line.split("\t") for line in out.splitlines()]
    assert head == ["cell", "nats/char", "off from torch", "off from differences"]
    assert [row[0] for row in rows] == ["elman", "clockwork"]
    assert all(float(row[2]) < 1e-8 for row in rows)


def test_the_command_shows_one_cell_in_detail(capfd: pytest.CaptureFixture[str]) -> None:
    args = ["lab", "check", "--cell", "scrn", "--context", "3", "--learn-decay"]
    code, out, err = leave(args, capfd)
    assert (code, err) == (0, "")
    weights, truncation = out.split("\n\n")
    assert "layers.0.decay\t3\t" in weights
    assert truncation.splitlines()[1].startswith("1\t")
    code, out, _ = leave([*args, "--json"], capfd)
    found = json.loads(out)
    assert code == 0
    assert found["cell"] == "scrn"
    assert {row["name"] for row in found["rows"]} >= {"layers.0.weight_cx", "layers.0.decay"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--cell", "elman,elman"], "--cell is 'elman,elman': it must be different cells with "),
        (["--cell", "elman,lstm", "--context", "3"],
         "--context is not a setting of elman, lstm; omit it, or choose --cell scrn\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_refused(
    args: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = leave(["lab", "check", *args], capfd)
    assert (code, out) == (2, "")
    assert err.startswith(f"charrnn: {said}")


def test_every_command_calls_cells_the_same() -> None:
    """``--cells`` is what ``lab compare`` called them before."""
    lab = {"lab check", "lab flow", "lab compare"}
    assert {name for name, flag, _ in options() if flag == "--cell"} >= lab | {"train"}
    assert {name for name, flag, _ in options() if flag == "--cells"} == lab
    assert CELLS.variables == ("CHARRNN_CELLS",)


def test_all_cells_are_looked_at_by_default() -> None:
    """But not two cells that differ in their initial weights alone."""
    assert {*CELLS.default} == RULES.keys() - {"rnn-relu"}
