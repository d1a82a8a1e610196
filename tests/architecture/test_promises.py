"""Every test that the README of the tests names is there, and every soak test is named in it."""

from __future__ import annotations

import re

from tests.support.checkpoints import ROOT

TESTS = ROOT / "tests"
TEXT = (TESTS / "README.md").read_text()
NAMED = re.compile(r"`((?:tests/[\w/]+\.py)?)(?:::(\w+))?`")


def named() -> set[tuple[str, str]]:
    """Files and tests in the tables; a test without a file is in the one named before it."""
    found, file = set(), ""
    for path, test in NAMED.findall(TEXT[TEXT.index("## What charrnn promises") :]):
        file = path or file
        if path or test:
            found.add((file, test))
    return found


def test_what_the_readme_names_is_there() -> None:
    missing = []
    for file, test in sorted(named()):
        path = ROOT / file
        if not path.is_file() or f"def {test}" not in path.read_text():
            missing.append(f"{file}::{test}")
    assert missing == []


def test_every_file_with_a_soak_test_holds_a_promise() -> None:
    files = {file for file, _ in named()}
    for path in TESTS.rglob("test_*.py"):
        if "\n@pytest.mark.soak" in path.read_text():
            assert str(path.relative_to(ROOT)) in files
