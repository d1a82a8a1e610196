"""What people read on stderr: lines that fit the terminal, and numbers in words."""

from __future__ import annotations

import os
import sys
from unittest.mock import Mock

import pytest

from charrnn.console import columns_of, folded, weight_count

NOTE = (
    "charrnn: stopped and saved at step 1,234 in runs/of-a-long-name; "
    "to continue: charrnn train --resume --out runs/of-a-long-name"
)
COMMAND = "charrnn train --resume --out runs/of-a-long-name"


@pytest.mark.parametrize("columns", [48, 60, 80, 100])
def test_lines_break_between_words_but_not_in_a_command(columns: int) -> None:
    lines = folded(NOTE, columns).split("\n")
    assert max(map(len, lines)) <= columns or lines[-1] == f"  {COMMAND}"
    assert " ".join(line.strip() for line in lines) == NOTE
    assert sum(COMMAND in line for line in lines) == 1
    assert [line[:2] == "  " for line in lines] == [False] + [True] * (len(lines) - 1)


def test_what_fits_and_what_has_no_spaces_stays_as_it_is() -> None:
    assert folded(NOTE, len(NOTE)) == NOTE
    assert folded("x" * 200, 80) == "x" * 200
    assert folded("a  b  c", 80) == "a  b  c"
    parts = ["step 10", "val 1.2345 nats/char (1.781 bits)", "1,234 char/s"]
    assert (
        folded("  ".join(parts), 50, parts)
        == "step 10  val 1.2345 nats/char (1.781 bits)\n  " + parts[2]
    )
    assert folded("a  b" * 30, 1) == "a  b" * 30  # no terminal is as narrow


def test_whoever_asks_for_a_width_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, wanted in (("61", 61), ("0", 80), ("x", 80)):
        monkeypatch.setenv("COLUMNS", asked)
        assert columns_of(sys.stdin) == wanted


def test_a_terminal_without_a_size_is_80_columns_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for told, wanted in ((0, 80), (33, 33)):
        size = os.terminal_size((told, told))
        monkeypatch.setattr(os, "get_terminal_size", lambda _, size=size: size)
        assert columns_of(Mock(fileno=lambda: 2)) == wanted


def test_small_networks_have_weights_too() -> None:
    assert [weight_count(n) for n in (1, 1234, 99_999, 100_000, 5_570_000)] == [
        "1", "1,234", "99,999", "0.10 M", "5.57 M",
    ]  # fmt: skip
    assert [weight_count(n) for n in (999_990_000, 999_999_999, 16_116_540_000)] == [
        "999.99 M", "1.00 G", "16.12 G",
    ]  # fmt: skip
