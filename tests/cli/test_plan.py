"""``charrnn train --plan``: what a run would take, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import charrnn
from charrnn.errors import ConfigError
from tests.support.checkpoints import tiny
from tests.support.command_line import Call

SMALL = ["text.txt", "--size", "16", "--layers", "1", "--batch", "4", "--window", "10"]


@pytest.fixture(autouse=True)
def text(bare_environment: None) -> None:
    Path("text.txt").write_text("the quick brown fox\n" * 200)


def test_a_plan_is_a_table_and_nothing_runs(call: Call) -> None:
    code, out, err = call("train", *SMALL, "--steps", "5", "--plan")
    assert code == 0, err
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["memory", "time", "disk", ""]
    assert "the program" in rows[0][2]
    assert rows[1][2].startswith("5 steps, 200 characters, 0.0556 epochs at ")
    assert "checkpoints/text" in rows[2][2]
    assert "text.txt: 3,600 to train on, 400 to validate; 17 symbols" in err
    assert "seed" not in err
    assert not Path("checkpoints").exists()
    assert call("train", *SMALL, "--steps", "5", "--plan", "-q")[2] == ""


def test_a_plan_as_json_adds_up(call: Call) -> None:
    code, out, err = call("train", *SMALL, "--epochs", "3", "--seed", "7", "--plan", "--json")
    assert code == 0, err
    found = json.loads(out)
    memory, time = found["memory"], found["time"]
    parts = [memory[name] for name in ("program", "weights", "work", "saving")]
    assert memory["total"] == sum(parts)
    assert memory["weights"] == 16 * found["parameters"]
    assert (time["chars"], time["epochs"], time["steps"]) == (10_800, 3, 270)
    assert time["seconds"] == pytest.approx(time["chars"] / time["chars_per_second"])
    assert found["disk"]["encoded"] == 4000
    assert found["training"]["seed"] == 7
    assert "seed 7" in err


def test_a_plan_for_a_time_says_how_far_it_comes() -> None:
    found = charrnn.plan("text.txt", seconds=60, hidden=16, layers=1)
    assert found.time.seconds == 60
    assert found.time.chars == int(60 * found.time.chars_per_second)
    assert found.plan.training.seconds == 60
    assert not Path("checkpoints").exists()


def test_a_plan_refuses_what_a_run_would_refuse(call: Call) -> None:
    assert call("train", *SMALL, "--plan", "--resume")[0] == 2
    assert call("train", "missing.txt", "--plan")[0] == 2
    tiny().save(Path("run/best.safetensors"))
    code, out, err = call("train", *SMALL, "--plan", "--out", "run")
    assert (code, out) == (2, ""), err
    with pytest.raises(ConfigError, match="unknown setting"):
        charrnn.plan("text.txt", nonsense=1)
