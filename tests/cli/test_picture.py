"""The picture in the README: a true recording, and nothing in it that a page should not hold."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from charrnn.cli.picture import (
    COLUMNS,
    README,
    Unpresentable,
    main,
    picture,
    record,
    screen_lines,
    shortened,
)
from tests.support.checkpoints import ROOT
from tests.support.command_line import without_home

COMMITTED = ROOT / "charrnn" / "cli" / "terminal.svg"
MOST_LINES = 32


def printing(text: str) -> str:
    """A command that prints ``text``."""
    return shlex.join([sys.executable, "-c", f"print({text!r})"])


def texts(svg: str) -> list[str]:
    """The pieces of text in a picture: a line, or of a line with colours each part of one."""
    elements = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    found = ("".join(element.itertext()).replace("\xa0", " ") for element in elements)
    return [text for text in found if text.strip()]


def check_fit_to_show(svg: str) -> None:
    """See to it that ``svg`` is whole and loads nothing, and that no control character is in it."""
    ElementTree.fromstring(svg)
    assert not re.sub(r'xmlns="[^"]*"', "", svg).count("://")
    assert "@import" not in svg
    assert "url(" not in svg.replace("url(#", "")
    assert not {c for c in svg if ord(c) < 32} - {"\n"}


def test_a_picture_shows_the_command_and_what_it_printed() -> None:
    command = printing("first\nse\x1b[31mcon\x1b[0md")
    svg = picture([command])
    check_fit_to_show(svg)
    # what is colored stands in an element of its own
    assert texts(svg)[-4:] == ["first", "se", "con", "d"]
    assert "$ " in texts(svg)


def test_a_command_runs_on_a_terminal_in_the_folder_given(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns, os.getcwd())"
    seen = record([sys.executable, "-c", code], tmp_path)
    assert seen == f"True {COLUMNS} {tmp_path.resolve()}\r\n"


def test_of_a_bar_only_what_is_left_on_the_screen_is_shown() -> None:
    assert [line.plain for line in screen_lines("10%|█\r      \rdone\r\nnext\r\n")] == [
        "done",
        "next",
    ]


def test_long_lines_break_where_a_terminal_breaks_them() -> None:
    assert [len(line) for line in screen_lines("x" * (2 * COLUMNS + 1))] == [COLUMNS, COLUMNS, 1]


def test_too_much_output_loses_its_middle_and_says_so() -> None:
    lines = screen_lines("\n".join(f"line {number}" for number in range(20)))
    assert shortened(lines, 20) == lines
    shown = [line.plain for line in shortened(lines, 8)]
    assert shown == [
        "line 0", "line 1", "line 2", "⋮ 13 more lines", "line 16", "line 17", "line 18", "line 19",
    ]  # fmt: skip


@pytest.mark.parametrize("output", ["a bell \x07", "kept HOME/checkpoints", "kept HERE"])
def test_control_characters_and_private_paths_are_refused(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(Unpresentable):
        screen_lines(output.replace("HOME", str(home)).replace("HERE", str(Path.cwd())))


@pytest.mark.parametrize("home", ["missing", "unknown"])
def test_without_a_home_a_picture_is_made(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(home, monkeypatch)
    assert [line.plain for line in screen_lines("kept in checkpoints")] == ["kept in checkpoints"]
    with pytest.raises(Unpresentable):
        screen_lines(f"kept in {Path.cwd()}")


def test_a_command_that_fails_leaves_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.svg"
    with pytest.raises(SystemExit) as left:
        main([str(file), "false"])
    assert left.value.code == 1
    assert "false exited with 1" in capsys.readouterr().err
    assert not file.exists()
    main([str(file), "true"])
    check_fit_to_show(file.read_text())


def test_the_committed_picture_is_fit_to_show_and_the_readme_shows_it() -> None:
    svg = COMMITTED.read_text()
    check_fit_to_show(svg)
    commands = [text for text in texts(svg) if text.startswith("charrnn ")]
    assert commands == list(README)
    assert svg.count("<clipPath") - 1 <= MOST_LINES
    assert f"]({COMMITTED.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
