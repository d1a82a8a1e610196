"""Odd lines of a log cost more than the others: the log, and the long form of finding them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import Call
from tests.support.odd_log import EACH, NORMAL, ODD, log


def test_the_log_is_the_same_every_time() -> None:
    lines, odd = log(1)
    assert (lines, odd) == log(1)
    assert len(odd) == EACH * len(ODD) == 50
    assert len(lines) == NORMAL + 50
    assert lines == sorted(lines, key=lambda line: line[:19])
    assert log(2)[0] != lines


def found(rows: list[list[str]], odd: set[int]) -> int:
    """How many odd lines are among the hundred whose worst character is worst."""
    first = sorted(range(len(rows)), key=lambda i: -float(rows[i][0]))[:100]
    return len(odd & {index + 1 for index in first})


def test_a_hundred_lines_are_searched() -> None:
    assert found([[str(n % 1000)] for n in range(2000)], {901, 1000, 2000, 1900, 1}) == 2


@pytest.mark.long
def test_two_minutes_find_the_odd_lines(call: Call) -> None:
    """On an otherwise idle machine; the clock decides how much is learned."""
    lines, odd = log()
    Path("log").write_text("".join(f"{line}\n" for line in lines))
    args = "train", "log", "--lines", "--time", "2m", "--seed", "1"
    assert call(*args, "--out", "run", "-q")[0] == 0
    code, out, _ = call("score", "log", "--lines", "--worst", "--model", "run")
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, [row[3] for row in rows]) == (0, lines)
    reached = found(rows, odd)
    print(f"{reached} of {len(odd)} odd lines among the first hundred")
    assert reached >= 45
