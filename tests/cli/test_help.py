"""Every option is documented, and what the help says is true."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from tests.support.checkpoints import ROOT
from tests.support.command_line import Call, commands, options, variables

README = (ROOT / "README.md").read_text()


def test_every_option_has_help() -> None:
    assert [f"{name} {option}" for name, option, text in options() if not text] == []


def test_every_option_has_an_environment_variable() -> None:
    for name, command in commands():
        for param in command.params:
            long = [option for option in param.opts if option.startswith("--")]
            if long and long[0] not in ("--help", "--version") and name:
                own = {
                    "score --split": "SCORE_SPLIT",
                    "data get --out": "DATA_OUT",
                    "fill --reverse": "FILL_REVERSE",
                    "insight --out": "INSIGHT_OUT",
                    "plot --out": "PLOT_OUT",
                    "plot --x": "PLOT_X",
                    "lab check --cell": "CELLS",
                    "lab flow --cell": "CELLS",
                    "lab compare --cell": "CELLS",
                    "lab flow --out": "LAB_OUT",
                }
                usual = long[0][2:].upper().replace("-", "_")
                wanted = "CHARRNN_" + own.get(f"{name} {long[0]}", usual)
                assert variables(param)[0] == wanted, f"{name} {long[0]}"


def test_a_variable_that_two_commands_read_means_the_same_in_both() -> None:
    kinds: dict[str, set[object]] = {}
    for name, command in commands():
        for option in command.options.values() if name and not hasattr(command, "commands") else ():
            kind = option.kind, option.allowed, option.repeated
            kinds.setdefault(option.variable, set()).add(kind)
    assert kinds
    assert {name: kind for name, kind in kinds.items() if len(kind) > 1} == {}


def test_every_command_has_help_and_stands_in_the_readme(call: Call) -> None:
    names = {name for name, _ in commands()}
    assert all(call(*name.split(), "--help")[0] == 0 for name in names)
    assert {name for name, option, _ in options() if option == "--version"} == {""}
    assert "`charrnn COMMAND --help`" in README
    assert "`charrnn --version`" in README
    table = README.partition("\n## Commands\n")[2].partition("\n## ")[0]
    assert {name.split()[0] for name in names if name} == set(re.findall(r"[|,] `(\w+)", table))


def test_the_corpora_offered_are_those_that_can_be_downloaded() -> None:
    from charrnn.cli.data import Known
    from charrnn.text.downloads import KNOWN

    assert list(get_args(Known)) == list(KNOWN)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("train --patience", "Default: 8."),
        ("train --size", "from the corpus and the time budget"),
        ("train --batch", "from the corpus and the time"),
        ("train --window", "from the corpus and the time"),
        ("train --lr", "Default: chosen from the time budget"),
        ("train --embedding", "Default: chosen from --size"),
        ("train --dropout", "chosen from the number of epochs"),
        ("train --input-dropout", "chosen from the number of epochs"),
        ("train --weight-dropout", "chosen from the number of epochs"),
        ("train --sum-layers", "Default: the sum of all layers"),
        ("train --fit-temperature", "Default: on"),
        ("train --ema", "0 disables it. Default: 0."),
        ("train --seed", "Default: random, printed on stderr."),
        ("train --time", "Default: 10m."),
        ("sample --unknown", "error rejects the text, skip drops them, replace turns them"),
        ("score --unknown", "error rejects the text, skip drops them, replace turns them"),
        ("bench sample --threads", "at most 2"),
        ("bench sample --layers", "Default: 3."),
        ("bench train --layers", "Default: 2."),
        ("sample --temp", "Default: 0.8."),
    ],
)
def test_help_says_what_holds_when_nothing_is_said(args: str, said: str) -> None:
    assert said in next(text for name, option, text in options() if f"{name} {option}" == args)


def test_the_defaults_that_help_states_are_true() -> None:
    from charrnn.generation.factory import MAX_THREADS
    from charrnn.training.recipes import choose

    chosen = choose({}, preset=None, vocab_size=9, train_chars=10**6, fast=False, flops=1e12)
    model, config = chosen
    assert (model.cell, model.layers, model.sum_layers, MAX_THREADS) == ("lstm", 2, True, 2)
    assert (config.patience, config.ema, config.fit_temperature) == (8, 0.0, True)
    assert config.seconds == 600


@pytest.mark.parametrize("columns", [60, 80])
def test_help_breaks_between_facts_only(
    columns: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, _ in commands():
        page = call(*name.split(), "--help")[1]
        assert max(map(len, page.splitlines())) <= columns
        assert not re.search(r"\[$|\[env$|env var:$|default:$|[a-z]\.\.\.$", page, re.MULTILINE), (
            page
        )
        assert not re.search(r"[<>]|\brange\b", page), page  # typer's words for types
        assert page.isascii()
