"""Trains the ``best`` preset for a given time, and leaves the network in pieces of 15 MiB.

    PYTHONPATH=. python3 -m tests.gpu.train_best --case tolstoy --seconds 420 --data FOLDER
    PYTHONPATH=. python3 -m tests.gpu.train_best --case c --seconds 120 --device cpu --quick

``CHARRNN_OUT`` names the folder for the pieces (``sh join.sh`` joins and checks them), the metrics
and the log; default: gpu-trained. Whenever validation finds a better network, the pieces are
replaced, so that a run which is cut off loses little. With ``--try 60``, each of ``CANDIDATES``
trains for a minute first, and the one that validates best goes on anew with the rest of the time.
What a candidate scores on the test part is not looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

import charrnn
from tests.gpu.corpora import CASES, Case
from tests.gpu.pieces import LARGEST, write_pieces

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
BEST, METRICS, LOG = "best.safetensors", "metrics.jsonl", "log.txt"
LEAVE_S = 13.0  # for loading, and for the temperature and the test at the end
LEAST_S = 10.0  # of training, however long the candidates took
PACK_EVERY_S = 15.0

# what differs from the preset
CANDIDATES: dict[str, str] = {
    "preset": "",
    "lighter": "--dropout 0.25 --input-dropout 0.1 --weight-dropout 0.5",
}
QUICK = "--size 24 --embedding 16 --layers 2 --batch 8 --window 20"


@dataclass(frozen=True)
class Job:
    """What to train, where, and with which further options."""

    case: Case
    device: str
    out: Path
    extra: str
    largest: int

    def command(self, seconds: float, options: str, folder: Path) -> list[str]:
        return [
            sys.executable, "-m", "charrnn", "train", str(self.case.text), *self.case.args,
            "--preset", "best", "--time", f"{seconds:.0f}s", "--device", self.device,
            "--seed", "1", "--patience", "0", "--out", str(folder),
            *shlex.split(f"{options} {self.extra}"),
        ]  # fmt: skip


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics so far."""
    path = folder / METRICS
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def best_validation(folder: Path) -> float:
    """The lowest validation loss of a run; infinite before the first."""
    values = [line["val_nats"] for line in metrics_of(folder) if line["val_nats"] is not None]
    return min(values, default=float("inf"))


def pack(job: Job, folder: Path) -> None:
    """The best network so far in float16, in pieces, and the metrics."""
    with tempfile.TemporaryDirectory() as place:
        half = Path(place) / BEST
        charrnn.load(folder / BEST).checkpoint.save(half, half=True)
        write_pieces(half.read_bytes(), BEST, job.out, job.largest)
    (job.out / METRICS).write_bytes((folder / METRICS).read_bytes())


class Run:
    """A training process whose best network is packed as it improves."""

    def __init__(self, job: Job, folder: Path, seconds: float, options: str, log: IO[bytes]):
        command = job.command(seconds, options, folder)
        print(shlex.join(command), flush=True)
        self.job, self.folder = job, folder
        self.process = subprocess.Popen(
            command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        self._packed: tuple[int, float] = 0, 0.0  # the file's time, and when it was packed

    def stop(self, _signum: int, _frame: FrameType | None) -> None:
        """End the training when this process is to end; it saves."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Its exit code; packs meanwhile, and at the end."""
        while (code := self.process.poll()) is None:
            time.sleep(0.5)
            if time.monotonic() - self._packed[1] > PACK_EVERY_S:
                self.pack_if_new()
        self.pack_if_new()
        return code

    def pack_if_new(self) -> None:
        best = self.folder / BEST
        changed = best.stat().st_mtime_ns if best.exists() else 0
        if changed > self._packed[0]:
            pack(self.job, self.folder)
            self._packed = changed, time.monotonic()
            print(f"packed at validation {best_validation(self.folder):.4f}", flush=True)


def choose(job: Job, seconds: float, place: Path, log: IO[bytes]) -> str:
    """The candidate that validates best after ``seconds``, the others beside it in the output."""
    found = {}
    for name, options in CANDIDATES.items():
        folder = place / name
        command = job.command(seconds, options, folder)
        subprocess.run(
            command,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=seconds + 3 * LEAVE_S,
            check=True,
        )
        found[name] = best_validation(folder)
        print(f"candidate {name} ({options or 'as it is'}): {found[name]:.4f}", flush=True)
    return CANDIDATES[min(found, key=lambda name: found[name])]


def report(job: Job) -> None:
    """The result beside the goal, and the files to take along."""
    lines = metrics_of(job.out)
    result = lines[-1] if lines and lines[-1].get("final") else {}
    reached = f"{result['test_nats']:.4f}" if result.get("test_nats") else "not scored: cut off"
    speeds = [line["chars_per_second"] for line in lines if line.get("chars_per_second")]
    for line in lines:
        if line["val_nats"] is not None and not line.get("final"):
            print(
                f"{line['elapsed_s']:8.1f} s  epoch {line['epoch']:3}  val {line['val_nats']:.4f}"
            )
    if speeds:
        print(f"{sorted(speeds)[len(speeds) // 2]:,.0f} char/s, {lines[-1]['chars']:,} characters")
    print(f"validation {best_validation(job.out):.4f}; test {reached}, goal <= {job.case.goal}")
    for path in sorted(job.out.iterdir()):
        print(f"{path.stat().st_size:12,}  {path.name}")


def main() -> None:
    """Train, pack, report."""
    parser = argparse.ArgumentParser(description="Train the best preset and leave it in pieces.")
    parser.add_argument("--case", choices=CASES, default="tolstoy")
    parser.add_argument("--seconds", type=float, default=420.0, help="for everything")
    parser.add_argument("--try", dest="trial", type=float, default=0.0, help="for each candidate")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    out = os.environ.get("CHARRNN_OUT", "gpu-trained")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--extra", default="", help="options of train that override the preset's")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the program")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, open(args.out / LOG, "ab") as log:
        case = CASES[args.case](args.data.resolve(), Path(place))
        extra = f"{args.extra} {QUICK}" if args.quick else args.extra
        job = Job(case, args.device, args.out.resolve(), extra, 20_000 if args.quick else LARGEST)
        leave = 5.0 if args.quick else LEAVE_S
        options = choose(job, args.trial, Path(place), log) if args.trial else ""
        seconds = max(LEAST_S, end - time.monotonic() - leave)
        run = Run(job, Path(place) / "run", seconds, options, log)
        signal.signal(signal.SIGTERM, run.stop)
        signal.signal(signal.SIGINT, run.stop)
        code = run.wait()
    report(job)
    sys.exit(code)


if __name__ == "__main__":
    main()
