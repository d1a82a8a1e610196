"""The chart of how runs learned, for a terminal."""

from __future__ import annotations

import pytest

from charrnn.insight.figures import COLORS, INK
from charrnn.insight.learning import read_runs
from charrnn.insight.learning_chart import BLOCKS, Line, chart
from tests.support.curves import report, run_in


def text(lines: list[Line]) -> list[str]:
    return ["".join(piece for piece, _ in line).rstrip() for line in lines]


def drawn(*folders: str, columns: int = 60, blocks: bool = False) -> list[str]:
    return text(chart(read_runs(folders), "step", columns, blocks=blocks))


LETTERS = """\
run: nats per character
   |
2.5+   ooooo
   |        ooooo
   |             oooo
   |                 ooooo
2.0+   .....              ooooo
   |        .....              ooooo
   |             .....              ooooo
1.5+                  .....              oooo
   |                       ....
   |                           .....
   |                                .....
1.0+                                     ....
   |
   +-----------------------------------------
    0                               110 steps
. training  o validation
lowest 1.5000 nats (2.1640 bits) after 110 steps
"""
BLOCK = """\
run: nats per character
 │▖          ▖
4┤▐         ▗▀▄
 │ ▌        ▐  ▚
 │ ▚        ▌   ▀▖
 │ ▝▖      ▐     ▝▄
3┤  ▚      ▌       ▚
 │  ▝▖    ▐         ▚
 │   ▌    ▞          ▀▖
2┤   ▐   ▗▘           ▝▖
 │    ▌  ▞             ▝
 │    ▐ ▗▘
 │     ▌▐
1┤     ▚▌
 │     ▝
 └──────────────────────
  0             40 steps
▄▄ training
"""


def falling(name: str, start: float, val: bool = True) -> None:
    """A run whose loss falls from ``start`` to ``start - 1`` in a straight line."""
    losses = [start - number / 10 for number in range(11)]
    run_in(
        name,
        *(
            report(n, train_nats=loss, val_nats=loss + 0.5 if val else None)
            for n, loss in enumerate(losses, start=1)
        ),
    )


def test_letters_stand_where_the_losses_are() -> None:
    falling("run", 2.0)
    assert drawn("run", columns=45) == LETTERS.splitlines()


def test_blocks_have_four_dots_each() -> None:
    losses = [4.0, 1.0, 4.0, 3.0, 2.0]
    run_in("run", *(report(n, train_nats=loss, val_nats=None) for n, loss in enumerate(losses)))
    assert drawn("run", columns=24, blocks=True) == BLOCK.splitlines()


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("columns", [30, 60, 72, 500])
@pytest.mark.parametrize("count", [1, 2, 8, 30])
def test_a_chart_is_as_wide_as_asked(count: int, columns: int, blocks: bool) -> None:
    names = [f"r{number}" for number in range(count)]
    for name in names:
        falling(name, 2.0 + int(name[1:]) / 10)
    lines = drawn(*names, columns=columns, blocks=blocks)
    widest = max(map(len, lines[1:17]))
    assert widest <= min(columns, 72)
    assert widest > min(columns, 72) - 3
    assert blocks or "".join(lines).isascii()
    curves = "".join(lines[1:15])
    assert bool({*curves} & {*BLOCKS.strip()}) == (blocks and count <= 8)
    assert len(lines) == (19 if count == 1 else 17 + count)


def test_colors_tell_curves_apart() -> None:
    falling("one", 2.0)
    falling("two", 3.0)
    found = chart(read_runs(["one", "two"]), "step", 60, blocks=True)
    assert {color for line in found for _, color in line} == {"", *COLORS[:2]}
    found = chart(read_runs(["one"]), "step", 60, blocks=True)
    assert {color for line in found for _, color in line} == {"", INK, COLORS[0]}
