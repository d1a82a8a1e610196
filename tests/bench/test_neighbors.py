"""The efficiency beside busy programs: speed against processor time."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from charrnn.bench import neighbors
from charrnn.bench.neighbors import busy_loops, measure


def test_the_loops_are_busy_and_end() -> None:
    before = children()
    with busy_loops(2):
        started = children() - before
        assert len(started) == 2
    assert not children() & started


def children() -> set[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
    )
    return {int(line.split()[0]) for line in listed.stdout.splitlines() if "while True" in line}


def test_efficiency_is_speed_against_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone 100 calls with 2 processors, beside others 30 with 1: 0.3 of the speed for half."""
    turns = iter([neighbors.Turn(1, 1), *[neighbors.Turn(100, 2), neighbors.Turn(30, 1)] * 3])
    monkeypatch.setattr(neighbors, "_turn", lambda work, seconds: next(turns))
    monkeypatch.setattr(neighbors, "SETTLE_S", 0)
    found = measure(lambda: None, 1)
    assert (found.neighbors, found.speed, found.processor_share) == (1, 0.3, 0.5)
    assert found.efficiency == 0.6


def test_a_turn_counts_the_processor_time_of_all_threads() -> None:
    turn = neighbors._turn(lambda: time.sleep(0.05), 0.3)
    assert turn.processors < 0.5
    assert 3 < turn.speed < 20


@pytest.mark.parametrize("kind", ["train", "sample"])
def test_the_command_measures_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from charrnn.cli.bench import app

    monkeypatch.setattr(neighbors, "SETTLE_S", 0)
    monkeypatch.setattr(neighbors, "_turn", lambda work, seconds: (work(), neighbors.Turn(2, 1))[1])
    small = ["--size", "32", "--layers", "1", "--beside", "1", "--json"]
    done = CliRunner().invoke(app, [kind, *small])
    assert done.exit_code == 0, done.output
    assert '"efficiency": 1.0' in done.output
