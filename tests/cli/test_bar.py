"""The bars of sampling, scoring and ``insight``: on a terminal, and only where they help."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from charrnn.cli import bar, line_stream
from tests.support.command_line import Call
from tests.support.terminal import into_a_file, on_a_terminal, raw_controls

pytestmark = pytest.mark.usefixtures("a_run")

OUT = Path("out")
RECORDS = ("sample", "novel", "--lines", "--count", "400", "--length", "9", "--seed", "1")
SCORE = ("score", "text", "--model", "novel", "--lines")
WAYS = [
    (*RECORDS, "records"),
    (*RECORDS, "--unique", "records"),
    (*RECORDS, "--tsv", "records"),
    ("sample", "novel", "--count", "3", "--length", "9", "--seed", "1", "samples"),
    ("sample", "novel", "--count", "3", "--length", "9", "--seed", "1", "--json", "samples"),
    (*SCORE, "lines"),
]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars appear at once, and move at every step."""
    monkeypatch.setattr(bar, "DELAY_S", 0.0)
    Path("text").write_text("the quick brown fox\n" * 40)


def bars(seen: str) -> list[str]:
    """What the bar showed, one after the other."""
    return [shown for shown in re.split(r"[\r\n]+|\x1b\[A", seen) if "%|" in shown]


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_bar_counts_and_goes(way: tuple[str, ...], columns: int) -> None:
    *words, what = way
    code, seen = into_a_file(*words, out=OUT, columns=columns)
    assert (code, bars(seen) != []) == (0, True)
    assert max(map(len, bars(seen))) <= columns
    assert all(f" {what}  00:0" in shown for shown in bars(seen))
    for shown in bars(seen):  # from the first on, the bar stands where the text says
        part, *counts = re.findall(r"[\d,]+(?=%)|[\d,]+(?= of )|(?<= of )[\d,]+", shown)
        if counts:
            done, count = (int(number.replace(",", "")) for number in counts)
            assert int(part) == round(100 * done / count), shown
    assert raw_controls(seen, bar=True) == set()
    assert re.search(r"\r +\r", seen.rpartition("%|")[2])  # it was wiped away


@pytest.mark.parametrize("way", WAYS[1:], ids=" ".join)
def test_there_is_none_where_it_would_disturb(way: tuple[str, ...], call: Call) -> None:
    words = way[:-1]
    plain = call(*words)
    assert "%|" not in plain.err
    env: dict[str, str]
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, seen = into_a_file(*words, out=OUT, env=env)
        assert (code, bars(seen), OUT.read_text()) == (0, [], plain.out)
    quiet = into_a_file(*words, "-q", out=OUT).text
    assert (bars(quiet), "refused" in quiet, OUT.read_text()) == ([], False, plain.out)
    assert bars(on_a_terminal(*words).text) == []  # the product is there already


def test_a_page_is_read_with_a_bar_and_ends_with_its_path() -> None:
    seen = on_a_terminal("insight", "novel", "--text", "text", "-o", "page.html")
    assert (seen.code, bars(seen.text) != []) == (0, True)
    assert all(" reading  00:0" in shown for shown in bars(seen.text))
    assert re.search(r"\r +\rpage\.html\r\n$", seen.text)
    code, text = on_a_terminal("insight", "novel", "--text", "text", TERM="dumb")
    assert (code, bars(text)) == (0, [])


def test_the_quiet_print_only_warnings(call: Call) -> None:
    assert call("sample", "--length", "5")[2] != ""
    assert call("sample", "--length", "5", "-q")[2] == ""
    for more in ([], ["--lines"], ["--per-line"]):
        assert call("score", "text", *more)[2] != ""
        assert call("score", "text", *more, "-q")[2] == ""
    Path("odd").write_text("the €\n")
    assert "skipped" in call("score", "odd", "--unknown", "skip", "-q")[2]
    assert "skipped" in call("sample", "--prime-file", "odd", "--unknown", "skip", "-q")[2]


def test_what_takes_a_moment_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "DELAY_S", 60.0)
    assert "%|" not in into_a_file(*RECORDS, out=OUT).text


def test_the_bar_of_a_score_knows_how_much_of_the_file_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line_stream, "STEP", 100)
    told = []

    def new_bar(layout: str, total: float, desc: str, delay: float) -> Recorder:
        told.append(Recorder(total))
        return told[-1]

    monkeypatch.setattr(bar, "new_bar", new_bar)
    plain = Path("text").read_bytes()
    for raw in (plain, gzip.compress(plain)):
        Path("text").write_bytes(raw)
        assert into_a_file(*SCORE, out=OUT).code == 0
        assert OUT.read_text().count("\n") == 40
        assert (told[-1].total, told[-1].n) == (len(raw), len(raw))
    assert told[0].shown[:2] == ["5 lines", "10 lines"]


class Recorder:
    """A bar that remembers what it was told."""

    def __init__(self, total: float) -> None:
        self.total, self.n = total, 0.0
        self.shown: list[str] = []

    def set_description_str(self, text: str, refresh: bool) -> None:
        self.shown.append(text)

    def update(self, more: float) -> None:
        self.n += more

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass
