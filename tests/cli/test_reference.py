"""The option reference is what the declarations say."""

from __future__ import annotations

import re

from charrnn.cli.reference import reference
from tests.support.checkpoints import ROOT
from tests.support.command_line import commands, variables


def test_the_reference_is_current() -> None:
    written = (ROOT / "charrnn/cli/README.md").read_text()
    assert written == reference(), "python -m charrnn.cli.reference > charrnn/cli/README.md"


def test_the_reference_has_every_command_and_every_option_of_it() -> None:
    sections = {
        section.partition("\n")[0]: section for section in reference().split("\n## charrnn ")
    }
    for name, command in commands():
        if name and not getattr(command, "commands", None):
            [section] = [text for title, text in sections.items() if f"{title} ".startswith(name)]
            for param in command.params:
                for word in [*param.opts, *param.secondary_opts]:
                    shown = word if word.startswith("-") else param.metavar
                    assert f"`{shown}" in section, f"{name} {word}"
                assert all(f"`{variable}`" in section for variable in variables(param))


def test_a_bar_does_not_end_a_cell() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert rows
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}


def test_the_reference_gives_whole_numbers_without_decimals() -> None:
    assert not re.search(r"\d\.0\b", reference())


def test_every_choice_of_what_to_do_has_a_default() -> None:
    """Where one of several words always holds, the reference says which."""
    rows = [row.split(" | ") for row in reference().splitlines() if row.startswith("| `--")]
    blank = {row[0].split("`")[1] for row in rows if r"\|" in row[0] and not row[2].strip()}
    # without these, a run is of no preset, and the whole text is scored
    assert {name.split()[0] for name in blank} == {"--preset", "--split"}
