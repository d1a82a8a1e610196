"""The command that a checkpoint records makes the same network again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.cli.app import main
from charrnn.config import write_duration
from charrnn.training.rundir.model_card import _as_argument
from tests.support.processes import TEXT
from tests.support.runs import run, same, tensors


def test_the_command_in_the_card_names_a_text_that_shares_the_bundled_one_s_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "lipyagi.txt").write_text(TEXT)
    run(tmp_path / "lipyagi.txt", tmp_path / "run", steps=1)
    command = checkpoint.load(tmp_path / "run").meta["made"]["command"]
    assert command.startswith("charrnn train lipyagi.txt --")


def test_the_command_in_the_card_makes_the_same_network(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(corpus, tmp_path / "first", steps=7, threads=None)
    card = checkpoint.load(tmp_path / "first" / "best.safetensors").meta
    program, *words = shlex.split(card["made"]["command"])
    assert program == "charrnn"
    with pytest.raises(SystemExit) as left:
        main([*words, "--out", "second", "-q"])
    assert left.value.code == 0
    best = "best.safetensors"
    assert same(tensors(tmp_path / "first", best), tensors(tmp_path / "second", best))


def test_the_command_in_the_card_names_where_a_run_began_and_how_much_it_read(
    corpus: Path, tmp_path: Path
) -> None:
    first = run(corpus, tmp_path / "first", steps=2)
    second = run(corpus, tmp_path / "second", steps=2, start_from=first.best, max_bytes=3000)
    words = shlex.split(checkpoint.load(second.best).meta["made"]["command"])
    assert words[words.index("--from") + 1] == str(first.best)
    assert words[words.index("--max-bytes") + 1] == "3000"
    assert charrnn.load(second.best).score_split("val", corpus).chars == 300
    again = charrnn.train(out=tmp_path / "second", resume=True, steps=4)
    card = checkpoint.load(again.folder / "last.safetensors").meta
    assert (card["start_from"], card["corpus"]["max_bytes"]) == (str(first.best), 3000)


@pytest.mark.parametrize(("name", "seconds", "words"), [
    ("-dash.txt", 90.0, ["./-dash.txt", "90s"]),
    ("plain.txt", 1e12, ["plain.txt", "1000000000000s"]),
    ("plain.txt", 0.00001, ["plain.txt", "0.00001s"]),
])  # fmt: skip
def test_the_card_s_command_can_be_typed(name: str, seconds: float, words: list[str]) -> None:
    assert [_as_argument(name), write_duration(seconds)] == words
