"""The memory of a run: the formula, what was measured, and a run that is measured here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from charrnn import cells
from charrnn.cells import Cell
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.kernels.cuda.cluster_lstm import CAPABILITY
from charrnn.training.hardware.device import Hardware
from charrnn.training.hardware.footprint import MIB, PER_UNIT, Footprint, footprint, per_unit
from tests.support.checkpoints import python

CPU = torch.device("cpu")
V = 65
# peaks of anonymous memory in MiB, of runs on tinyshakespeare with 2 threads on an AMD Zen 5:
# cell, precision, H, L, B, T, what else it did, peak
MEASURED = [
    ("lstm", "bfloat16", 128, 2, 32, 64, "", 209),
    ("lstm", "bfloat16", 256, 4, 64, 64, "", 331),
    ("lstm", "bfloat16", 512, 2, 64, 128, "", 496),
    ("lstm", "bfloat16", 512, 2, 64, 256, "", 648),
    ("lstm", "bfloat16", 512, 1, 64, 128, "", 342),
    ("lstm", "bfloat16", 512, 4, 32, 128, "", 656),
    ("lstm", "bfloat16", 1024, 2, 64, 64, "", 960),
    ("lstm", "bfloat16", 1024, 1, 16, 32, "", 463),
    ("lstm", "bfloat16", 1024, 3, 32, 100, "", 1471),
    ("lstm", "bfloat16", 512, 2, 256, 64, "", 653),
    ("lstm", "bfloat16", 256, 2, 16, 512, "", 318),
    ("lstm", "float32", 64, 1, 4, 16, "", 164),
    ("lstm", "float32", 128, 2, 32, 64, "", 199),
    ("lstm", "float32", 256, 2, 64, 64, "", 340),
    ("lstm", "float32", 256, 4, 64, 64, "", 481),
    ("lstm", "float32", 512, 2, 64, 128, "", 882),
    ("lstm", "float32", 512, 2, 64, 256, "", 1528),
    ("lstm", "float32", 512, 1, 64, 128, "", 580),
    ("lstm", "float32", 512, 4, 32, 128, "", 954),
    ("lstm", "float32", 1024, 2, 64, 64, "", 1200),
    ("lstm", "float32", 1024, 1, 16, 32, "", 444),
    ("lstm", "float32", 1024, 3, 32, 100, "", 1601),
    ("lstm", "float32", 512, 2, 256, 64, "", 1532),
    ("lstm", "float32", 256, 2, 16, 512, "", 505),
    ("gru", "bfloat16", 256, 2, 64, 64, "", 226),
    ("gru", "bfloat16", 256, 2, 32, 64, "", 211),
    ("elman", "bfloat16", 256, 2, 64, 64, "", 183),
    ("elman", "bfloat16", 256, 2, 32, 64, "", 173),
    ("scrn", "bfloat16", 256, 2, 64, 64, "", 233),
    ("scrn", "bfloat16", 256, 2, 32, 64, "", 200),
    ("clockwork", "bfloat16", 256, 2, 64, 64, "", 225),
    ("clockwork", "bfloat16", 256, 2, 32, 64, "", 187),
    ("jordan", "bfloat16", 256, 2, 64, 64, "", 196),
    ("jordan", "bfloat16", 256, 2, 32, 64, "", 177),
    ("irnn", "bfloat16", 256, 2, 64, 64, "", 184),
    ("irnn", "bfloat16", 256, 2, 32, 64, "", 173),
    ("rnn-relu", "bfloat16", 256, 2, 64, 64, "", 184),
    ("rnn-relu", "bfloat16", 256, 2, 32, 64, "", 173),
    ("gru", "float32", 256, 2, 64, 64, "", 260),
    ("gru", "float32", 256, 2, 32, 64, "", 215),
    ("elman", "float32", 256, 2, 64, 64, "", 209),
    ("elman", "float32", 256, 2, 32, 64, "", 181),
    ("scrn", "float32", 256, 2, 64, 64, "", 214),
    ("scrn", "float32", 256, 2, 32, 64, "", 187),
    ("clockwork", "float32", 256, 2, 64, 64, "", 212),
    ("clockwork", "float32", 256, 2, 32, 64, "", 195),
    ("jordan", "float32", 256, 2, 64, 64, "", 203),
    ("jordan", "float32", 256, 2, 32, 64, "", 176),
    ("irnn", "float32", 256, 2, 64, 64, "", 199),
    ("irnn", "float32", 256, 2, 32, 64, "", 179),
    ("rnn-relu", "float32", 256, 2, 64, 64, "", 207),
    ("rnn-relu", "float32", 256, 2, 32, 64, "", 181),
    ("lstm", "bfloat16", 512, 2, 64, 128, "averaged", 524),
    ("gru", "bfloat16", 512, 2, 64, 100, "", 405),
    ("scrn", "bfloat16", 512, 2, 64, 100, "", 366),
    ("clockwork", "bfloat16", 512, 2, 64, 100, "", 317),
    ("jordan", "bfloat16", 512, 2, 64, 100, "", 275),
    ("gru", "float32", 512, 2, 64, 100, "", 565),
    ("elman", "float32", 512, 2, 64, 100, "", 296),
    ("scrn", "float32", 512, 2, 64, 100, "", 357),
    ("clockwork", "float32", 512, 2, 64, 100, "", 414),
    ("jordan", "float32", 512, 2, 64, 100, "", 310),
    ("lstm", "bfloat16", 512, 2, 8, 32, "validated", 393),
]


# the most that a step and a validation had allocated on an H200 (torch 2.11), in MiB, without
# weights and what cuBLAS keeps: cell, precision, H, L, E, B, T, step, validation
ON_GPU = [
    ("lstm", "float16", 512, 3, 128, 128, 128, 514, 737),
    ("lstm", "float16", 512, 3, 128, 256, 128, 1003, 704),
    ("lstm", "float16", 512, 1, 128, 128, 128, 342, 400),
    ("lstm", "float16", 256, 2, 128, 512, 256, 1395, 284),
    ("lstm", "float16", 128, 2, 128, 128, 128, 149, 141),
    ("lstm", "bfloat16", 384, 2, 128, 128, 128, 381, 427),
    ("lstm", "float16", 1024, 3, 256, 256, 100, 1448, 1107),
    ("lstm", "float16", 1024, 2, 128, 64, 100, 522, 1105),
    ("lstm", "float32", 512, 2, 128, 128, 128, 716, 572),
    ("lstm", "float16", 300, 2, 128, 128, 128, 217, 324),
    ("gru", "float16", 512, 2, 128, 128, 128, 393, 482),
    ("gru", "float16", 256, 3, 128, 256, 64, 260, 242),
    ("gru", "float32", 512, 2, 128, 128, 128, 773, 482),
    ("elman", "float16", 512, 2, 128, 128, 128, 372, 343),
    ("scrn", "float32", 256, 2, 128, 128, 64, 62, 153),
    ("scrn", "float16", 256, 2, 128, 128, 128, 154, 153),
    ("clockwork", "float16", 256, 2, 128, 128, 64, 69, 132),
    ("jordan", "float16", 256, 2, 128, 128, 64, 52, 83),
    ("irnn", "float16", 256, 2, 128, 128, 64, 102, 305),
]
GPU_V = 84


def planned(
    cell: str, precision: str, hidden: int, layers: int, batch: int, window: int, also: str = ""
) -> Footprint:
    embedding = min(128, max(32, hidden // 4))
    model = ModelConfig(vocab_size=V, cell=cell, hidden=hidden, layers=layers, embedding=embedding)
    config = TrainConfig(
        steps=2, batch=batch, window=window, ema=0.99 if also == "averaged" else 0.0
    )
    dtype = torch.bfloat16 if precision == "bfloat16" else None
    return footprint(model, config, Hardware(CPU, dtype, 2), batch, also == "validated")


@pytest.mark.parametrize("case", MEASURED, ids=lambda case: " ".join(map(str, case[:-1])))
def test_the_formula_is_within_a_fifth_of_what_was_measured(
    case: tuple[str, str, int, int, int, int, str, int],
) -> None:
    *sizes, peak = case
    assert planned(*sizes).total / MIB == pytest.approx(peak, rel=0.2)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", ON_GPU, ids=lambda case: " ".join(map(str, case[:-2])))
def test_a_gpus_formula_is_within_a_seventh_of_what_was_measured(
    case: tuple[str, str, int, int, int, int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, precision, hidden, layers, embedding, batch, window, step, validation = case
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: CAPABILITY)
    model = ModelConfig(GPU_V, cell=cell, hidden=hidden, layers=layers, embedding=embedding)
    config = TrainConfig(steps=2, batch=batch, window=window)
    dtype = None if precision == "float32" else getattr(torch, precision)
    hardware = Hardware(torch.device("cuda", 0), dtype, 2)
    both, alone = (
        footprint(model, config, hardware, batch, validates) for validates in (True, False)
    )
    assert both.on_gpu
    assert both.saving == 0
    assert (both.work - alone.work) / MIB == pytest.approx(validation, rel=0.05)
    wanted = both.weights / MIB + step + validation
    assert (both.weights + both.work) / MIB == pytest.approx(wanted, rel=0.14)


def test_every_cell_of_ours_was_measured() -> None:
    assert {cells.get(name).name for name in cells.names()} == set(PER_UNIT)
    assert {cells.get(case[0]).name for case in MEASURED} == set(PER_UNIT)


def test_more_of_anything_takes_more() -> None:
    small = "lstm", "float32", 128, 2, 16, 32
    least = planned(*small).total
    larger = (("gru", *small[1:]), (*small[:2], 256, *small[3:]), (*small[:3], 3, *small[4:]),
              (*small[:4], 32, 32), (*small[:5], 64))  # fmt: skip
    assert all(planned(*sizes).total > least for sizes in larger[1:])
    assert planned(*larger[0]).total < least  # a GRU keeps less
    assert planned(*small, also="averaged").weights > planned(*small).weights
    assert planned(*small, also="validated").work > planned(*small).work
    assert planned(*small).work > planned("lstm", "bfloat16", *small[2:]).work


def test_logits_of_a_large_vocabulary_are_not_in_memory_at_once() -> None:
    model = ModelConfig(vocab_size=30_000, hidden=64, layers=1, embedding=32)
    config, hardware = TrainConfig(steps=1, window=100), Hardware(CPU, None, 1)
    fewer, more = (footprint(model, config, hardware, B, False).work for B in (64, 65))
    assert more - fewer < 100 * model.vocab_size


def test_a_cell_of_someone_else_is_planned_by_its_gates() -> None:
    for gates in (1, 3):
        cell = replace(cells.get("elman"), name="theirs", aliases=(), parameters=cells.gated(gates))
        model = ModelConfig(vocab_size=V, hidden=64)
        assert _bytes(cell, model) == 32 * gates


def _bytes(cell: Cell, model: ModelConfig) -> int:
    cells.register(cell)
    try:
        other = replace(model, cell="theirs")
        return per_unit(other, Hardware(CPU, None, 1))
    finally:
        cells.unregister("theirs")


SCRIPT = """
import json, re, sys, threading, time
from pathlib import Path
import charrnn

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

def watch():
    while not done:
        peaks.append(anonymous())
        time.sleep(0.003)

settings, done, peaks = json.loads(sys.argv[1]), [], []
planned = charrnn.plan("text.txt", **settings).memory.total
watcher = threading.Thread(target=watch)
watcher.start()
charrnn.train("text.txt", out="run", **settings)
done.append(1)
watcher.join()
print(json.dumps([planned, max(peaks)]))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no RssAnon to read")
@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": 256, "batch": 64, "window": 64, "precision": "float32"},
        {"hidden": 384, "batch": 32, "window": 100, "cell": "gru", "precision": "float32"},
    ],
    ids=lambda settings: str(settings.get("cell", "lstm")),
)
def test_a_run_takes_what_was_planned(settings: dict[str, object]) -> None:
    letters = "the quick brown fox jumps over the lazy dog; "
    Path("text.txt").write_text(letters * 4000)
    run = {"steps": 2, "layers": 2, "embedding": 64, "val_frac": 0, "threads": 2, **settings}
    planned, peak = json.loads(python(SCRIPT, json.dumps(run)))
    assert planned == pytest.approx(peak, rel=0.2)
