"""The lines of metrics.jsonl."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from charrnn.checkpoint import file as checkpoint
from charrnn.errors import CheckpointError
from charrnn.paths import BUNDLED
from charrnn.training.rundir.metrics import (
    COUNTS,
    FIGURES,
    append,
    drop_after,
    find_metrics,
    losses,
    reports,
)
from tests.support.checkpoints import ROOT, tiny
from tests.support.runs import run


def test_metrics_have_the_promised_fields(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", test_frac=0.1)
    *lines, last = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().split("\n")
                    if x]  # fmt: skip
    for line in lines:
        assert list(line) == ["step", "epoch", "chars", "elapsed_s", "lr", "train_nats",
                              "val_nats", "grad_norm", "chars_per_second"]  # fmt: skip
    assert last.keys() >= lines[0].keys()
    assert last["final"] is True
    assert last["test_nats"] > 0
    card = checkpoint.load(tmp_path / "run" / "best.safetensors").meta
    assert card["losses"]["test"] == last["test_nats"]


def test_a_truncated_metrics_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}')
    drop_after(path, 5)
    append(path, {"step": 2})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_losses_are_read_from_any_log_without_trusting_it(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    nothing: dict[str, list[object]] = {"train_nats": [], "val_nats": []}
    assert losses(log) == losses(tmp_path) == nothing
    lines = ['{"chars": 5, "val_nats": 2.5}', "[]", "{", '{"chars": "5", "val_nats": 1.0}', "\x00",
             '{"chars": 6, "val_nats": null}', '{"chars": 7, "val_nats": Infinity}', "[" * 99999,
             '{"chars": 8, "val_nats": 2.25}', "5", '{"chars": true, "val_nats": 1.0}']  # fmt: skip
    lines += [
        '{"chars": 9, "val_nats": 1.0, "final": true}', '{"chars": 5, "val_nats": 1e300}',
        '{"chars": -5, "val_nats": 1.0}', '{"chars": 1%s, "val_nats": 1.0}' % ("0" * 20),
    ]  # fmt: skip
    log.write_text("\n".join(lines))
    assert losses(log) == nothing | {"val_nats": [(5, 2.5), (8, 2.25)]}
    os.mkfifo(tmp_path / "pipe")
    assert losses(tmp_path / "pipe") == nothing


def test_reports_are_read_from_any_log_without_trusting_it(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    lines = [
        '{"step": 1, "lr": 0, "train_nats": 2.5, "val_nats": NaN, "grad_norm": Infinity}',
        "[]",
        "{",
        '{"step": true, "chars": -1, "train_nats": "2", "chars_per_second": 1e300}',
        '{"step": 2, "val_nats": 1.5, "final": true}',
        '{"step": 3, "epoch": 0, "chars": 9, "elapsed_s": 1.5, "surprise": 1.0}',
        '{"step": 4, "train_na',
    ]
    log.write_text("\n".join(lines))
    nothing: dict[str, float | None] = dict.fromkeys([*COUNTS, *FIGURES])
    assert reports(log) == [
        nothing | {"step": 1, "lr": 0, "train_nats": 2.5},
        nothing,
        nothing | {"step": 3, "epoch": 0, "chars": 9, "elapsed_s": 1.5},
    ]
    with pytest.raises(CheckpointError, match=f"^cannot read {tmp_path}: Is a directory"):
        reports(tmp_path)


def test_what_a_resumed_run_reports_again_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    steps = [(10, 3.0), (20, 2.0), (30, 1.0), (20, 2.5), (25, 2.25), (25, 2.0)]
    log.write_text("".join(f'{{"step": {n}, "train_nats": {loss}}}\n' for n, loss in steps))
    found = [(values["step"], values["train_nats"]) for values in reports(log)]
    assert found == [(10, 3.0), (20, 2.5), (25, 2.0)]


@pytest.mark.parametrize("version", ["gru", "lstm"])
def test_reports_of_every_released_version_are_whole(version: str) -> None:
    found = reports(ROOT / "tests/support/released/0.1.0" / version / "metrics.jsonl")
    assert len(found) > 4
    assert all(None not in values.values() for values in found[1:-1])


def test_a_run_s_metrics_are_found_as_its_checkpoint_is(tmp_path: Path) -> None:
    for name in ("old", "new"):
        tiny().save(Path(f"checkpoints/{name}/best.safetensors"))
        Path(f"checkpoints/{name}/metrics.jsonl").touch()
    os.utime("checkpoints/old/metrics.jsonl", (1, 1))
    new = Path("checkpoints/new/metrics.jsonl")
    for way in (None, "new", "checkpoints/new", Path("checkpoints/new/best.safetensors"), new):
        assert find_metrics(way) == new
    assert find_metrics("old") == Path("checkpoints/old/metrics.jsonl")
    new.rename("kept.jsonl")
    assert find_metrics("kept.jsonl") == Path("kept.jsonl")
    Path("old").mkdir()  # another folder of the same name, with no run in it
    assert find_metrics("old") == Path("checkpoints/old/metrics.jsonl")


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (None, "there is no run yet"),
        ("", "the run's path is empty"),
        ("nowhere", "no run at nowhere"),
        ("x" * 5000, "no run at xxx"),
        ("folder", "folder has no metrics.jsonl"),
        ("text.txt", "no run at text.txt"),
        (BUNDLED[0][1:], rf"no run at \w+ \(did you mean {BUNDLED[0]}\?\)"),
        (BUNDLED[0], f"{BUNDLED[0]} has no metrics.jsonl"),
    ],
)
def test_where_there_are_no_metrics_an_error_says_so(run: str | None, said: str) -> None:
    Path("folder").mkdir()
    Path("text.txt").write_text("{}")
    with pytest.raises(CheckpointError, match=said):
        find_metrics(run)
