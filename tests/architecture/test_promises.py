"""Every test that the README of the tests names is there, and every soak test is named in it."""

from __future__ import annotations

import re

from tests.support.checkpoints import ROOT

TESTS = ROOT / "tests"
TEXT = (TESTS / "README.md").read_text()
TABLES = TEXT[TEXT.index("## What charrnn promises") :]
NAMED = re.compile(r"`((?:tests/[\w/]+\.py)?)(?:::(\w+))?`")


def named() -> set[tuple[str, str]]:
    """Files and tests in the tables; a test without a file is in the one named before it."""
    found, file = set(), ""
    for path, test in NAMED.findall(TABLES):
        file = path or file
        if path or test:
            found.add((file, test))
    return found


def test_what_the_readme_names_is_there() -> None:
    missing = []
    for file, test in sorted(named()):
        path = ROOT / file
        wanted = f"def {test}(" if test else "def test_"
        if not path.is_file() or wanted not in path.read_text():
            missing.append(f"{file}::{test}")
    assert missing == []


def test_every_promise_names_a_test_or_says_that_there_is_none() -> None:
    promises = [line for line in TABLES.splitlines() if re.match(r"\| [A-Z`]", line)]
    assert len(promises) > 40
    for promise in promises:
        assert NAMED.search(promise.split(" | ")[1]) or "No test yet" in promise, promise


def test_every_file_with_a_soak_test_holds_a_promise() -> None:
    files = {file for file, _ in named()}
    for path in TESTS.rglob("test_*.py"):
        if "\n@pytest.mark.soak" in path.read_text():
            assert str(path.relative_to(ROOT)) in files
