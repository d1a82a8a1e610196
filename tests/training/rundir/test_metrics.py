"""The lines of metrics.jsonl."""

from __future__ import annotations

import json
import os
from pathlib import Path

from charrnn.checkpoint import file as checkpoint
from charrnn.training.rundir.metrics import append, drop_after, losses
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
