"""The scripts beside the tests: pieces that are joined again, texts and their splits, the table.

Nothing here needs a GPU.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.splits import split
from tests.gpu.corpora import CASES, fractions
from tests.gpu.pieces import write_pieces
from tests.gpu.results import Results
from tests.gpu.table import GOALS, table
from tests.support.checkpoints import real_text


def joined(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(folder / "join.sh"), str(target)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250])
def test_pieces_are_joined_to_what_they_were(size: int, tmp_path: Path) -> None:
    data = bytes(range(256))[:size]
    paths = write_pieces(data, "net", tmp_path, largest=100)
    assert max(path.stat().st_size for path in paths[:-1]) <= 100
    assert joined(tmp_path, tmp_path / "whole").returncode == 0
    assert (tmp_path / "whole").read_bytes() == data


def test_fewer_pieces_replace_more_and_an_older_one_is_found(tmp_path: Path) -> None:
    write_pieces(bytes(250), "net", tmp_path, largest=100)
    old = (tmp_path / "net.0").read_bytes()
    write_pieces(b"x" * 150, "net", tmp_path, largest=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["join.sh", "net.0", "net.1"]
    (tmp_path / "net.0").write_bytes(old)
    assert joined(tmp_path, tmp_path / "whole").returncode != 0


@given(st.integers(0, 20_000_000), st.integers(100, 5_000_000))
def test_the_parts_of_a_text_behind_others_are_its_own(before: int, novel: int) -> None:
    val, test = fractions(before, novel)
    own = split(novel, "contiguous", 0.1, 0.1)
    behind = split(before + novel, "contiguous", val, test)
    for mine, theirs in ((behind.val, own.val), (behind.test, own.test)):
        assert mine == tuple((start + before, stop + before) for start, stop in theirs)


def test_the_three_texts_are_those_of_the_goals(tmp_path: Path) -> None:
    novel = real_text("warpeace_input.txt")
    real_text("tolstoy/youth.txt")
    made = {name: case(novel.parent, tmp_path) for name, case in CASES.items()}
    assert made["p"].text.read_bytes() == novel.read_bytes()
    assert b"\r" not in made["c"].text.read_bytes()
    whole = made["tolstoy"].text.read_text(encoding="utf-8")
    assert "\r" not in whole
    assert "\ufeff" not in whole
    assert len(whole) > 8_000_000
    # the test part is the end of the novel: that of the second text, which keeps its mark
    val, test = (float(made["tolstoy"].args[place]) for place in (1, 3))
    ((start, stop),) = split(len(whole), "contiguous", val, test).test
    alone = made["c"].text.read_text(encoding="utf-8")
    assert abs((stop - start) - 0.1 * len(alone)) < 2
    assert alone.endswith(whole[start:])


def test_the_table_says_what_is_missing_and_what_failed(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    tests, fixed = tmp_path / "tests.xml", tmp_path / "fixed.xml"
    empty = table(results.read(), tests, fixed)
    assert empty.count("not measured") == len(GOALS) + 2  # the machine and the tests
    results.add("3 x 512", chars_per_second=3e6, ratio=1.5, waits=0)
    results.add("3 x 512", chars_per_second=2.6e6, ratio=1.5, waits=0)  # the last line counts
    results.add("novel", failed="TookTooLongError: took more than 65 s")
    results.add("graph", failed="RuntimeError: no capture")
    results.add("head, 512", ms_87=0.2)
    case = '<testcase name="t[{}]"><properties><property value="{}"/></properties></testcase>'
    cases = case.format("float32-plain", 0.0) + case.format("float16-gru", 2.5e-4)
    failed = '<testcase name="broken"><failure/></testcase>'
    for path in (tests, fixed):
        path.write_text(f'<testsuite tests="3" failures="1">{cases}{failed}</testsuite>')
    lines = table(results.read(), tests, fixed).splitlines()

    def line(*parts: str) -> str:
        return next(line for line in lines if all(part in line for part in parts))

    assert line("steps alone").endswith("yes")
    assert "2,600,000 char/s" in line("steps alone")
    assert line("plain float32 loop").endswith("NO ")
    assert "took more than 65 s" in line("split P: test")
    assert line("FAILED graph: RuntimeError: no capture")
    assert line("head, 512: ms_87 0.2")
    assert "2 passed, 1 failed, 0 skipped" in line("tests of the device")
    assert line("  broken").rstrip().endswith("NO")
    assert "1 identical, 1 differ by at most 2.5e-04" in line("two equal runs, fixed workspace")
    assert "2.50e-04" in line("  float16-gru")
