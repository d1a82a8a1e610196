"""How runs learned: which runs, where their reports are on an axis, and the table of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from charrnn.errors import CheckpointError
from charrnn.insight.learning import Across, as_csv, placed, read_runs, shown_nats, so_many
from tests.support.checkpoints import META, tiny
from tests.support.curves import EPOCH, report, run_in


def test_a_table_has_a_row_for_each_report_with_every_figure_as_it_was() -> None:
    run_in("runs/a, b")
    run_in("runs/$x_1$", report(1, train_nats=1 / 3, val_nats=float("nan"), lr=None))
    table = as_csv(read_runs(["runs/a, b", "runs/$x_1$"])).decode()
    head, *rows = csv.reader(io.StringIO(table))
    assert head == ["run", *report(1)]
    assert len(rows) == 31
    assert rows[4][0] == "a, b"
    assert dict(zip(head, rows[4], strict=True)) == {
        "run": "a, b",
        **{name: "" if value is None else repr(value) for name, value in report(5).items()},
    }
    last = dict(zip(head, rows[-1], strict=True))
    assert last["run"] == "$x_1$"
    assert float(last["train_nats"]) == 1 / 3
    assert (last["val_nats"], last["lr"]) == ("", "")
    assert "\r" not in table


def test_runs_of_the_same_name_are_told_apart_and_the_same_run_counts_once() -> None:
    for folder in ("one/run", "two/run", "other"):
        run_in(folder)
    paths: list[str | Path] = ["one/run", "two/run/metrics.jsonl", "other", Path("one/run")]
    assert [run.name for run in read_runs(paths)] == ["one/run", "two/run", "other"]
    assert [run.name for run in read_runs(["one/run"])] == ["run"]
    Path("other/metrics.jsonl").rename("kept.jsonl")
    assert [run.name for run in read_runs(["kept.jsonl"])] == ["kept"]


def test_runs_without_reports_are_omitted_and_noted() -> None:
    run_in("full")
    run_in("empty").write_text("")
    notes: list[str] = []
    assert [run.name for run in read_runs(["empty", "full"], notes.append)] == ["full"]
    assert notes == ["empty/metrics.jsonl has no reports yet: omitted"]
    with pytest.raises(CheckpointError, match=r"^empty/metrics\.jsonl has no reports yet"):
        read_runs(["empty"])


@pytest.mark.parametrize(
    ("x", "at"), [("step", 80.0), ("chars", 800.0), ("epoch", 0.8), ("time", 480.0)]
)
def test_a_report_is_where_it_says_on_every_axis(x: Across, at: float) -> None:
    run_in("run")
    [run] = read_runs(["run"])
    places, nats = run.points(x, "val_nats")
    assert places[3] == pytest.approx(at, rel=0.02)
    assert nats[3] == report(8)["val_nats"]
    assert run.best(x) == (places[-1], min(nats))


def test_whole_epochs_say_how_long_one_is() -> None:
    numbers = (3, 9, 11, 25, 29)
    run_in("run", *(report(number) for number in numbers))
    [run] = read_runs(["run"])
    places, _ = run.points("epoch", "train_nats")
    for number, place in zip(numbers, places, strict=True):
        assert place == pytest.approx(100 * number / EPOCH, rel=0.1)


def test_in_the_first_epoch_a_checkpoint_says_how_long_it_is() -> None:
    run_in("run", report(1), report(2))
    with pytest.raises(CheckpointError, match="does not say how long an epoch is"):
        placed(read_runs(["run"]), "epoch")
    run_in("whole")
    notes: list[str] = []
    [left] = placed(read_runs(["run", "whole"]), "epoch", notes.append)
    assert left.name == "whole"
    [note] = notes
    assert note.startswith("run/metrics.jsonl does not say how long an epoch is")
    split = {"kind": "tail", "val_frac": 0.2, "test_frac": 0.1}
    meta = META | {"corpus": {**META["corpus"], "chars": 1000, "split": split}}
    tiny(meta=meta).save(Path("run/best.safetensors"))
    [run] = read_runs(["run"])
    assert run.points("epoch", "lr")[0] == pytest.approx([100 / 700, 200 / 700])


@pytest.mark.parametrize(
    "corpus",
    [{}, {"chars": "9", "split": {}}, {"chars": 9, "split": 5}, {"chars": 0, "split": {}},
     {"chars": 10**400, "split": {}}, {"chars": 9, "split": {"val_frac": "x"}},
     {"chars": 9, "split": {"val_frac": 0.9, "test_frac": 0.9}}, {"chars": True, "split": {}}],
    ids=lambda corpus: str(corpus)[:40],
)  # fmt: skip
def test_a_checkpoint_that_lies_says_nothing_of_epochs(corpus: dict[str, object]) -> None:
    run_in("run", report(1), report(2))
    tiny(meta={"corpus": corpus}).save(Path("run/best.safetensors"))
    with pytest.raises(CheckpointError, match="does not say how long an epoch is"):
        placed(read_runs(["run"]), "epoch")


def test_the_first_losses_of_a_long_run_and_its_spikes_need_not_be_shown() -> None:
    places = [float(n) for n in range(200)]
    nats = [9.0 if n < 5 else 1.0 + (200 - n) / 1000 for n in range(200)]
    nats[100] = 500.0
    low, high = shown_nats([(places, nats)])
    assert low == min(nats)
    assert 1.18 < high < 1.2
    assert shown_nats([([1.0, 2.0], [2.0, 1.0])]) == (1.0, 2.0)
    assert shown_nats([([1.0, 2.0], [900.0, 1.0])]) == (1.0, 4.0)
    assert shown_nats([([], [])]) == (0.0, 1.0)
    # of a run that has just begun, beside a long one, the second half is shown
    short = ([n / 100 for n in range(100)], [3.0 - n / 50 for n in range(100)])
    assert 1.9 < shown_nats([(places, nats), short])[1] < 2.1


@pytest.mark.parametrize(
    ("x", "place", "words"),
    [
        ("step", 1, "1 step"),
        ("chars", 12345, "12,345 characters"),
        ("epoch", 1.828, "1.83 epochs"),
        ("time", 0.132, "0 seconds"),
        ("time", 1.2, "1 second"),
        ("time", 59.6, "60 seconds"),
        ("time", 3600, "60.0 minutes"),
        ("time", 36000, "10.0 hours"),
    ],
)
def test_a_place_is_said_in_words(x: Across, place: float, words: str) -> None:
    assert so_many(place, x) == words
