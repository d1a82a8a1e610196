"""``charrnn lab compare``: networks of equally many weights, the same text and budget."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.file import load
from charrnn.errors import Cancelled, CheckpointError, ConfigError, CorpusError, Interrupted
from charrnn.lab.compare import Compared, compare, hidden_for, read_run
from charrnn.lab.networks import networks
from tests.support.command_line import leave

SMALL: dict[str, Any] = {
    "embedding": 6, "layers": 1, "batch": 4, "window": 10, "steps": 20, "threads": 1, "seed": 1,
}  # fmt: skip


@pytest.mark.parametrize("cell", ["elman", "jordan", "lstm", "gru", "scrn", "clockwork"])
@pytest.mark.parametrize("parameters", [9_000, 500_000])
def test_a_network_is_as_large_as_its_weights_allow(cell: str, parameters: int) -> None:
    settings = {"embedding": 16, "layers": 2}
    hidden = hidden_for(cell, parameters, 50, settings)
    sizes = [
        networks((cell,), 50, settings | {"hidden": hidden + more})[cell].parameters
        for more in (0, 1)
    ]
    assert sizes[0] <= parameters < sizes[1]


def test_too_few_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="parameters is 9: the smallest lstm network has"):
        hidden_for("lstm", 9, 50, {})


def test_the_runs_are_kept_and_the_best_is_first(corpus: Path) -> None:
    told: list[Compared] = []
    out = Path("runs")
    found = compare([corpus], ("elman", "scrn"), parameters=900, out=out, on_run=told.append,
                    context=3, **SMALL)  # fmt: skip
    assert [run.cell for run in told] == ["elman", "scrn"]
    assert sorted(found, key=lambda run: run.best or 0) == found
    for run in found:
        made = load(out / run.cell)
        assert 700 < made.config.parameters == run.parameters <= 900
        assert run.best == made.meta["losses"]["val"]
        assert run.chars == run.validations[-1][1] == 800
        assert made.meta["training"]["steps"] == 20
        assert made.meta["training"]["fit_temperature"] is False
    assert load(out / "scrn").config.value("context") == 3


def test_runs_that_ended_are_kept_and_others_continued(corpus: Path) -> None:
    out, names = Path("runs"), ("elman", "gru")
    before = compare([corpus], names[:1], parameters=900, out=out, **SMALL)
    with pytest.raises(ConfigError, match="holds a run"):
        compare([corpus], names, parameters=900, out=out, **SMALL)
    compare([corpus], names, parameters=900, out=out, resume=True, **SMALL)
    kept = [json.loads(line) for line in (out / "gru/metrics.jsonl").read_text().splitlines()]
    lines = [line for line in kept if not line.get("final")]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (out / "gru/metrics.jsonl").write_text(text)  # as if it had been stopped
    again = compare([corpus], names, parameters=900, out=out, resume=True, **SMALL)
    assert {run.cell for run in again} == {*names}
    assert before[0] in again
    assert '"final": true' in (out / "gru/metrics.jsonl").read_text()


def test_a_run_of_another_cell_is_no_result(corpus: Path) -> None:
    compare([corpus], ("elman",), parameters=900, out=Path("runs"), **SMALL)
    with pytest.raises(CheckpointError, match="runs/elman holds a run of elman, not of lstm"):
        read_run(Path("runs/elman"), "lstm")
    assert read_run(Path("runs/elman"), "rnn-tanh").cell == "rnn-tanh"


OTHER_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"steps": 21}, "set steps=20, or choose another out"),
    ({"steps": 0, "seconds": 3.0}, "set steps=20, or choose another out"),
    ({"window": 11}, "set window=10, or"),
    ({"lr": 0.1, "seed": 2}, "set lr=0.004 and seed=1, or"),
    ({"parameters": 1200}, r"set parameters=8\d\d, or"),
]


def test_a_kept_run_with_another_text_or_other_settings_is_no_result(corpus: Path) -> None:
    out, turned = Path("runs"), Path("turned.txt")
    compare([corpus], ("gru",), parameters=900, out=out, **SMALL)
    for other, said in OTHER_SETTINGS:
        settings = {"parameters": 900, **SMALL, **other}
        with pytest.raises(ConfigError, match=f"runs/gru holds a run with other settings; {said}"):
            compare([corpus], ("elman", "gru"), out=out, resume=True, **settings)
    turned.write_bytes(corpus.read_bytes()[::-1])
    with pytest.raises(ConfigError, match=f"runs/gru holds a run on another text, {corpus.name}"):
        compare([turned], ("elman", "gru"), parameters=900, out=out, resume=True, **SMALL)
    with pytest.raises(ConfigError, match="runs/gru holds a run"):  # although it is not the first
        compare([corpus], ("elman", "gru"), parameters=900, out=out, **SMALL)
    assert not (out / "elman").exists()


def test_a_comparison_that_is_stopped_says_how_it_continues(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise Interrupted.by(signal.SIGINT, "saved", "to continue: {train(resume)}", resume=True)

    monkeypatch.setattr("charrnn.lab.compare.train", stopped)
    with pytest.raises(Cancelled, match=r"^saved; to continue, repeat the comparison with resume$"):
        compare([corpus], ("elman", "gru"), parameters=900, out=Path("runs"), **SMALL)


def test_all_runs_have_one_seed_which_is_told(
    corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    corpus.rename("novel.txt")
    args = [arg for arg in ARGS if arg not in ("--seed", "1")]
    code, _, err = leave([*args, "--out", "runs", "--cell", "elman"], capfd)
    assert code == 0, err
    more = [*args, "--out", "runs", "--resume", "--cell", "elman,irnn"]
    code, _, later = leave(more, capfd)
    assert code == 0, later
    seeds = {load(path).meta["training"]["seed"] for path in Path("runs").glob("*/best.*")}
    assert len(seeds) == 1
    assert f"charrnn: seed {seeds.pop()}\n" in err


def test_a_text_that_can_be_read_once_only_is_refused() -> None:
    with pytest.raises(CorpusError, match="name a file, not standard input"):
        compare(["-"], ("elman",), parameters=900, out=Path("runs"))


ARGS = ["lab", "compare", "novel.txt", "--cell", "elman,gru", "--steps", "20", "--embedding", "6",
        "--batch", "4", "--window", "10", "--parameters", "1500", "--seed", "1"]  # fmt: skip


def test_the_command_prints_a_table_and_draws_a_picture(
    corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    corpus.rename("novel.txt")
    code, out, err = leave([*ARGS, "--out", "runs", "--plot", "cells.svg"], capfd)
    assert code == 0, err
    said = err.splitlines()
    told = [line.split(": ")[1] for line in said]
    assert told == ["training elman", "elman", "training gru", "gru"]
    assert "2 x " in said[0]
    assert " weights" in said[0]
    head, *rows = [line.split("\t") for line in out.splitlines()]
    assert head == ["cell", "size", "weights", "characters", "characters/s", "nats/char",
                    "bits/char"]  # fmt: skip
    assert {row[0] for row in rows} == {"elman", "gru"}
    assert float(rows[0][5]) <= float(rows[1][5])
    assert "validation, nats per character" in Path("cells.svg").read_text()
    code, out, err = leave([*ARGS, "--out", "runs", "--resume", "--json"], capfd)
    assert code == 0, err
    assert {json.loads(line)["folder"] for line in out.splitlines()} == {"runs/elman", "runs/gru"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--parameters", "10"], "--parameters is 10: the smallest elman network has"),
        (["--periods", "1,2"],
         "--periods is not a setting of elman, gru; omit it, or choose --cell clockwork\n"),
        (["--plot", "."], "--plot is .: name a file"),
        (["--plot", "novel.txt/x.svg"], "cannot write to novel.txt/x.svg"),
        (["--out", "novel.txt"], "novel.txt is not a folder; choose another --out\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(
    args: list[str], said: str, corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    corpus.rename("novel.txt")
    code, out, err = leave([*ARGS, *args], capfd)
    assert (code, out) == (1 if "x.svg" in args[-1] else 2, "")
    assert said in err
    assert not Path("checkpoints").exists()


def test_a_cell_whose_loss_becomes_infinite_does_not_end_the_others(
    corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    corpus.rename("novel.txt")
    args = [*ARGS, "--out", "runs", "--steps", "60", "--lr", "10"]
    args[args.index("elman,gru")] = "irnn,elman"
    code, out, err = leave(args, capfd)
    assert code == 0, err
    rows = {row[0]: row for row in (line.split("\t") for line in out.splitlines())}
    assert float(rows["elman"][5]) > 0
    assert rows["irnn"][5] == "-"
    assert "irnn: the " in err
    assert "nothing after the last good step is saved; not validated\n" in err
