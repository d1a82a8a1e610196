"""``charrnn plot``: pictures and paths, tables, the chart on a terminal, and what cannot be."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import charrnn
from charrnn.errors import ConfigError
from charrnn.insight.figures import FORMATS
from tests.support.command_line import Call
from tests.support.curves import report, run_in
from tests.support.terminal import on_a_terminal, raw_controls

COLOR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_command_writes_a_picture_and_prints_its_path(kind: str, call: Call) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    run_in("checkpoints/novel")
    out = f"curves.{kind}"
    args = ["--x", "time", "--grad-norm", "-o", out]
    assert call("plot", "novel", *args) == (0, f"{out}\n", "")
    made = charrnn.plot("novel", x="time", grad_norm=True, kind=kind)  # type: ignore[arg-type]
    assert Path(out).read_bytes() == made


def test_a_picture_has_the_name_of_its_run(call: Call) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    run_in("checkpoints/novel")
    run_in("checkpoints/other")
    os.utime("checkpoints/other/metrics.jsonl", (1, 1))
    assert call("plot") == (0, "novel.png\n", "")
    assert Path("novel.png").read_bytes() == charrnn.plot(kind="png")
    assert call("plot", "other", "novel") == (0, "curves.png\n", "")
    assert Path("curves.png").read_bytes() == charrnn.plot("other", "novel", kind="png")


def test_a_table_goes_to_a_file_or_to_standard_output(call: Call) -> None:
    run_in("checkpoints/two words", report(1))
    run_in("checkpoints/other", report(2), report(3))
    table = charrnn.plot("two words", "other", kind="csv")
    assert table.startswith(b"run,step,epoch,chars,")
    assert table.count(b"\n") == 4
    assert call("plot", "two words", "other", "-o", "-") == (0, table.decode(), "")
    assert call("plot", "two words", "other", "-o", "t.csv") == (0, "t.csv\n", "")
    assert Path("t.csv").read_bytes() == table


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
@pytest.mark.parametrize("columns", [60, 30])
def test_a_terminal_shows_a_chart_that_fits(columns: int, env: dict[str, str]) -> None:
    run_in("checkpoints/novel")
    seen = on_a_terminal("plot", "novel", columns=columns, **{"TERM": "xterm-256color", **env})
    lines = COLOR.sub("", seen.text).split("\r\n")
    assert seen.code == 0
    assert lines[0] == "novel: nats per character"
    assert max(map(len, lines)) <= columns
    assert raw_controls(seen.text) == set()
    assert bool(COLOR.search(seen.text)) == (not env)
    assert ("▄" in seen.text, "." in lines[8]) == (not env, bool(env))
    assert [path.name for path in Path().iterdir()] == ["checkpoints"]


def test_names_cannot_drive_a_terminal() -> None:
    name = "a\x1b]0;x\x07\x9b31m\u202e\nb [bold]$x_1$"
    run_in(f"checkpoints/{name}")
    for more in ([], ["other"], ["-o", "-"]):
        run_in("checkpoints/other")
        seen = on_a_terminal("plot", name, *more)
        assert seen.code == 0
        assert raw_controls(seen.text) == set()
        assert "\\x1b]0;x\\x07" in seen.text


def test_without_matplotlib_one_line_says_how_to_get_it(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr("charrnn.insight.figures.check_matplotlib", missing)
    run_in("checkpoints/novel")
    said = (
        "charrnn: this needs matplotlib, which is not installed: pip install 'charrnn-cli[plot]'\n"
    )
    assert call("plot", "novel", "-o", "curves.svg") == (1, "", said)
    assert call("plot", "novel") == (1, "", said)
    assert call("plot", "novel", "-o", "curves.csv").code == 0
    assert on_a_terminal("plot", "novel").code == 0


@pytest.mark.parametrize(("args", "code", "said"), [
    (["nowhere"], 2, "no run at nowhere; charrnn ls lists the checkpoints"),
    ([], 2, "there is no run yet; make one with charrnn train"),
    (["tolstoy"], 2, "tolstoy has no metrics.jsonl; name the folder of a run"),
    (["empty"], 2, "empty/metrics.jsonl has no reports yet"),
    (["full", "--x", "epoch"], 2, "there is no checkpoint that does; choose another --x"),
    (["full", "--x", "years"], 2, "--x is 'years': it must be one of step, chars, epoch, time"),
    (["full", "-o", "x.gif"], 2, "--out ends in .gif: a picture ends in .svg, .png, .pdf, and a"),
    (["full", "-o", "."], 2, "--out is .: name a file"),
    (["full", "-o", "link.csv"], 2, "--out is link.csv, which has the reports of full; name"),
    (["full", "-o", "same.csv"], 2, "--out is same.csv, which has the reports of full; name"),
    (["full", "-o", "new/x.csv"], 2, "there is no folder new; create it first"),
    (["full", "-o", "/proc/x.csv"], 1, "cannot write to /proc/x.csv"),
])  # fmt: skip
def test_invalid_arguments_are_refused_in_one_line(
    args: list[str], code: int, said: str, call: Call
) -> None:
    run_in("full", report(1))
    run_in("empty").write_text("")
    reports = Path("full/metrics.jsonl")
    os.link(reports, "same.csv")
    Path("link.csv").symlink_to(reports)
    before = reports.read_bytes()
    left = call("plot", *args)
    assert (left.code, left.out) == (code, "")
    assert reports.read_bytes() == before
    assert (said in left.err, left.err.count("\n")) == (True, 1), left.err


def test_runs_without_reports_are_noted(call: Call) -> None:
    run_in("full", report(1))
    run_in("empty").write_text('{"step": 1')
    left = call("plot", "full", "empty", "-o", "-")
    assert (left.code, left.out.count("\n")) == (0, 2)
    assert left.err == "charrnn: empty/metrics.jsonl has no reports yet: omitted\n"


@pytest.mark.parametrize(("setting", "value"), [("x", "years"), ("kind", "gif")])
def test_python_is_told_what_a_setting_must_be(setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{setting} is '{value}': it must be one of "):
        charrnn.plot("novel", **{setting: value})  # type: ignore[arg-type]
