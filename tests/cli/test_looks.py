"""Terminals that are narrow, dumb or without colours, and quiet runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from charrnn.cli.app import main
from tests.support.checkpoints import charrnn, tiny
from tests.support.terminal import on_a_terminal, raw_controls


@pytest.mark.parametrize("columns", [60, 30])
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_narrow_terminals(columns: int, env: dict[str, str]) -> None:
    tiny().save(Path("checkpoints/novel/best.safetensors"))
    Path("text").write_text("the old prince\n" * 20)
    for args in (
        ["info", "novel"],
        ["ls"],
        ["score", "text"],
        ["score", "text", "--per-line"],
        ["score", "text", "--color"],
        ["sample", "--length", "200"],
        ["train", "text", "--steps", "1", "--out", "run", "--seed", "1", "--threads", "1"],
    ):
        seen = on_a_terminal(*args, columns=columns, **env)
        assert seen.code == 0, seen.text
        assert raw_controls(seen.text, bar=args[0] == "train" and not env) == set()
        if env.get("TERM") == "dumb":
            assert "\x1b" not in seen.text
        ruled = [line for line in seen.text.split("\r\n") if set(line) & set("│━─")]
        assert all(
            len(line.replace("\x1b", "")) <= columns + 200 * ("\x1b" in line) for line in ruled
        )
        widths = {len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in ruled if args[0] != "train"}
        assert max(widths, default=0) <= columns, seen.text


def test_no_column_of_a_table_is_lost_on_a_narrow_terminal() -> None:
    tiny().save(Path("checkpoints/novel/best.safetensors"))
    for columns in (30, 60, 100):
        text = on_a_terminal("ls", columns=columns).text
        for word in ("name", "novel.txt", "lstm 2 x 16", "2025-01-01", "1.5000"):
            assert word in text


def test_colours_are_shown_unless_they_are_turned_off() -> None:
    tiny().save(Path("model"))
    Path("text").write_text("the old prince\n")
    args = ["score", "text", "--model", "model", "--color"]
    assert re.search(r"\x1b\[(1;)?3[13]m", on_a_terminal(*args).text)
    grey = on_a_terminal(*args, NO_COLOR="1").text
    assert not re.search(r"\x1b\[(1;)?3\d", grey)
    assert re.search(r"\x1b\[[147]m", grey)
    assert "\x1b" not in on_a_terminal(*args, TERM="dumb").text
    assert b"\x1b[" in charrnn(*args, TERM="dumb").stdout  # for less -R, say


@pytest.mark.parametrize("quiet", [True, False])
def test_compiling_is_announced(
    quiet: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.training.machinery.must_compile", lambda *_: True)
    args = ["train", "--steps", "1", "--size", "8", "--seed", "1", *(["-q"] if quiet else [])]
    with pytest.raises(SystemExit):
        main(args)
    err = capfd.readouterr().err.splitlines()
    said = "charrnn: compiling kernels for this processor, which takes about ten seconds"
    assert err == [] if quiet else err[0] == said


def test_quiet_training_says_nothing() -> None:
    Path("text").write_text("the old prince\n" * 20)
    args = ["train", "text", "--steps", "1", "--out", "run", "--seed", "1", "--threads", "1"]
    assert on_a_terminal(*args, "-q") == (0, "")
